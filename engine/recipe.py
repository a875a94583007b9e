"""What a run learns with where its user did not say: the best recipe known here, or that of 2016."""
import math

# The program of 2016: batches from zero states, nothing left out, a rate that decays from epoch 10 on.
ORIGINAL = dict(no_stateful=True, dropout=0.0, dropconnect=0.0, reset=0.0, average=0.0, initial='original',
                grad_clip=0.0, lrate=2e-3, warmup=0, lrate_decay=0.97, lrate_decay_epoch=10, plateau=0,
                epochs=75, patience=0)


def dropout(characters, parameters):
    """The share to leave out, for so many characters to learn from: more, the more parameters there are to each.

    The novel gave its two ends: 0.3 was best with 0.9 million parameters to half a
    million characters, and 0.5 was good with 3.4 million.
    """
    return round(min(max(0.2 + 0.1 * math.log2(parameters / characters), 0), 0.6), 2)


def complete(o, characters, parameters):
    """Set dropout and dropconnect where they are None, for so many characters to learn from, and print why.

    o: options by attribute.
    """
    share = dropout(characters, parameters)
    chosen = {name: value for name, value in dict(dropout=share, dropconnect=round(share * 2 / 3, 2)).items()
              if getattr(o, name) is None}
    vars(o).update(chosen)
    if chosen:
        settings = ' and '.join(f'{name} {value}' for name, value in chosen.items())
        print(f'{settings}, for {parameters:,} parameters and about {characters:,} characters to learn from')

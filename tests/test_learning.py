"""The passage whose costs a run logs after epochs: which part of the text it is, and its costs."""
import json
import re

import numpy as np
import pytest

import numpy_model
from models import as_new, prepared
from scripts import S, TEXT, load

PASSAGE = TEXT[round(0.7 * (len(TEXT) // S)) * S:][:300]       # 30 % are held out


def test_costs_are_those_of_the_checkpoints(short_run):
    """Compare each epoch that has a sample with an independent model."""
    lines = (short_run.folder / 'r_t.txt_passage.out').read_text(encoding='ascii').splitlines()
    of_text, passage = re.fullmatch('# the beginning of the (.*) text: (".*")', lines[0]).groups()
    rows = np.array([line.split() for line in lines if not line.startswith('#')], float)
    samples = (short_run.folder / 'r_t.txt_samples.txt').read_text(encoding='utf-8')
    assert (of_text, json.loads(passage), rows.shape[1]) == ('validation', PASSAGE, 300)
    assert rows[:, 0].tolist() == [int(n) for n in re.findall('^# epoch (.*):$', samples, re.MULTILINE)]
    assert 1 < len(rows) <= 5 and rows[-1, 0] == 5
    for epoch, *costs in rows:
        p = load(short_run.folder / f'r_t.txt_epoch{int(epoch)}.npz')
        np.testing.assert_allclose(costs, numpy_model.costs_of(p, PASSAGE), rtol=1e-4, atol=1e-5)


def test_watching_changes_nothing(stateful_model):
    """The parameters, the validation costs and the next random numbers stay the same."""
    def end(watched):
        model = as_new(stateful_model)
        for x, y in zip(model.X['train'][:6], model.Y['train'][:6]):
            model.theano_train_sgd(x, y)
            validation = model.validate_batch()
            if watched:
                model.passage_costs(), model.sample(40)
        return ([p.get_value().tobytes() for p in model.p.values()], validation, model.validate(),
                model.random.bit_generator.state)

    assert end(True) == end(False)


@pytest.mark.parametrize('stateful', [True, False])
@pytest.mark.parametrize('text, ratio, valid, expected', [
    (TEXT, 0.3, None, ('validation', TEXT[round(0.7 * (len(TEXT) // 7)) * 7:][:300])),
    (TEXT, 0, None, ('training', TEXT[:300])),
    (TEXT[:100], 0.2, None, ('validation', TEXT[77:100])),          # after 11 of 14 sequences, to the end
    (TEXT, 0.3, TEXT[50:60], ('validation', TEXT[50:60]))], ids=['a part', 'none', 'short', 'a text of its own'])
def test_passage(text_file, stateful, text, ratio, valid, expected):
    other = {} if valid is None else dict(valid=text_file(valid, name='valid.txt'))
    model = prepared(text_file(text), ratio_valid=ratio, batch_size=2, seq_length=7, stateful=stateful, **other)
    assert model.text.passage == expected

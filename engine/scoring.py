"""What produce_text.py prints about how well a model expects a text: its cost, and that of each of its lines."""
import collections
import math
import os
from typing import NamedTuple

from engine import copies
from engine.model.files import base_name
from engine.report import entry_name, print_json
from engine.terminal import bar, bits, nats_and_bits, note, number_of

SURPRISES, CONTEXT = 10, 30        # least expected characters that are printed, and characters before each
NAMED = 20                         # unknown characters that are printed, the most frequent ones
WINDOW = 1000                      # lines that are scored before their costs are printed


# ---------------------------------------------------------------- the text

class Source(NamedTuple):
    """A text that was read to be scored.

    path; text: as it is; known: in the model's characters, without those that it never saw; unknown: how often
    each of those was in it; sha256: of the file; entry: what the model's vocabulary has, 'character' or 'byte'.
    """
    path: str
    text: str
    known: str
    unknown: dict
    sha256: str
    entry: str

    @property
    def name(self):
        """Return the name of the file or folder, without the folders that it is in."""
        return base_name(self.path)

    def fields(self, checkpoint):
        """Return what JSON says of the text, and of the model's checkpoint, a path or an open one."""
        return dict(model=os.path.basename(str(checkpoint)), file=self.name, sha256=self.sha256,
                    characters=len(self.known), unknown_characters=self.unknown)


def known(model, text, say, name='the model'):
    """Return a text in the model's characters, without those that it never saw, and how often each of those was in it.

    say() gets a line on these. name: what the line calls the model.
    """
    from engine.model.text import without_unknown            # late, so that --help does not wait for NumPy
    text, unknown = without_unknown(text, model.uchar)
    if unknown:
        words = [f'{ch!r} ({n:,})' for ch, n in collections.Counter(unknown).most_common(NAMED)]
        if len(unknown) > NAMED:
            words.append(f'and {len(unknown) - NAMED:,} more')
        say(f'{number_of(sum(unknown.values()), entry_name(model.uchar))} that {name} never saw, left out: '
            + ', '.join(words))
    return text, unknown


def read(model, path, encoding, say, least=2):
    """Return the Source of a file or folder; say() gets a line on a folder, and on what is left out.

    Raises OSError when it cannot be read, ValueError when it is no text, not in that encoding, or has fewer than
    `least` characters that the model knows.
    """
    from engine.model.text import read_files, string_of
    codes, uchar, sha256, files = read_files(path, encoding)
    if files:
        say(files)
    text = string_of(codes, uchar)
    source = Source(path, text, *known(model, text, say), sha256, entry_name(model.uchar))
    if len(source.known) < least:
        raise ValueError(f'{path} has {number_of(len(source.known), source.entry)} that the model knows: at least '
                         f'{least} are needed')
    return source


# ---------------------------------------------------------------- the cost of a text

def cost_fields(nats, characters):
    """Return a cost per character as a dict that JSON can hold; nats: the sum over these characters."""
    mean = float(nats) / characters
    perplexity = math.exp(min(mean, 709))              # a float holds no larger one
    return dict(nats_per_character=mean, bits_per_character=bits(mean), perplexity=perplexity)


def cost_line(name, costs, entry):
    """Return a line on the costs of all characters of a text but the first. entry: as in Source."""
    fields = cost_fields(costs.sum(dtype='float64'), len(costs))
    return ('{}: {}, {nats_per_character:.4f} nats and {bits_per_character:.4f} bits per {}, '
            'perplexity {perplexity:.3f}').format(name, number_of(len(costs) + 1, entry), entry, **fields)


def counted(work, title, total, entry, interrupted=None):
    """Return work(progress), and show how many of `total` characters are left; progress takes the costs of a piece.

    entry: as in Source. interrupted: a function that Ctrl-C calls with the costs so far, where there are some.
    """
    import numpy as np                                 # late, as in known
    costs = []

    def count(piece):
        costs.append(piece)
        countdown.update(len(piece))

    try:
        with bar(total, title, 'characters') as countdown:
            return work(count)
    except KeyboardInterrupt:
        if costs and interrupted:
            interrupted(np.concatenate(costs))
        raise KeyboardInterrupt(f' after {sum(map(len, costs)):,} of {number_of(total, entry)} were scored') from None


def scores(model, source, tuning, adapting, say):
    """Return the costs of a Source, and a dict of what they are in all; say() gets a line.

    tuning: the Source that tunes the temperature, or None; then the dict has the cost at that temperature, too.
    adapting: what score_text needs to adapt, by name, or {}.
    """
    TEMPERATURES = None

    def costs(name, **settings):
        found = counted(lambda count: model.score_text(source.known, progress=count, **adapting, **settings),
                        f'scoring {name}', len(source.known) - 1, source.entry,
                        lambda costs: say(cost_line(f'{name}, as far as it was scored', costs, source.entry)))
        say(cost_line(name, found, source.entry))
        return found, cost_fields(found.sum(dtype='float64'), len(found))

    name = source.path
    if adapting:
        how = 'with the averages of RMSprop' if adapting['averages'] else 'by gradient descent'
        name += f', adapting at {adapting["adapt"]:g} {how}'
    plain, fields = costs(name)
    if tuning:
        temperature = counted(lambda count: model.tune_temperature(tuning.known, progress=count, **adapting),
                              f'tuning the temperature on {tuning.path}', len(tuning.known) - 1, source.entry)
        limit = ', the limit of those tried' if temperature in TEMPERATURES[[0, -1]] else ''
        _, tuned = costs(f'{name}, at temperature {temperature:.3f}{limit}', temperature=temperature)
        fields['tuned'] = dict(temperature=temperature, valid=tuning.name, **tuned)
    return plain, fields


def least_expected(model, source, costs):
    """Return the least expected characters of a Source, a list of dicts; costs: of all known characters but the first.

    at: the character's number in the whole text, from 0; where the model learned bytes, that of the byte.
    """
    import numpy as np                                 # late, as in known
    text, whole = source.known, source.text
    places = np.fromiter((i for i, ch in enumerate(whole) if ch not in source.unknown), np.int64)
    return [dict(nats=float(costs[k - 1]), at=int(places[k]), character=text[k], after=text[max(0, k - CONTEXT):k])
            for k in 1 + costs.argsort()[::-1][:SURPRISES]]


def print_score(model, checkpoint, path, encoding, adapt=None, valid=None, as_json=False, original=None):
    """Print how well the model expects a text, and its least expected characters.

    adapt: the rate, True for the default one, or None. valid: the path of a text that tunes the
    temperature, or None. as_json: whether to print an object of JSON instead of lines. original: the path of a
    text in which to look for what stands in this one, too, or None.
    """
    say = note if as_json else print
    source = read(model, path, encoding, say)
    tuning = read(model, valid, encoding, say) if valid is not None else None
    from engine.analysis import how_to_adapt           # late, as in known
    adapting = {} if adapt is None else how_to_adapt(checkpoint, adapt)
    copied = copies.read(original, encoding, say).compare([source.text]) if original is not None else None
    costs, found = scores(model, source, tuning, {}, say)
    if adapting:
        _, adapted = scores(model, source, tuning, adapting, say)
        found['adapted'] = dict(rate=adapting['adapt'], averages=bool(adapting['averages']), **adapted)
    surprises = least_expected(model, source, costs)
    if copied:
        found['copies'] = copied.fields()
    if as_json:
        return print_json(dict(source.fields(checkpoint), **found, least_expected=surprises))
    print('least expected:')
    for one in surprises:
        at = f'{source.entry} {one["at"] + 1:,}'
        print(f'{one["nats"]:8.3f} nats at {at}: {one["character"]!r} after {one["after"]!r}')
    if copied:
        print('\n'.join(copied.lines()))


# ---------------------------------------------------------------- the cost of each line

def lines_of(text):
    """Return the lines of a text without their ends, also a last one that has no end."""
    lines = text.split('\n')
    return lines if lines[-1] else lines[:-1]


def print_lines(model, checkpoint, path, encoding, as_json=False):
    """Print the cost of each line of a text as 'nats<TAB>characters<TAB>line', or all as one object of JSON.

    The cost is that of the characters that the model knows and of the line end, and so is their number. What is
    said besides is on standard error. Raises ValueError for a model without line ends, or a text without lines.
    """
    model.score_lines([])                              # raises ValueError for a model without line ends
    source = read(model, path, encoding, note, least=0)
    lines = lines_of(source.text)
    if not lines:
        raise ValueError(f'{path} is empty: expected at least one line')
    known_lines = source.known.split('\n')[:len(lines)]
    if source.unknown:
        lacking = sum(line != known for line, known in zip(lines, known_lines))
        note(f'lines that lack some, and so cost less than they should: {lacking:,}')
    characters = [len(known) + 1 for known in known_lines]             # with the line end
    total, found, start = 0.0, [], 0
    try:
        with bar(sum(characters), f'scoring {path}', 'characters') as countdown:
            for start in range(0, len(lines), WINDOW):
                window = slice(start, start + WINDOW)
                costs = model.score_lines(known_lines[window], countdown.update).tolist()
                rows = list(zip(costs, characters[window], lines[window]))
                total += sum(costs)
                if as_json:
                    found += [dict(nats=nats, characters=n, line=line) for nats, n, line in rows]
                else:
                    countdown.write('\n'.join(f'{nats:.5f}\t{n}\t{line}' for nats, n, line in rows))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f' after {start:,} of {len(lines):,} lines were scored') from None
    fields = cost_fields(total, sum(characters))
    if as_json:
        return print_json(dict(source.fields(checkpoint), scored_characters=sum(characters), **fields, lines=found))
    note(f'{path}: {number_of(len(lines), "line")}, {number_of(sum(characters), source.entry)} with line ends, '
         f'{nats_and_bits(fields["nats_per_character"])} per {source.entry}, '
         f'{nats_and_bits(total / len(lines))} per line')

"""What produce_text.py is asked for, and what it prints: texts, how well a model predicts one, and its checkpoint.

o: the options. NumPy is imported late, so that --help does not wait for it.
"""
import json
import math
import os
import re
from collections import Counter

from engine.model.files import append_text, base_name, open_to_append, refuse_to_replace
from engine.model import copies
from engine.run.table import Option
from engine.terminal import ROOT, bar, bits, nats_and_bits, near, note, number_of, spelled

SURPRISES, CONTEXT = 10, 30        # least expected characters that are printed, and characters before each
NAMED = 20                         # unknown characters that are printed, the most frequent ones


def escaped(text):
    r"""Return the text that an option with the escapes \n, \t and \\ stands for."""
    return re.sub(r'\\[nt\\]', lambda escape: {r'\n': '\n', r'\t': '\t', r'\\': '\\'}[escape[0]], text)


def unit(word):
    """Return the state, the number and the value of a unit to hold. argparse refuses words with a ValueError."""
    state, number, value = re.split('[:=]', word)
    return state, int(number), float(value)


OPTIONS = {
    'writing': [
        Option('length', int, None, 'characters of each sequence after the prime (default: 100; in a page 2000)'),
        Option('count', int, 5, 'number of sequences; a page has one'),
        Option('prime', dict(type=escaped, metavar='TEXT'), None,
               r'text to continue; \n: line end, \t: tab, \\: backslash (default: a random character)'),
        Option('prime_file', 'FILE', None, 'file with the text to continue'),
        Option('stop', dict(type=escaped, metavar='TEXT'), '', 'end a sequence after this text (default: never)'),
        Option('lines', bool, False, r'one sequence a line, such as names; --prime and --stop default to "\n". With '
               '--score: nats<TAB>characters<TAB>line of each line, read by itself, with the line end after it'),
        Option('hold', dict(action='append', type=unit, metavar='STATE:UNIT=VALUE'), None,
               'hold the cell state of a unit at a value, such as C2:44=5.0 for unit 44 of layer 2; may be repeated'),
        Option('copies', 'TEXT', None, 'say how much of what is written, or scored, stands in this text, a file or '
               'folder, and the longest such passage; a page underlines them'),
        Option('precision', ('float32', 'bfloat16'), 'float32', 'bfloat16: faster on some processors'),
        Option('random_seed', int, None, 'whole number that makes the text repeatable (default: a new one each time)')],
    'choice of each character': [
        Option('method', ('normal', 'argmax', 'max'), 'normal', 'draw each character, or take the most probable'),
        Option('temperature', float, 1.0, 'below 1 probable characters become more probable; 0: only the likeliest'),
        Option('top_k', int, None, 'draw from only the N most probable characters (default: from all)'),
        Option('top_p', float, 1.0, 'after --top-k, draw from the fewest characters with this probability together')],
    'instead of writing': [
        Option('score', 'FILE', None, 'print how well the model predicts this text'),
        Option('adapt', dict(type=float, nargs='?', const=True, metavar='RATE'), None, 'with --score: score also with '
               'a copy that learns from the text as it reads it (RATE: with a checkpoint of train.py 0.0001 and at '
               'most 0.01; if it has no averages of RMSprop, 0.1)'),
        Option('json', bool, False, 'with --score or --info: print one object of JSON'),
        Option('page', 'FILE', None, 'write a page for a browser, on the text of --score, on validation text of its '
               'run or, with options of writing or without such a text, on one that the model writes'),
        Option('against', 'PARAMS2', None, 'with --page: compare with the model of another checkpoint'),
        Option('export', 'FILE', None, 'write the model as .safetensors, for PyTorch, or .c, a program of one file'),
        Option('overwrite', bool, False, 'with --page or --export: replace an existing file'),
        Option('info', bool, False, 'print what is known of PARAMS: training text, options, progress and cost'),
        Option('cell', 'FILE:CLASS', None, 'class that train.py learned with --cell (default: that of charlstm.py)'),
        Option('encoding', 'NAME', 'utf-8', 'encoding of texts that are read, and of bytes in a checkpoint of 2016')]}

DRAWING = {'temperature', 'top_k', 'top_p'}
WRITING = DRAWING | {'length', 'prime', 'prime_file', 'stop', 'lines', 'hold', 'random_seed', 'copies', 'method'}
# What can be asked for, by the options that ask for it, and the other options that it takes, besides cell and encoding.
TASKS = [({'info'}, {'json'}), ({'export'}, {'overwrite'}), ({'page', 'score'}, {'against', 'overwrite', 'copies'}),
         ({'page'}, WRITING | {'against', 'overwrite'}), ({'score', 'lines'}, {'json'}),
         ({'score'}, {'adapt', 'json', 'copies'}), (set(), WRITING | {'count', 'precision', 'out'})]


def typed(o):
    """Return the names of the options o that are not at their defaults."""
    defaults = {row.name: row.default for rows in OPTIONS.values() for row in rows}
    return {name for name, value in vars(o).items() if value != defaults.get(name)} - {'params'}


def writes(o):
    """Return whether an option asks for a text that the model writes."""
    return bool(typed(o) & WRITING)


def check(o):
    """Raise ValueError if the options o exclude each other, or if a page or an export would replace a file."""
    names = typed(o)
    asked, taken = next((asked, taken) for asked, taken in TASKS if asked <= names)
    wrong = sorted(names - asked - taken - {'cell', 'encoding'})
    if wrong:
        raise ValueError(f'{" ".join(map(spelled, sorted(asked))) or "writing"} takes no {spelled(wrong[0])}')
    if {'prime', 'prime_file'} <= names or o.method != 'normal' and names & DRAWING:
        raise ValueError('--prime and --prime-file exclude each other, and so do --method max and --temperature, '
                         '--top-k or --top-p: leave out one of them')
    if o.page or o.export:
        refuse_to_replace(o.page or o.export, o.overwrite, (o.params, o.score, o.copies, o.against, o.prime_file))


# ---------------------------------------------------------------- texts that are read, and written

def inputs(o):
    """Return the text to continue, and the text and name of --copies, or None. o: the options."""
    from engine.model.text import read_string
    prime = o.prime if o.prime is not None else '\n' if o.lines else ''
    if o.prime_file is not None:
        prime = read_string(o.prime_file, o.encoding)
    return prime, None if o.copies is None else (read_string(o.copies, o.encoding), base_name(o.copies))


def sequences(model, o, prime):
    """Yield pieces of the sequences, each a list of strings, first the prime. o: the options."""
    hold = {}
    for state, number, value in o.hold or ():
        hold.setdefault(state, {})[number] = value
    length = o.length if o.length is not None else 2000 if o.page else 100
    return model.stream_text(prime, len(prime) + length, o.method, 1 if o.page else o.count, o.temperature, o.top_k,
                             o.top_p, o.stop or ('\n' if o.lines else ''), hold or None)


def print_lines(texts, pieces):
    """Print sequences that begin with texts, one a line, in the end. Return them, and what the file gets."""
    note('')
    texts = [''.join(parts) for parts in zip(texts, *pieces)]
    written = ''.join(text.strip('\n').replace('\n', '\\n') + '\n' for text in texts)
    print(written, end='', flush=True)
    return texts, written


def print_texts(texts, pieces):
    """Print sequences that begin with texts, the first one while it is written. Return what print_lines does."""
    headings = [f'# sequence {i}:' for i in range(1, len(texts) + 1)]
    note('\n' + headings[0] if len(texts) > 1 else '')
    print(texts[0], end='', flush=True)
    for piece in pieces:
        texts = [text + more for text, more in zip(texts, piece)]
        print(piece[0], end='', flush=True)
    for heading, text in zip(headings[1:], texts[1:]):
        print('\n')
        note(heading)
        print(text, end='')
    print()
    return texts, ''.join(f'{heading}\n{text}\n\n' for heading, text in zip(headings, texts))


def write(model, checkpoint, o):
    """Print sequences, and append them to a file."""
    from engine.run.info import summary                        # late, as said above
    path = o.out or near(os.path.join(ROOT, 'text_output', os.path.basename(o.params) + '.out'))
    if path.lower().endswith(('.npz', '.safetensors')):
        raise ValueError(f'OUT is {path}, a checkpoint: expected the name of a text file')
    text = checkpoint.metadata.get('text', {})
    learned = [part['path'] for part in (text, text.get('valid'), text.get('test')) if part]
    refuse_to_replace(path, True, [o.prime_file, o.copies, *learned])
    prime, original = inputs(o)
    pieces = sequences(model, o, prime)
    texts = next(pieces)                                       # raises ValueError if an option is wrong
    note(f'{checkpoint}: {summary(checkpoint)}')
    model.compile('sample')
    texts, written = print_lines(texts, pieces) if o.lines else print_texts(texts, pieces)
    with open_to_append(path) as f:
        append_text(f, written)
    note(f'appended to {path}')
    if original:
        note(copies.description(copies.compare([text[len(prime):] for text in texts], *original), original[0]))


# ---------------------------------------------------------------- the cost of a text

def known(text, uchar, say):
    """Return a text without characters that are not in uchar, and how often each was in it; say() gets a line."""
    unknown = {ch: n for ch, n in sorted(Counter(text).items()) if ch not in uchar}
    if unknown:
        named = ', '.join(f'{ch!r} ({n:,})' for ch, n in Counter(unknown).most_common(NAMED))
        say(f'{number_of(sum(unknown.values()), "character")} that the model never saw, left out: {named}')
    return text.translate({ord(ch): None for ch in unknown}), unknown


def read(o, uchar, say):
    """Return the text of --score, its part that is of uchar, and what JSON says of it. o: the options."""
    from engine.model.text import read_text
    codes, of_text, sha256 = read_text(o.score, o.encoding)
    text = ''.join(of_text[codes])
    part, unknown = known(text, uchar, say)
    return text, part, dict(file=base_name(o.score), sha256=sha256, characters=len(part), unknown_characters=unknown)


def cost_fields(costs, characters):
    """Return the mean of costs, in nats, over so many characters as a dict that JSON can hold."""
    mean = float(costs.sum(dtype='float64')) / characters
    return dict(nats_per_character=mean, bits_per_character=bits(mean), perplexity=math.exp(mean))


def scored(model, text, name, say, **adapting):
    """Return the costs of all characters of a text but the first, and their cost_fields; say() gets a line on these."""
    with bar(len(text) - 1, f'scoring {name}', 'characters') as progress:
        costs = model.score_text(text, progress=lambda piece: progress.update(len(piece)), **adapting)
    fields = cost_fields(costs, len(costs))
    say('{}: {}, {nats_per_character:.4f} nats and {bits_per_character:.4f} bits per character, perplexity '
        '{perplexity:.3f}'.format(name, number_of(len(text), 'character'), **fields))
    return costs, fields


def print_score(model, checkpoint, o):
    """Print how well the model predicts a text, and its least expected characters."""
    from engine.model.parameters import how_to_adapt
    say, original = note if o.json else print, inputs(o)[1]
    whole, text, found = read(o, model.uchar, say)
    costs, fields = scored(model, text, o.score, say)
    found.update(fields)
    if o.adapt is not None:
        adapting = how_to_adapt(checkpoint, o.adapt)
        how = 'with the averages of RMSprop' if adapting['averages'] else 'by gradient descent'
        _, fields = scored(model, text, f'{o.score}, adapting at {adapting["adapt"]:g} {how}', say, **adapting)
        found['adapted'] = dict(rate=adapting['adapt'], averages=bool(adapting['averages']), **fields)
    places = [k for k, ch in enumerate(whole) if ch not in found['unknown_characters']]
    found['least_expected'] = [
        dict(nats=float(costs[k - 1]), at=places[k], character=text[k], after=text[max(0, k - CONTEXT):k])
        for k in 1 + costs.argsort()[::-1][:SURPRISES]]
    if original:
        found['copies'] = copies.compare([whole], *original)
    if o.json:
        return print_json(checkpoint, found)
    print('least expected:')
    for one in found['least_expected']:
        print(f'{one["nats"]:8.3f} nats at character {one["at"] + 1:,}: {one["character"]!r} after {one["after"]!r}')
    if original:
        print(copies.description(found['copies'], original[0]))


def print_score_of_lines(model, checkpoint, o):
    """Print the cost of each line, of the characters that the model knows and of the line end, and their number."""
    text, part, found = read(o, model.uchar, note)
    lines, parts = text.removesuffix('\n').split('\n'), part.removesuffix('\n').split('\n')
    lengths = [len(part) + 1 for part in parts]
    with bar(sum(lengths), f'scoring {o.score}', 'characters') as progress:
        costs = model.score_lines(parts, progress.update)
    rows = [dict(nats=nats, characters=n, line=line) for nats, n, line in zip(costs.tolist(), lengths, lines)]
    mean = cost_fields(costs, sum(lengths))
    if o.json:
        return print_json(checkpoint, dict(found, scored_characters=sum(lengths), **mean, lines=rows))
    print(''.join('{nats:.5f}\t{characters}\t{line}\n'.format(**row) for row in rows), end='')
    note(f'{o.score}: {number_of(len(lines), "line")}, {number_of(sum(lengths), "character")} with line ends, '
         f'{nats_and_bits(mean["nats_per_character"])} per character, {nats_and_bits(costs.mean())} per line')


def print_json(checkpoint, found):
    """Print what was found of a checkpoint or with its model as an object of JSON on one line, in ASCII."""
    print(json.dumps(dict(model=base_name(str(checkpoint)), **found), allow_nan=False))


def print_info(o):
    """Print what is known of a checkpoint, as lines or as an object of JSON. o: the options."""
    from engine.run.info import description, facts
    print_json(o.params, facts(o.params, o.encoding)) if o.json else print(description(o.params, o.encoding))

"""The options and the output of produce_text.py. NumPy is imported late, so that --help does not wait for it."""
import argparse
import heapq
import json
import os
import re
from collections import Counter

from engine import checks
from engine.files import append_text, base_name, open_to_append, refuse_to_replace
from engine.output import copies
from engine.run.table import ADAPTING, READABLE, UNITS, Option
from engine.terminal import ROOT, bar, bits, nats_and_bits, near, note, number_of, spelled

SURPRISES, CONTEXT = 10, 30        # least expected characters to print, and characters before each
NAMED = 20                         # unknown characters to print, the most frequent ones


def escaped(text):
    r"""Replace the escapes \n, \t and \\ in an option by what they stand for."""
    return re.sub(r'\\[nt\\]', lambda escape: {r'\n': '\n', r'\t': '\t', r'\\': '\\'}[escape[0]], text)


def unit(word):
    """Return the state, the unit's number and the value of STATE:UNIT=VALUE."""
    try:
        state, number, value = re.split('[:=]', word)
        return state, int(number), float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{word!r}: expected STATE:UNIT=VALUE, such as C2:44=5.0') from None


OPTIONS = {
    'writing': [
        Option('length', int, None, 'most characters of each sequence after the prime; it ends with a sentence, a line '
               'or a word (default: 360, 100 without punctuation; on a page 2000)'),
        Option('count', int, 3, 'number of sequences; a page has one'),
        Option('prime', dict(type=escaped, metavar='TEXT'), None,
               r'text to continue; \n: line end, \t: tab, \\: backslash (default: a new paragraph or line)'),
        Option('prime_file', 'FILE', None, 'file with the text to continue'),
        Option('stop', dict(type=escaped, metavar='TEXT'), '', 'end a sequence after this text (default: never)'),
        Option('lines', bool, False, r'one sequence per line, such as names; --prime and --stop default to "\n". With '
               '--score: nats<TAB>characters<TAB>line for each line, scored independently, including its line end'),
        Option('hold', dict(action='append', type=unit, metavar='STATE:UNIT=VALUE'), None,
               'hold the cell state of a unit at a value, such as C2:44=5.0 for unit 44 of layer 2; may be repeated'),
        Option('copies', 'TEXT', None, 'report how much of the written or scored text occurs in this text, a file '
               'or folder, and the longest such passage'),
        Option('precision', ('float32', 'bfloat16'), 'float32', 'bfloat16: faster on some processors'),
        Option('random_seed', int, None, 'whole number that makes the text repeatable (default: another each time)')],
    'choice of each character': [
        Option('method', ('normal', 'argmax', 'max'), 'normal', 'normal: draw each character; argmax or max: take '
               'the most probable'),
        Option('temperature', float, READABLE['temperature'], 'below 1, probable characters become more probable; '
               '0: always the likeliest'),
        Option('top_k', int, None, 'draw from only the N most probable characters (default: from all)'),
        Option('top_p', float, READABLE['top_p'], 'draw from only the fewest characters with this share of the total '
               "probability of those that --top-k leaves; 1, with --temperature 1: by the model's own probabilities")],
    'instead of writing': [
        Option('score', 'FILE', None, 'print how well the model predicts this text'),
        Option('adapt', dict(type=float, nargs='?', const=True, metavar='RATE'), None, 'with --score: also score with '
               f'a copy that trains as it reads (default RATE {ADAPTING[1]:g}, less with over {UNITS} units; without '
               f'mean squares of RMSprop in PARAMS {ADAPTING[0]})'),
        Option('json', bool, False, 'with --score or --info: print one JSON object'),
        Option('page', 'FILE', None, 'write a page for a browser, about the --score text or validation text of the '
               'run; with writing options, or without such a text, about what the model writes'),
        Option('export', 'FILE', None, 'write the model as .safetensors, for PyTorch, or as .c, a one-file program'),
        Option('overwrite', bool, False, 'with --page or --export: replace an existing file'),
        Option('info', bool, False, 'print what is known about PARAMS: training text, options, progress and cost'),
        Option('cell', 'FILE:CLASS', None, 'class that train.py trained with --cell (default: that of charlstm.py)'),
        Option('encoding', 'NAME', 'utf-8', 'encoding of the texts to read, and of bytes in a checkpoint of 2016')]}

FIRST = 'prime', 'length', 'count', 'temperature', 'random_seed', 'score', 'page', 'cell'      # in --help
DRAWING = {'temperature', 'top_k', 'top_p'}
WRITING = DRAWING | {'length', 'prime', 'prime_file', 'stop', 'lines', 'hold', 'random_seed', 'method'}
# The tasks: the options that select each one, and the others that it takes, besides encoding and, except info, cell.
TASKS = [({'info'}, {'json'}), ({'export'}, {'overwrite'}), ({'page', 'score'}, {'overwrite'}),
         ({'page'}, WRITING | {'overwrite'}), ({'score', 'lines'}, {'json'}),
         ({'score'}, {'adapt', 'json', 'copies'}), (set(), WRITING | {'copies', 'count', 'precision', 'out'})]


def non_defaults(options):
    """Return the names of the options that are not at their defaults."""
    defaults = {row.name: row.default for rows in OPTIONS.values() for row in rows}
    return {name for name, value in vars(options).items() if value != defaults.get(name)} - {'params'}


def not_with(name, task):
    """Return the message that an option does not work with a task of TASKS, and what to do."""
    option, others = 'OUT' if name == 'out' else spelled(name), [other for other, taken in TASKS if name in taken]
    if name in set().union(*[other for other, _ in TASKS]) or not others:
        return f'{option} and {" ".join(map(spelled, sorted(task)))} cannot be combined: leave out one of them'
    least = [other for other in others if not any(each < other for each in others if each)]
    ways = ['with ' + ' and '.join(map(spelled, sorted(other))) if other else 'when a text is written'
            for other in least]
    but = f', not with {" ".join(map(spelled, sorted(task)))}' if task else ''
    return f'{option} works only {" or ".join(ways)}{but}'


def check(options):
    """Raise ValueError if options exclude each other or do nothing, or if a page or an export would replace a file."""
    names = non_defaults(options)
    task, taken = next((task, taken) for task, taken in TASKS if task <= names)
    wrong = sorted(names - task - taken - ({'encoding'} if task == {'info'} else {'cell', 'encoding'}))
    if wrong:
        raise ValueError(not_with(wrong[0], task))
    if {'prime', 'prime_file'} <= names:
        raise ValueError('--prime and --prime-file cannot be combined: leave out one of them')
    if options.method != 'normal' and names & DRAWING:
        raise ValueError(f'--method {options.method} always takes the most probable character: leave it out, or '
                         f'{spelled(min(names & DRAWING))}')
    checks.whole('--length', options.length or 0, 0)
    if options.adapt is not None and not options.adapt > 0:
        raise ValueError(f'--adapt is {options.adapt}: expected a rate above 0')
    if options.page or options.export:
        read = options.params, options.score, options.prime_file
        refuse_to_replace(options.page or options.export, options.overwrite, read)


# ---------------------------------------------------------------- texts that are read, and written

def inputs(options):
    """Return the text to continue, and the text and name of --copies, or None."""
    from engine.data.text import read_string
    prime = options.prime if options.prime is not None else '\n' if options.lines else ''
    if options.prime_file is not None:
        prime, _ = read_string(options.prime_file, options.encoding)
        if not prime:
            raise ValueError(f'{options.prime_file} is empty: expected a text to continue')
    path = options.copies
    return prime, None if path is None else (read_string(path, options.encoding)[0], base_name(path))


def sequences(model, options, prime):
    """Yield the sequences in pieces, each a list of strings, the prime first."""
    from engine.model.sampling import default_length, for_readers      # late: it imports Theano
    hold = {}
    for state, number, value in options.hold or ():
        hold.setdefault(state, {})[number] = value
    length = 2000 if options.page else default_length(model)
    length = length if options.length is None else options.length
    return for_readers(model, prime, length, method=options.method, count=1 if options.page else options.count,
                       temperature=options.temperature, top_k=options.top_k, top_p=options.top_p,
                       stop=options.stop or ('\n' if options.lines else ''), hold=hold or None)


def print_lines(texts, pieces):
    """Finish sequences that begin with texts, and print one per line. Return them, and the text for the file."""
    texts = [''.join(parts) for parts in zip(texts, *pieces)]
    written = ''.join(text.strip('\n').replace('\n', '\\n') + '\n' for text in texts)
    print(written, end='', flush=True)
    return texts, written


def print_texts(texts, pieces):
    """Print sequences that begin with texts, the first as it is written. Return them, and the text for the file."""
    headings = [f'# sequence {i}:' for i in range(1, len(texts) + 1)]
    print(f'{headings[0]}\n{texts[0]}' if len(texts) > 1 else texts[0], end='', flush=True)
    for piece in pieces:
        texts = [text + more for text, more in zip(texts, piece)]
        print(piece[0], end='', flush=True)
    for heading, text in zip(headings[1:], texts[1:]):
        print(f'\n\n{heading}\n{text}', end='')
    print()
    return texts, ''.join(f'{heading}\n{text}\n\n' for heading, text in zip(headings, texts))


def write(model, checkpoint, options):
    """Write sequences: print them, and append them to a file."""
    from engine.run.info import summary                    # late: it imports NumPy
    default = near(os.path.join(ROOT, 'text_output', os.path.basename(options.params) + '.out'))
    path = default if options.out is None else options.out
    if not path or path.lower().endswith(('.npz', '.safetensors')):
        raise ValueError(f'OUT is {path!r}: expected the name of a text file, not of a checkpoint')
    refuse_to_replace(path, True, [options.prime_file, options.copies])
    prime, original = inputs(options)
    pieces = sequences(model, options, prime)
    texts = next(pieces)                   # compiles what writes; raises ValueError if an option is wrong
    note(f'{checkpoint}: {summary(checkpoint)}\n')
    texts, written = print_lines(texts, pieces) if options.lines else print_texts(texts, pieces)
    with open_to_append(path) as f:
        append_text(f, written)
    note(f'appended to {path}')
    if original:
        note(copies.description(copies.compare([text[len(prime):] for text in texts], *original), original[0]))


# ---------------------------------------------------------------- the cost of a text

def known(text, uchar, say):
    """Return a text without the characters that are not in uchar, and the counts of those; report them by say()."""
    unknown = {ch: n for ch, n in sorted(Counter(text).items()) if ch not in uchar}
    if unknown:
        named = ', '.join(f'{ch!r} ({n:,})' for ch, n in Counter(unknown).most_common(NAMED))
        say(f'left out {number_of(sum(unknown.values()), "character")} that the model never saw: {named}')
    return text.translate({ord(ch): None for ch in unknown}), unknown


def read(options, checkpoint, uchar, say):
    """Return the text of --score, the same without unknown characters, and the fields on it for JSON."""
    from engine.data.text import read_string
    text, sha = read_string(options.score, options.encoding)
    part, unknown = known(text, uchar, say)
    if sha == checkpoint.metadata.get('text', {}).get('sha256'):
        say('the model was trained on this file, so it is less surprised by it than by a new text')
    return text, part, dict(file=base_name(options.score), sha256=sha, characters=len(part), unknown_characters=unknown)


def cost_fields(costs, characters):
    """Return the mean cost per character, from costs in nats, as a dict that JSON can hold."""
    mean = float(costs.sum(dtype='float64')) / characters
    return dict(nats_per_character=mean, bits_per_character=bits(mean))


def scored(model, text, name, say, **adapting):
    """Return the costs of all characters of a text except the first, and their cost_fields; report these by say()."""
    with bar(len(text), f'scoring {name}', 'characters') as progress:
        progress.update(1)                                 # the first one, which has no cost
        costs = model.score_text(text, progress=lambda piece: progress.update(len(piece)), **adapting)
    fields = cost_fields(costs, len(costs))
    say('{}: {}, {nats_per_character:.4f} nats and {bits_per_character:.4f} bits per character'.format(
        name, number_of(len(text), 'character'), **fields))
    return costs, fields


def print_score(model, checkpoint, options):
    """Print how well the model predicts a text, and its least expected characters."""
    from engine.run.recipe import how_to_adapt
    say, original = note if options.json else print, inputs(options)[1]
    whole, text, found = read(options, checkpoint, model.uchar, say)
    costs, fields = scored(model, text, options.score, say)
    found.update(fields)
    if options.adapt is not None:
        adapting = how_to_adapt(checkpoint, options.adapt)
        how = 'with the mean squares of RMSprop' if adapting['mean_squares'] else 'by gradient descent'
        _, fields = scored(model, text, f'{options.score}, adapting at {adapting["adapt"]:g} {how}', say, **adapting)
        found['adapted'] = dict(rate=adapting['adapt'], mean_squares=bool(adapting['mean_squares']), **fields)
    least = heapq.nlargest(SURPRISES, range(1, len(text)), key=lambda k: costs[k - 1])
    known_places = (place for place, ch in enumerate(whole) if ch not in found['unknown_characters'])
    places = {k: place for k, place in enumerate(known_places) if k in least}
    found['least_expected'] = [
        dict(nats=float(costs[k - 1]), at=places[k], character=text[k], after=text[max(0, k - CONTEXT):k])
        for k in least]
    if original:
        found['copies'] = copies.compare([whole], *original)
    if options.json:
        return print_json(checkpoint, found)
    print('least expected' + (', without adapting:' if options.adapt is not None else ':'))
    for one in found['least_expected']:
        print(f'{one["nats"]:8.3f} nats at character {one["at"] + 1:,}: {one["character"]!r} after {one["after"]!r}')
    if original:
        print(copies.description(found['copies'], original[0]))


def print_score_of_lines(model, checkpoint, options):
    """Print for each line the cost and number of its characters: those that the model knows, and the line end."""
    text, part, found = read(options, checkpoint, model.uchar, note)
    lines, parts = text.removesuffix('\n').split('\n'), part.removesuffix('\n').split('\n')
    lengths = [len(part) + 1 for part in parts]
    with bar(sum(lengths), f'scoring {options.score}', 'characters') as progress:
        costs = model.score_lines(parts, progress.update)
    rows = [dict(nats=nats, characters=n, line=line) for nats, n, line in zip(costs.tolist(), lengths, lines)]
    mean = cost_fields(costs, sum(lengths))
    if options.json:
        return print_json(checkpoint, dict(found, scored_characters=sum(lengths), **mean, lines=rows))
    print(''.join('{nats:.5f}\t{characters}\t{line}\n'.format(**row) for row in rows), end='')
    note(f'{options.score}: {number_of(len(lines), "line")}, {number_of(sum(lengths), "character")} with line ends, '
         f'{nats_and_bits(mean["nats_per_character"])} per character, {nats_and_bits(costs.mean())} per line')


def print_json(checkpoint, found):
    """Print results on a checkpoint or its model as a JSON object on one line, in ASCII."""
    print(json.dumps(dict(model=base_name(str(checkpoint)), **found), allow_nan=False))


def print_info(options):
    """Print what is known about a checkpoint, as lines or as a JSON object."""
    from engine.run.info import description, facts
    path, encoding = options.params, options.encoding
    print_json(path, facts(path, encoding)) if options.json else print(description(path, encoding))

"""What produce_text.py is asked for: its options, and whether they fit together."""
import os
import re

from engine.terminal import BUNDLED, near, script, spelled
from engine.model import checks
from engine.export.formats import format_of
from engine.model.files import is_archive, refuse_to_replace
from engine.run.table import ABOVE_0, ROWS, Option, count

ESCAPES = {r'\n': '\n', r'\t': '\t', r'\\': '\\'}
WRITING, CHOICE = 'writing', 'choice of each character'
OPTIONS = {
    WRITING: [
        Option('length', int, None, 'characters in each sequence, without the prime (default: 100; in a page 2000)',
               count(1)),
        Option('count', int, None, 'number of sequences; a page has one (default: 5)', count(1)),
        Option('prime', 'TEXT', None,
               r'text to continue; \n: line end, \t: tab, \\: backslash (default: a random character)'),
        Option('prime_file', 'FILE', None, 'file with the text to continue'),
        Option('stop', 'TEXT', '', 'end a sequence after this text; escapes as in --prime (default: never)'),
        Option('lines', bool, False,
               r'write one sequence per line, such as names; --prime and --stop default to "\n", and line ends inside '
               r'of a sequence are written as \n. With --score, print '
               'the cost of each line, read by itself after a line end: nats<TAB>characters<TAB>line, of its '
               'characters and of the line end after them'),
        Option('hold', dict(action='append', type=str, metavar='STATE:UNIT=VALUE'), None,
               'hold the cell state of a unit at a value, such as C2:44=5.0 for unit 44 of layer 2; may be repeated'),
        Option('precision', ROWS['precision'].kind, 'float32',
               'bfloat16: products of rounded numbers, which some processors compute faster, most of all for many '
               'sequences'),
        Option('random_seed', int, None, 'whole number that makes the text repeatable (default: a new one each time)')],
    CHOICE: [
        Option('method', ('normal', 'argmax', 'max'), 'normal',
               'draw from the distribution, or take the most probable'),
        Option('temperature', float, 1.0, 'below 1: probable characters become more probable; above 1: less; 0: '
               'only the most probable one'),
        Option('top_k', int, None, 'draw from only the N most probable characters (default: from all)'),
        Option('top_p', float, 1.0, 'draw from the fewest characters that together have this probability, '
               'after --top-k')],
    'is it copying?': [
        Option('copies', 'TEXT', None,
               'say how much of what is written, or of the text of --score, stands in this text (a file or folder), '
               'and the longest such passage; in a page, underline the passages')],
    'instead of writing': [
        Option('score', 'FILE', None, 'print how well the model predicts this text'),
        Option('adapt', dict(type=float, nargs='?', const=True, metavar='RATE'), None,
               'with --score, score also with a copy of the model that learns from the text as it reads it (RATE: '
               '0.0001, and at most 0.01, if PARAMS has the averages of RMSprop, as the checkpoints of train.py have, '
               'otherwise 0.1)',
               lambda name, value: value is True or ABOVE_0(name, value)),
        Option('tune_temperature', 'VALID', None,
               'with --score, score also at the temperature that suits the text VALID'),
        Option('json', bool, False, 'with --score or --info, print one object of JSON'),
        Option('page', 'FILE', None,
               'write a page for a browser: what the model expects and remembers in the text of --score, or in one '
               'that it writes, and the model itself'),
        Option('against', 'PARAMS2', None,
               'with --page, compare the model with that of another checkpoint: which of the two was less surprised by '
               'each character of the text'),
        Option('export', 'FILE', None,
               'write the model for other programs, by the ending of the name: .safetensors for PyTorch, .onnx, or .c, '
               'a program of one file'),
        Option('overwrite', bool, False, 'with --page or --export, replace an existing file'),
        Option('info', bool, False, 'print what is known of PARAMS: training text, options, progress and cost'),
        Option('cell', 'FILE:CLASS', None,
               'the class of the model, where train.py learned it with --cell (default: the model of charlstm.py)'),
        Option('encoding', 'NAME', 'utf-8',
               'encoding of all texts that are read, and of checkpoints with a vocabulary of bytes, which the original '
               'of this program wrote', checks.encoding)]}

NEEDS = {'adapt': ['score'], 'tune_temperature': ['score'], 'json': ['score', 'info'], 'against': ['page'],
         'overwrite': ['page', 'export']}
ALONE = [('prime', 'prime_file'), ('info', 'score'), ('page', 'info'), ('page', 'tune_temperature'), ('page', 'json'),
         ('page', 'count'), ('page', 'precision'), ('copies', 'info'), ('export', 'info'), ('export', 'score'),
         ('export', 'page'), ('export', 'copies'), ('lines', 'adapt'),
         ('lines', 'tune_temperature'), ('cell', 'info')]


def unescaped(text):
    """Return the text that an option with escapes stands for."""
    return re.sub(r'\\[nt\\]', lambda escape: ESCAPES[escape.group()], text)


def held(words):
    """Return what --hold asks for, as generate_text takes it; words: such as C2:44=5.0, or None."""
    hold = {}
    for word in words or ():
        try:
            state, unit, value = re.fullmatch(r'(\w+):(\d+)=(\S+)', word).groups()
            unit, value = int(unit), float(value)
        except (AttributeError, ValueError):
            raise ValueError(f'--hold is {word}: expected STATE:UNIT=VALUE, such as C2:44=5.0') from None
        if unit in hold.setdefault(state, {}):
            raise ValueError(f'--hold has {state}:{unit} twice: expected one value for each unit')
        hold[state][unit] = value
    return hold or None


def settle(o):
    """Check the options o, and set those that depend on others. Raise ValueError, or OSError for a page that exists."""
    _check_names(o)
    _check(o)
    if o.page is not None:
        _check_page(o)
    if o.export is not None:
        format_of(o.export, '--export')
        refuse_to_replace(o.export, o.overwrite, [o.params])
    o.length = o.length or (100 if o.page is None else 2000)
    o.count = o.count or (5 if o.page is None else 1)


def _check_page(o):
    """Raise ValueError if --page would replace a file that it should not, such as a text that is read."""
    if is_archive(o.page):
        raise ValueError(f'--page is {o.page}, a checkpoint or a zip file: expected the name of a page, such as x.html')
    refuse_to_replace(o.page, o.overwrite, (o.params, o.score, o.copies, o.against, o.prime_file))


def _check_names(o):
    """Raise ValueError where a file stands in the place of PARAMS that is no checkpoint."""
    if o.out is not None and is_archive(o.out) and not is_archive(o.params):
        raise ValueError(f'got {o.params} and then {o.out}: PARAMS, the checkpoint, comes first, as in '
                         f'{script("produce_text.py", o.out, o.params)}')
    if os.path.isfile(o.params) and os.access(o.params, os.R_OK) and not is_archive(o.params):
        raise ValueError(f'{o.params} is no checkpoint: PARAMS comes first, as in '
                         f'{script("produce_text.py", near(BUNDLED), "--score", o.params)}')


def _check(o):
    """Raise ValueError for options that are wrong or contradict each other."""
    if o.out == '':
        raise ValueError("OUT is '': expected the name of a text file, or leave it out")
    rows = [row for rows in OPTIONS.values() for row in rows]
    typed = {row.name for row in rows if vars(o)[row.name] != row.default}
    for name, needed in NEEDS.items():
        if name in typed and not typed & set(needed):
            raise ValueError(f'{spelled(name)} needs {" or ".join(map(spelled, needed))}')
    for one, other in ALONE:
        if {one, other} <= typed:
            raise ValueError(f'got {spelled(one)} and {spelled(other)}: expected only one of them')
    for row in rows:
        if row.fits and row.name in typed:
            row.fits(spelled(row.name), vars(o)[row.name])
    reading = [spelled(name) for name in ('info', 'score', 'export') if name in typed]
    for row in OPTIONS[WRITING] + OPTIONS[CHOICE]:
        scores_lines = row.name == 'lines' and 'score' in typed and 'page' not in typed
        if reading and row.name in typed and not scores_lines:
            raise ValueError(f'{spelled(row.name)} is for writing, but {reading[0]} writes no text: leave it out')
    for name in ('temperature', 'top_k', 'top_p'):
        if name in typed and o.method != 'normal':
            raise ValueError(f'{spelled(name)} is for drawing characters, but --method {o.method} takes the most '
                             'probable one: leave out one of them')
    if {'page', 'adapt'} <= typed:
        raise ValueError('--adapt prints the cost of a model that learns as it reads, and --page shows the model as it '
                         'was saved: leave out one of them')
    if {'copies', 'lines', 'score'} <= typed:
        raise ValueError('--copies is of a text, and --score --lines prints the cost of each line: leave out --copies '
                         'or --lines')
    if o.out is not None and is_archive(o.out):
        raise ValueError(f'{o.out} is a checkpoint or a zip file, to which no text is appended: expected one PARAMS, '
                         'and a text file as OUT')
    if o.out is not None and typed & {'score', 'info', 'page', 'export'}:
        raise ValueError(f'OUT is {o.out}, but --score, --info, --page and --export write no text to it: leave it out')

"""Examples of the class in READMEs run as pasted, the loop in engine/README.md computes what train.py does, and what
the READMEs refer to exists."""
import re
import shlex
import shutil

import pytest

from engine import terminal
from scripts import FAST, PRODUCE, ROOT, TRAIN, load, run, sentences, succeeded

README, ENGINE, TEXT_OUTPUT = [(ROOT / folder / 'README.md').read_text(encoding='utf-8')
                               for folder in ('', 'engine', 'text_output')]


def examples(text, title):
    """Return the Python code in the section of this title."""
    return re.findall(r'```python\n(.*?)```', text.split(f'\n## {title}\n')[1].split('\n## ')[0], re.DOTALL)


@pytest.fixture
def book(tmp_path):
    """Return a folder with a text book.txt that has a byte order mark, CRLF, and 3 batches of 50 x 50 to learn from."""
    (tmp_path / 'book.txt').write_bytes(sentences(160).replace('\n', '\r\n').encode('utf-8-sig'))
    return tmp_path


def test_examples_can_be_pasted_line_by_line():
    """In a prompt, an empty line ends what is indented."""
    for path in [ROOT / 'README.md', *ROOT.glob('*/README.md'), *ROOT.glob('engine/*/README.md')]:
        for block in re.findall(r'```python\n(.*?)```', path.read_text(encoding='utf-8'), re.DOTALL):
            lines = block.splitlines()
            for before, line in zip(lines, lines[1:]):
                assert not (before.startswith(' ') and line[:1].isalpha()), (path, line)


def run_code(folder, code):
    """Run a program that imports charlstm, in a folder."""
    return run('-c', code, cwd=str(folder), flags=FAST, env={'PYTHONPATH': str(ROOT)})


def written_by(command, folder):
    """Return what a command of produce_text.py in the README writes with the bundled model."""
    script, *words = shlex.split(command)
    assert script == 'produce_text.py'
    result = run(PRODUCE, terminal.BUNDLED, folder / 'out.txt', *words, flags=FAST)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_texts_of_the_bundled_model_are_as_said(tmp_path):
    """One to the character, and one whose lines hardly ever end, as a unit is held."""
    shown = re.search(r'^    python (produce_text.py --prime .*)\n\n```\n(.*?)```', README, re.M | re.S)
    command, text = shown.groups()
    assert written_by(command, tmp_path).startswith(text)
    held, = re.findall(r'^    python (produce_text.py .*--hold .*)$', README, re.M)
    ends = written_by(held, tmp_path).strip().count('\n')
    assert ends <= 2 < written_by(re.sub('--hold .*', '', held), tmp_path).strip().count('\n')


def test_logs_are_read_as_said(short_run):
    """By the two programs with NumPy alone."""
    readme = (ROOT / 'training_results' / 'README.md').read_text(encoding='utf-8')
    of_steps, of_passage = [code for code in examples(readme, 'The logs') if 'pandas' not in code]
    steps, passage = {}, {}
    for code, found in ((of_steps, steps), (of_passage, passage)):
        exec(code.replace('training_results/run1_book.txt', str(short_run.folder / 'r_t.txt')), found)
    assert (steps['named']['valid_cost'] == steps['d'][:, 2]).all() and steps['d'].shape[1] == 3 + 8
    assert passage['d'].shape == (3, len(passage['passage']))


def test_examples_of_the_class_run_as_pasted(book):
    """Run one after the other, without a change."""
    result = run_code(book, '\n'.join(examples(README, 'As a class')))
    assert result.returncode == 0 and 'Traceback' not in result.stderr, result.stderr
    assert load(book / 'params.npz')['W1'].shape == (4, 128, 128)
    shutil.copy(book / 'params.npz', book / 'other.npz')
    out = succeeded(run_code(book, '\n'.join(examples(TEXT_OUTPUT, 'In your own program'))))
    assert re.fullmatch(r"[0-9.e-]+ '(.|\\n)' [0-9.e-]+ [0-9]+\n"
                        r"other was less surprised by 0\.0 nats a character; most by '(.|\\n)'\n", out), out


RECORDING = """
import charlstm
train = charlstm.CharLSTM.theano_train_rmsprop
def recording(self, x, y):
    result = train(self, x, y)
    print('cost %.6g' % result[0])
    return result
charlstm.CharLSTM.theano_train_rmsprop = recording
model = charlstm.CharLSTM(random_seed=1)
for epoch in model.fit('book.txt', num_units1=16, epochs=3):
    print('epoch %d %.6g %.6g %.6g' % epoch[:4])
    text = model.sample(9)
    if epoch.number == 1:
        break
for epoch in model.fit():              # goes on
    print('epoch %d %.6g %.6g %.6g' % epoch[:4])
model.save_params('last.npz')
"""


def test_fit_learns_what_train_does(book):
    """The costs of all steps and epochs are those of train.py's logs, in all digits of the logs."""
    out = succeeded(run_code(book, RECORDING))
    succeeded(run(TRAIN, 'book.txt', 'r', '--random-seed', 1, '--epochs', 3, '--num-units1', 16, '--output-dir',
                  'results', cwd=str(book), flags=FAST))

    def rows(ending):
        lines = (book / 'results' / f'r_book.txt{ending}').read_text().splitlines()
        return [line.split() for line in lines if line[0] != '#']
    steps = [row[1] for row in rows('.out')]
    assert re.findall('^cost (.*)$', out, re.MULTILINE) == steps and len(steps) == 9
    epochs = [line.split() for line in re.findall('^epoch (.*)$', out, re.MULTILINE)]
    assert epochs == [row[:4] for row in rows('_epochs.out')] and len(epochs) == 3
    last, expected = load(book / 'last.npz'), load(book / 'results' / 'r_book.txt_epoch3.npz')
    assert all(last[name].tobytes() == expected[name].tobytes() for name in ('U1', 'W2', 'V', 'weights_W1'))


FROM_INIT = """
from charlstm import CharLSTM
model = CharLSTM(random_seed=2)
model.model_setup(num_units1=7, num_units2=5, char_dim=11)
model.uchar = list('abcdefghijk')
model.save_params('begin.npz')
model = CharLSTM(random_seed=1)
for epoch in model.fit('book.txt', init='begin.npz', epochs=1):
    model.save_params('last.npz')
"""


def test_fit_with_init_learns_what_train_does(book):
    """Also with the units of that checkpoint."""
    succeeded(run_code(book, FROM_INIT))
    succeeded(run(TRAIN, 'book.txt', 'r', '--random-seed', 1, '--epochs', 1, '--init', 'begin.npz', '--output-dir',
                  'results', cwd=str(book), flags=FAST))
    last, expected = load(book / 'last.npz'), load(book / 'results' / 'r_book.txt_epoch1.npz')
    assert last['W1'].shape == (4, 7, 7) and last['U2'].shape == (4, 5, 7)
    assert all(last[name].tobytes() == expected[name].tobytes() for name in ('U1', 'W2', 'V', 'weights_W1'))


def test_map_has_the_files_of_the_engine():
    section = ENGINE.split('\n## The map\n')[1].split('\n## ')[0]
    found = {path.name for path in (ROOT / 'engine').rglob('*.*') if path.suffix in ('.py', '.js', '.html', '.css')}
    wheel = {path.name for path in (ROOT / 'engine' / 'backend' / 'theano_wheel').iterdir()} | {'__init__.py'}
    named = set(re.findall(r'`(\w+\.(?:py|js|html|css))`', section))
    assert named - {'train.py', 'produce_text.py', 'setup.py'} == found - wheel


def anchors(path):
    """Return the anchors of the headings of a Markdown file, as GitHub makes them."""
    titles = re.findall('^#+ (.*)$', path.read_text(encoding='utf-8'), re.MULTILINE)
    return [re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-') for title in titles]


@pytest.mark.parametrize('name', ['', 'engine', 'engine/lesson', 'tests/benchmarks', 'text_input', 'text_output',
                                  'training_results'])
def test_links_lead_somewhere(name):
    readme = ROOT / name / 'README.md'
    for path, anchor in re.findall(r'\]\((?!http)([^)#]*)#?([^)]*)\)', readme.read_text(encoding='utf-8')):
        target = readme.parent / path if path else readme
        assert target.exists() and (not anchor or anchor in anchors(target)), (path, anchor)

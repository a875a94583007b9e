"""The commands of the READMEs run, and the options, files and headings that they name exist."""
import json
import re
import shlex
import subprocess
import sys

import pytest

from cells import README_CODE
from charlstm import CharLSTM, read_about
from scripts import FAST, ROOT, copy_of_program, paste, run
from test_lesson import SOLUTIONS

READMES = sorted(ROOT / name for name in subprocess.run(
    ['git', 'ls-files', '*.md'], cwd=ROOT, capture_output=True, encoding='utf-8').stdout.split()) or sorted(
    ROOT.rglob('*.md'))
TEXTS = {readme: readme.read_text(encoding='utf-8') for readme in READMES}
PROGRAM = r'(train\.py|produce_text\.py|tests/benchmarks/\w+\.py|-m engine\.lesson \w+)'
# The commands in the READMEs, by the program that they call.
COMMANDS = {}
for text in TEXTS.values():
    for line in re.findall(r'^    (.*)$', text, re.MULTILINE):
        for program, words in re.findall(rf'python {PROGRAM}(.*)', line):
            COMMANDS.setdefault(program, []).append(words)


@pytest.mark.parametrize('program', COMMANDS)
def test_options_exist(program):
    """An option that takes a value is not followed by another option."""
    words = [[*shlex.split(words.split(' | ')[0].split('#')[0])] for words in COMMANDS[program]]
    words = [[word.lstrip('-') if ' ' in word else word for word in command] for command in words]     # of train.py
    subcommands = {first for first, *_ in filter(None, words) if program.endswith(('quality.py', 'cells.py'))}
    for subcommand in subcommands or {None}:
        known = subprocess.run([sys.executable, *program.split(), *filter(None, [subcommand]), '--help'], cwd=ROOT,
                               capture_output=True, encoding='utf-8', check=True).stdout
        options = dict(re.findall(r'^  (--[\w-]+)( [A-Z{\[][\S]*)?', known, re.MULTILINE))
        for command in words:
            if subcommand not in (None, *command[:1]):
                continue
            for option, value in zip(command, [*command[1:], '--']):
                if option.startswith('--'):
                    assert option in options, (program, command, option)
                    assert not options[option] or not value.startswith('--') or value == '--', (command, option)


def anchors(text):
    """Return the anchors of the headings of a Markdown text, as GitHub makes them."""
    titles = re.findall('^#+ (.*)$', text, re.MULTILINE)
    return [re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-') for title in titles]


@pytest.mark.parametrize('readme', TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(readme):
    for path, anchor in re.findall(r'\]\((?!http)([^)#]*)#?([^)]*)\)', TEXTS[readme]):
        target = readme.parent / path if path else readme
        assert target.exists() and (not anchor or anchor in anchors(TEXTS[target.resolve()])), (path, anchor)


def test_one_version_for_scripts_checkpoints_and_the_citation(tmp_path):
    printed = {subprocess.run([sys.executable, script, '--version'], cwd=ROOT, capture_output=True,
                              encoding='utf-8').stdout for script in ('train.py', 'produce_text.py')}
    version, = re.findall(r'version = \{(.*)\}', TEXTS[ROOT / 'README.md'])
    assert printed == {f'CharLSTM {version}\n'}
    model = CharLSTM()
    model.model_setup(char_dim=3, num_units1=2, num_units2=5)
    model.uchar = list('abc')
    assert read_about(model.save_params(tmp_path / 'p'))['versions']['charlstm'] == version


# ---------------------------------------------------------------- the commands of README.md and the lesson

# Runs scripts one after the other in one process, in the current folder.
DRIVER = '''
import json, os, runpy, sys
sys.path.insert(0, os.getcwd())
for option, name, *words in json.loads(sys.argv[1]):
    sys.argv, status = [name, *words], 0
    try:
        if option == '-c':
            exec(name, {'__name__': '__main__'})
        elif option == '-m':
            runpy.run_module(name, run_name='__main__', alter_sys=True)
        else:
            runpy.run_path(name, run_name='__main__')
    except SystemExit as end:
        status = end.code
    assert not status, (name, words, status)
'''
ELSEWHERE = 'pip ', 'venv ', 'venv\\', 'pytest ', 'benchmarks/'     # in .ci/run or test_benchmarks.py
LESSON = ROOT / 'engine' / 'lesson'


def commands_of(*readmes):
    """Return the command lines of READMEs, without the path of the virtual environment's Python."""
    lines = [line for readme in readmes for line in re.sub('(?s)```.*?```', '', TEXTS[readme]).splitlines()
             if re.match(r'    (python|py |pip |venv)', line)]
    return list(dict.fromkeys(line.strip().replace('venv/bin/python ', 'python ') for line in lines))


def shortened(line):
    """Return the words of a command for DRIVER, after "python", with fewer epochs, units and characters."""
    line = re.sub(r'--length \d+', '--length 30', line).replace('epoch200', 'epoch1').replace('NAME.py', 'mine.py')
    _, *words = shlex.split(line.replace('PARAMS', 'training_results/run1_book.txt_best.npz'), comments=True)
    if words[1:3] == ['engine.lesson', 'train']:
        words += ['--epochs', '1']
    if words[0] == 'train.py' and '--resume' not in words:
        words += ['--epochs', '1', '--overwrite']
        words = ' '.join(words).replace('--units 512 256 256', '').split()
        words += [] if {'--init', '--num-units1'} & {*words} else '--units 7 5'.split()
    words += ['--overwrite'] * ('--page' in words)         # the copy may have a page
    return words if words[0].startswith('-') else ['', *words]


def test_commands_run(tmp_path):
    """In a copy of the program, on beginnings of texts. Each training leaves the checkpoint of its best epoch."""
    program, text = copy_of_program(tmp_path / 'program'), (ROOT / 'text_input' / 'coriolanus.txt').read_text()[:9_000]
    for path in ROOT.glob('training_results/prideandprejudice*'):
        (program / 'training_results' / path.name).write_bytes(path.read_bytes())
    (program / 'books').mkdir()
    for name in ('text_input/coriolanus.txt', 'book.txt', 'books/a.txt', 'train.txt', 'valid.txt', 'test.txt'):
        (program / name).write_text(text)
    (program / 'mine.py').write_text(SOLUTIONS + README_CODE[0])
    (program / 'rows.py').write_text(re.findall('```python\n(.*?)```', TEXTS[LESSON / 'README.md'], re.DOTALL)[0])
    lines = [line for line in commands_of(ROOT / 'README.md', LESSON / 'README.md')
             if not any(word in line for word in ELSEWHERE)]
    piped = [line for line in lines if ' | ' in line]
    words = [shortened(line) for line in lines if line not in piped]
    assert len(words) > 44 and len(piped) == 1
    words.append(['', 'rows.py'])
    env = dict(CHARLSTM_NOVEL_URL='http://127.0.0.1:9')
    result = run('-c', DRIVER, json.dumps(words), cwd=program, flags=FAST, env=env)
    assert result.returncode == 0, result.stderr[-2000:]
    names = {f'{each[3]}_{each[2].split("/")[-1]}' for each in words if each[1] == 'train.py' and len(each) > 10}
    assert len(names) > 15 and not [name for name in names if not (
        program / 'training_results' / f'{name}_best.npz').exists() and 'memory' not in name]
    assert (program / 'text_output' / 'prideandprejudice.npz.out').exists()
    line = re.sub(r'--length \d+', '--length 300', piped[0]).replace('python ', f'{sys.executable} ')
    assert "('e', " in paste(line, program).stdout


def test_windows_has_the_same_commands():
    """So has the lesson, which calls no programs of Unix."""
    box = re.findall('    (.*)', TEXTS[ROOT / 'README.md'].split('command prompt:\n\n')[1].split('\n\n')[0])
    linux = ' && '.join(commands_of(ROOT / 'README.md')[1:4]).replace('venv/bin/', '').replace('python3', 'py')
    assert [line for line in box if 'activate' not in line] == linux.split(' && ')
    assert box.index('venv\\Scripts\\activate') == 1
    for line in commands_of(LESSON / 'README.md'):
        assert not re.search(r'\b(head|tail|tr|wc|cat|ls|sed)\b|\$\(|&&', line), line

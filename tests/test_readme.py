"""The options, files and headings that the READMEs name exist."""
import re
import shlex
import subprocess
import sys

import pytest

from charlstm import CharLSTM, read_about
from scripts import ROOT

READMES = sorted(ROOT / name for name in subprocess.run(
    ['git', 'ls-files', '*README.md'], cwd=ROOT, capture_output=True, encoding='utf-8').stdout.split()) or sorted(
    ROOT.rglob('README.md'))
TEXTS = {readme: readme.read_text(encoding='utf-8') for readme in READMES}
PROGRAM = r'(train\.py|produce_text\.py|tests/benchmarks/\w+\.py|-m engine\.lesson(?:\.\w+)?)'
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

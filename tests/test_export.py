"""Exported models: what C and PyTorch compute with the files, and reading the files back.

PyTorch's file is checked with a loop in NumPy that has PyTorch's names and order of gates and, if it is installed, with
torch itself.
"""
import json
import os
import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from cells import logical_cell, odd_cell, peephole_cell
from charlstm import CharLSTM, lstm_cell, tt
from engine.terminal import BUNDLED
from numpy_model import LETTERS, V, lively_parameters, sigmoid
from scripts import ROOT, run, sentences, write_chain
from ways import READING_IN_C, Case, InTheano

N, GREEDY = 2000, 300
WARNINGS = ['-std=c99', '-Wall', '-Wextra', '-pedantic', '-Werror']
SANITIZERS = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-g']
COMPILERS = ['gcc', 'clang']

# Prints the characters that 1000 evenly spaced numbers draw at a temperature.
DRAWER = '''
#define MODEL_ONLY
#include "model.c"
int main(int argc, char **argv)
{
    const float log_p[V] = {%s};
    for (int k = 0; k < 1000; k++) printf("%%d\\n", model_write(log_p, atof(argv[argc - 1]), (k + 0.5) / 1000));
    return 0;
}
'''


def compiled(folder, code=None, compiler='cc', options=('-O3',)):
    """Compile a program beside model.c, or model.c itself; return its path. The compiler must print nothing."""
    if not shutil.which(compiler):
        pytest.skip(f'{compiler} is not installed')
    source, made = folder / 'model.c', folder / f'program{len(os.listdir(folder))}'
    if code:
        source = folder / f'{made.name}.c'
        source.write_text(code)
    said = subprocess.run([compiler, *options, str(source), '-lm', '-o', str(made)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, encoding='utf-8')
    assert (said.returncode, said.stdout) == (0, ''), said.stdout
    return str(made)


def output(*command, text=''):
    """Return what a program prints, in bytes, after asserting that it succeeds and writes no errors."""
    result = subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (0, b'')
    return result.stdout


def numbers_in_c(program, codes):
    """Return the numbers that a program prints for character codes."""
    return np.array(output(program, text=' '.join(map(str, codes))).split(), float)


def costs_in_c(exported, n, *how):
    """Return the costs of the first n characters but one, by a program that is compiled as `how` says."""
    x, y = exported.codes[:n - 1], exported.codes[1:n]
    logs = numbers_in_c(compiled(exported.folder, READING_IN_C, *how), x).reshape(n - 1, -1)          # and states
    return -logs[np.arange(n - 1), y]


# ---------------------------------------------------------------- the models

def several_functions(a_f, a_i, a_o, a_g, C_prev, s=0.3):
    """Return h and C from the functions that the other cells do not call."""
    kept = tt.minimum(tt.log1p(tt.exp(a_f)), 1.5) * tt.sgn(a_g) * 0.3 + (abs(a_i) >= s) * (a_o <= 0.5) * 0.2
    C = 0.4 * C_prev + kept + tt.eq(tt.sgn(a_g), 1) * 0.1 + tt.neq(tt.sgn(a_i), -1) * 0.2
    return tt.tanh(C) * tt.nnet.sigmoid(a_o), C


# Cells and units by the name of a model; some cells have unusual operations.
MODELS = {'bundled': (lstm_cell, 256, 256), 'other sizes': (lstm_cell, 101, 90), 'own cell': (peephole_cell, 90, 101),
          'odd': (odd_cell, 7, 4), 'logical': (logical_cell, 7, 4), 'several': (several_functions, 7, 4)}


@pytest.fixture(scope='module', params=MODELS)
def exported(request, tmp_path_factory):
    """Return a model, a folder with its files, a text that it was not trained on, its costs, and a greedy text."""
    (cell, H1, H2), model = MODELS[request.param], CharLSTM(random_seed=1)
    folder, random = tmp_path_factory.mktemp('exported'), np.random.default_rng(4)
    if request.param == 'bundled':
        model.model_setup(BUNDLED)
        codes = np.array([model.uchar.index(ch) for ch in sentences(200) if ch in model.uchar][:N + 1])
    else:
        model.cell, model.uchar, codes = cell, list(LETTERS), random.integers(V, size=N + 1)
        model.model_setup(num_units1=H1, num_units2=H2)
        p = lively_parameters(8, V, H1, H2)
        for name, variable in model.p.items():
            array = p[name] if name in p else random.uniform(-0.5, 0.5, variable.get_value().shape)
            variable.set_value((array * (5 if name[0] == 'U' else 1)).astype('float32'))       # writes varied texts
    for ending in ['c'] + ['safetensors'] * (cell is lstm_cell):
        model.export(folder / f'model.{ending}')
    prime = ''.join(model.uchar[k] for k in codes[:7])
    greedy = model.generate_text(prime, len(prime) + GREEDY, 'argmax')
    assert len(set(greedy[-100:])) > 2 or request.param == 'several'
    return SimpleNamespace(model=model, folder=folder, codes=codes, prime=prime, greedy=greedy,
                           costs=model.alternatives(codes)[0])


def assert_costs(found, exported):
    """Assert that costs are within 1e-5, except a thousandth: the model's own are up to 1.2e-5 from float64's."""
    assert len(found) == N and exported.costs.max() > 2
    distance = np.sort(np.abs(found - exported.costs))
    assert distance[-N // 1000] < 1e-5 and distance[-1] < 2e-5, distance[-20:]


# ---------------------------------------------------------------- C

@pytest.mark.parametrize('exported', ['bundled'], indirect=True)
def test_c_computes_the_model(exported):
    assert_costs(costs_in_c(exported, N + 1), exported)
    program = compiled(exported.folder, options=['-O3', '-march=native'])
    assert output(program, exported.prime, str(GREEDY), '0').decode() == exported.greedy + '\n'


@pytest.mark.parametrize('exported', [*MODELS][1:], indirect=True)     # the first one takes seconds to compile
def test_c_compiles_without_warnings(exported):
    """Operations that a cell does not use are not in the file, so no function is unused."""
    for compiler in COMPILERS:
        found = costs_in_c(exported, 200, compiler, [*WARNINGS, '-O3', '-march=native'])
        np.testing.assert_allclose(found, exported.costs[:199], atol=1e-5)
        program = compiled(exported.folder, None, compiler, [*WARNINGS, '-O1', *SANITIZERS])
        assert output(program, exported.prime, str(GREEDY), '0').decode() == exported.greedy + '\n'


@pytest.mark.parametrize('exported', ['other sizes'], indirect=True)
def test_c_refuses_what_it_cannot_do(exported):
    program = compiled(exported.folder, options=['-O1'])
    with open('/dev/full', 'w') as full:               # noticed long before the end of the text
        failed = subprocess.run([program, '', '999999999'], stdout=full, stderr=subprocess.PIPE)
    assert failed.returncode == 2 and failed.stderr.endswith(b'cannot write to standard output\n')
    for arguments in (['a', 'x'], ['a', '0'], ['a', '9' * 20], ['a', '5', 'inf'], ['a', '5', '-1'],
                      ['a', '5', '1', 'x'], ['a', '9', '1', '1', 'more'], ['a~']):
        failed = subprocess.run([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert (failed.returncode, failed.stdout) == (2, b''), arguments


def test_characters_in_c(tmp_path):
    """A model that predicts its characters in order, over and over, writes them in UTF-8; both files have them."""
    array, model, back = np.array(sorted('aé€𝄞 \n"\\?%\0\x7f')), CharLSTM(), CharLSTM()
    model.model_setup(write_chain(tmp_path / 'p.npz', array))
    model.export(tmp_path / 'model.c')
    model.export(tmp_path / 'model.safetensors')
    back.model_setup(tmp_path / 'model.safetensors')
    assert list(back.uchar) == list(model.uchar)
    program = compiled(tmp_path, options=[*WARNINGS, *SANITIZERS])
    expected = ''.join(model.uchar).encode()
    at = expected.index(b'a')
    assert output(program, 'a', str(2 * len(array)), '0') == (3 * expected)[at:at + 1 + 2 * len(expected)] + b'\n'
    result = subprocess.run([program, 'a☃b'], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert result.returncode == 2 and result.stderr.decode().endswith('never saw the first character of: ☃b\n')


def test_drawing_in_c(tmp_path):
    """Evenly spaced numbers draw each character in proportion to its probability at the temperature."""
    p = np.random.default_rng(2).dirichlet(np.ones(11))
    model = InTheano().model(Case(11, 7, 4, T=1, B=1))
    model.export(tmp_path / 'model.c')
    program = compiled(tmp_path, DRAWER % ', '.join(map(repr, np.log(p).tolist())), options=WARNINGS + SANITIZERS)
    for temperature in (0.5, 1, 2):
        expected = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
        drawn = np.bincount(np.array(output(program, str(temperature)).split(), int), minlength=11)
        assert np.abs(drawn - 1000 * expected).max() <= 1
    for temperature in ('0', '1e-30'):
        assert set(output(program, temperature).split()) == {str(np.argmax(p)).encode()}
    program = compiled(tmp_path, options=WARNINGS + SANITIZERS)
    same = [output(program, '', '30', '1', seed) for seed in '112']
    assert same[0] == same[1] != same[2] and len(same[0].decode()) == 31


# ---------------------------------------------------------------- PyTorch

def save_tensors(path, tensors, vocabulary=LETTERS, **about):
    """Write a file as a user of PyTorch does."""
    about.update(vocabulary=json.dumps(list(vocabulary)))
    pytest.importorskip('safetensors.numpy').save_file(tensors, str(path), metadata=about)
    return path


class Torch:
    """Two layers of nn.LSTM and an nn.Linear in NumPy, with PyTorch's names and order of gates."""

    def __init__(self, tensors, layers=('lstm1.{}_l0', 'lstm2.{}_l0'), linear='linear.'):
        self.layers = [[tensors[name.format(kind)].astype(float) for kind in
                        ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh')] for name in layers]
        self.V, self.c = tensors[f'{linear}weight'].astype(float), tensors[f'{linear}bias']
        self.read = tensors.get('net.emb.weight', np.eye(len(self.c))).astype(float)       # an nn.Embedding, or one-hot
        self.states = [[np.zeros(W.shape[1]), np.zeros(W.shape[1])] for _, W, *_ in self.layers]

    def __call__(self, x):
        """Return the probabilities (V,) after the character x."""
        up = self.read[x]
        for state, (U, W, b_ih, b_hh) in zip(self.states, self.layers):
            i, f, g, o = np.split(U @ up + b_ih + W @ state[0] + b_hh, 4)
            state[1] = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
            state[0] = up = sigmoid(o) * np.tanh(state[1])
        e = np.exp(self.V @ up + self.c)
        return e / e.sum()

    def costs(self, codes):
        return np.array([-np.log(self(x)[y]) for x, y in zip(codes, codes[1:])])


@pytest.mark.parametrize('exported', ['bundled', 'other sizes'], indirect=True)
def test_nn_lstm_in_numpy_computes_the_model(exported):
    tensors = pytest.importorskip('safetensors.numpy').load_file(exported.folder / 'model.safetensors')
    assert_costs(Torch(tensors).costs(exported.codes), exported)


@pytest.mark.parametrize('exported', ['bundled'], indirect=True)
def test_readme_writes_with_torch(tmp_path, exported):
    """The example of text_output/README.md runs as pasted."""
    pytest.importorskip('torch')
    shutil.copy(str(exported.folder / 'model.safetensors'), str(tmp_path))
    section = (ROOT / 'text_output' / 'README.md').read_text(encoding='utf-8').split('\n## Export\n')[1]
    writes = re.search(r'```python\n(.*?)```', section, re.DOTALL)[1]
    result = run('-c', writes, cwd=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, '') and result.stdout.startswith('It is ')
    assert len(result.stdout) > 200 and set(result.stdout) <= set(exported.model.uchar)


def foreign(H1=7, H2=4, dtype='float32', layers=('net.rnn1.{}_l0', 'net.rnn2.{}_l0'), embedded=0):
    """Return tensors named as a user of PyTorch might, and a Torch made of them. Both biases are random.

    embedded: the numbers of a character in an nn.Embedding; 0: one-hot vectors.
    """
    random, V = np.random.default_rng(9), 11
    shapes = {}
    for name, n, H in zip(layers, (embedded or V, H1), (H1, H2)):
        shapes.update({name.format('weight_ih'): (4 * H, n), name.format('weight_hh'): (4 * H, H),
                       name.format('bias_ih'): (4 * H,), name.format('bias_hh'): (4 * H,)})
    shapes.update({'net.out.weight': (V, H2), 'net.out.bias': (V,)})
    if embedded:
        shapes['net.emb.weight'] = V, embedded
    tensors = {name: random.normal(0, 0.8, shape).astype(dtype) for name, shape in shapes.items()}
    return tensors, Torch(tensors, layers, 'net.out.')


@pytest.mark.parametrize('settings', [
    {}, dict(H1=5, H2=5, layers=('lstm.{}_l0', 'lstm.{}_l1')), dict(dtype='float64'), dict(dtype='float16'),
    dict(embedded=3), dict(embedded=4, dtype='float16')],
    ids=['two', 'one of two layers', 'float64', 'float16', 'embedding', 'embedding as wide as the output'])
def test_file_of_a_user_of_pytorch(tmp_path, settings):
    tensors, judge = foreign(**settings)
    model = CharLSTM(random_seed=2)
    model.model_setup(save_tensors(tmp_path / 'theirs.safetensors', tensors))
    codes = np.random.default_rng(1).integers(11, size=300)
    np.testing.assert_allclose(model.alternatives(codes)[0], judge.costs(codes), rtol=0, atol=1e-5)


# ---------------------------------------------------------------- what is refused, and the command

def without(name):
    return lambda tensors: tensors.pop(name)


def replaced(name, array):
    return lambda tensors: tensors.update({name: array})


@pytest.mark.parametrize('change, vocabulary', [
    (without('net.rnn1.weight_hh_l0'), LETTERS), (without('net.rnn2.bias_hh_l0'), LETTERS),
    (without('net.out.bias'), LETTERS), (replaced('emb.weight', np.zeros((11, 3), 'f4')), LETTERS),
    (replaced('net.rnn3.weight_hh_l0', np.zeros((8, 2), 'f4')), LETTERS),
    (replaced('net.rnn1.weight_ih_l0', np.zeros((28, 12), 'f4')), LETTERS),
    (replaced('net.rnn2.weight_ih_l0', np.zeros((16, 6), 'f4')), LETTERS),
    (replaced('net.rnn2.weight_hh_l0', np.zeros((), 'f4')), LETTERS),
    (replaced('net.out.bias', np.zeros(11, 'i8')), LETTERS),
    (replaced('net.out.bias', np.full(11, np.nan, 'f4')), LETTERS),
    *[(len, vocabulary) for vocabulary in (LETTERS[:-1], 'aa' + LETTERS[2:], ['ab', *LETTERS[2:], 'l'], [*range(11)],
                                           [['a']] * 11, [])]])
def test_tensors_that_do_not_fit(tmp_path, refused, change, vocabulary):
    tensors, _ = foreign()
    change(tensors)
    path = save_tensors(tmp_path / 'p.safetensors', tensors, vocabulary)
    with refused(ValueError, path):
        CharLSTM().model_setup(path)


def test_untrusted_tensors(tmp_path, refused):
    """Files without a vocabulary, cut off, too long, or with a header that does not fit the numbers."""
    path = tmp_path / 'p.safetensors'
    good = save_tensors(path, foreign()[0]).read_bytes()
    for bad in (b'', good[:50], good[:-1], good + b'x', (2 ** 40).to_bytes(8, 'little') + good[8:],
                good.replace(b'[28,7]', b'[28,9]', 1), good.replace(b'"vocabulary"', b'"vocabularx"')):
        path.write_bytes(bad)
        with refused(ValueError, path):
            CharLSTM().model_setup(path)


def test_model_that_a_file_cannot_have(tmp_path, refused):
    """Its cell is not in C or not PyTorch's. test_edits.py has edited networks."""
    mixing = CharLSTM()
    mixing.uchar, mixing.cell = list('abc'), lambda a_f, C_prev: (tt.sort(a_f, axis=1), C_prev)
    mixing.model_setup(num_units1=3, num_units2=2)
    with refused(ValueError, 'a C file', 'the cell <lambda>'):
        mixing.export(tmp_path / 'm.c')
    model = InTheano().model(Case(5, 4, 3, T=1, B=1, cell='peepholes'))
    with refused(ValueError, 'nn.LSTM', 'Peepholes.cell'):
        model.export(tmp_path / 'm.safetensors')
    with refused(ValueError, 'm.onnx', '.safetensors or .c'):
        model.export(str(tmp_path / 'm.onnx'))
    assert os.listdir(tmp_path) == []


def test_command_exports(produce, short_run):
    """Check the message, that a file is replaced, and the file as PARAMS."""
    for name in ('m.c', 'm.safetensors'):
        (short_run.folder / name).write_text('mine')
        result = produce('--export', name, '--overwrite')
        assert (result.returncode, result.stdout) == (0, '')
        assert re.fullmatch(rf'wrote {name}, \d\.\d MB\n', result.stderr)
    texts = [produce('--prime', 'the ', '--method', 'argmax', '--count', 1, 'out', checkpoint=name).stdout
             for name in ('m.safetensors', 'r_t.txt_best.npz')]
    assert texts[0] == texts[1] and texts[0].startswith('the ')
    assert '2 layers of 5 and 7 units' in produce('--info', checkpoint='m.safetensors').stdout

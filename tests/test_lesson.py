"""The lesson: the gradient by hand, its commands as printed, and every experiment and exercise."""
import inspect
import re
import shlex
import shutil
import sys

import numpy as np
import pytest

import charlstm

from cells import README_CODE, readme_classes
from charlstm import CharLSTM, tt
from engine.lesson import cells, exercise, figure, numpy_lstm
from numpy_model import LETTERS, NAMES, V, costs, gradients, lively_parameters, random_parameters, sigmoid
from scripts import FAST, ROOT, assert_refused, load, paste, run, succeeded

sys.path.append(str(ROOT / 'tests' / 'benchmarks'))        # at the end: some modules there have names of ours

from lesson import command_lines  # noqa: E402

LESSON = (ROOT / 'engine' / 'lesson' / 'README.md').read_text(encoding='utf-8')
COMMANDS = command_lines()
T, B, H1, H2 = 6, 3, 5, 2
UNITS = dict(num_units1=H1, num_units2=H2)


# ---------------------------------------------------------------- the model in NumPy

def two_batches():
    """Return the parameters p, and characters x and y of two batches that follow each other."""
    characters = np.random.default_rng(1).integers(V, size=(2 * T + 1, B))
    return random_parameters(2, H1=H1, H2=H2), [(characters[start:start + T], characters[start + 1:start + 1 + T])
                                                for start in (0, T)]


def test_gradient_by_hand_is_that_of_finite_differences():
    """Of a batch from zero states, and of the next one."""
    (p, batches), states = two_batches(), None
    for x, y in batches:
        expected = gradients(p, x, y, states=states)
        probabilities, after, memory = numpy_lstm.forward(p, x, states)
        found = numpy_lstm.backward(p, x, y, probabilities, memory)
        assert set(found) == set(NAMES)
        for name in NAMES:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-9, err_msg=name)
        states = after


def test_model_in_numpy_is_the_class(float64):
    """Probabilities, costs and gradients in float64, the latter from a step of gradient descent at rate 1."""
    p, batches = two_batches()
    model = CharLSTM(random_seed=1)
    model.model_setup(char_dim=V, lrate=1, bptt_maxdepth=-1, **UNITS)
    for name in NAMES:
        model.p[name].set_value(p[name])
    x, y = batches[0]
    probabilities, _, memory = numpy_lstm.forward(p, x)
    np.testing.assert_allclose(model.theano_predict(x)[0], probabilities, rtol=0, atol=1e-10)
    cost = model.theano_train_sgd(x, y)[0]
    assert abs(cost - costs(probabilities, y).mean()) < 1e-10
    for name, gradient in numpy_lstm.backward(p, x, y, probabilities, memory).items():
        np.testing.assert_allclose(p[name] - model.p[name].get_value(), gradient, rtol=0, atol=1e-10, err_msg=name)


def test_model_in_numpy_learns_and_writes():
    """A text in which each character follows another one."""
    p = random_parameters(3, V=4, H1=H1, H2=H2)
    found = list(numpy_lstm.learn(p, np.arange(403) % 4, 60, B=2, T=7))
    assert found[0] > 0.7 and found[-1] < 0.1
    written = numpy_lstm.write(p, np.random.default_rng(1), 41)
    assert np.mean(np.diff(written) % 4 == 1) > 0.8 and len(written) == 41


def test_model_in_numpy_is_short_and_needs_numpy_alone():
    source = (ROOT / 'engine' / 'lesson' / 'numpy_lstm.py').read_text(encoding='utf-8')
    assert len(source.splitlines()) <= 120
    assert [line for line in source.splitlines() if 'import ' in line] == ['import numpy as np']


def in_numpy(*words, env={}):
    return run('-m', 'engine.lesson', *words, cwd=ROOT, env=env)


def test_class_and_numpy_read_each_others_checkpoints(tmp_path, without):
    """And the program begins with those that the class wrote. It needs no Theano, and three epochs lower the cost."""
    text, out, again, path = [tmp_path / name for name in ('t.txt', 'a.npz', 'b.npz', 'class.npz')]
    text.write_text(LETTERS * 30)
    first = succeeded(in_numpy(text, out, '--epochs', 2, env=without('theano', 'scipy')))
    model = CharLSTM(random_seed=1)
    model.model_setup(out)
    codes = np.arange(40)[:, None] % V
    p = {name: load(out)[name] for name in NAMES}
    np.testing.assert_allclose(model.theano_predict(codes)[0], numpy_lstm.forward(p, codes)[0], rtol=1e-3, atol=1e-6)
    model.save_params(path)
    second = succeeded(in_numpy(text, again, '--init', path, '--epochs', 1))
    cost = [float(line.split()[3]) for line in (first + second).splitlines() if line.startswith('epoch')]
    assert len(cost) == 3 and cost[0] > cost[1] > cost[2]
    assert load(again)['uchar'].tolist() == list(LETTERS)


@pytest.mark.parametrize('words, said', [
    (['short.txt', 'a.npz'], ['short.txt has 10 characters', 'more than 10']),
    (['none.txt', 'a.npz'], ['none.txt', 'No such file']),
    (['t.txt', 'p.npz', '--init', 'p.npz', '--overwrite'], ['p.npz is also read']),
    (['t.txt', 'p.npz'], ['p.npz exists already', '--overwrite']), (['t.txt', 'a'], ['OUT is a: expected', 'x.npz']),
    (['t.txt', 'a.npz', '--init', 't.txt'], ['t.txt is not a checkpoint']),
    (['t.txt', 'a.npz', '--init', 'p.npz'], ['t.txt has characters that the model never saw', "'z'"]),
    (['t.txt', 'a.npz', '--epochs', 0], ['--epochs is 0', 'at least 1'])])
def test_what_the_program_in_numpy_refuses(tmp_path, words, said):
    (tmp_path / 'short.txt').write_text('abcdefghij')
    (tmp_path / 't.txt').write_text(LETTERS * 3 + 'z')
    np.savez(str(tmp_path / 'p.npz'), uchar=np.array(list(LETTERS)), **lively_parameters(1, V, H1, H2))
    assert_refused(run('-m', 'engine.lesson', *words, cwd=tmp_path, env={'PYTHONPATH': str(ROOT)}), *said)
    assert not (tmp_path / 'a.npz').exists()


def test_program_in_numpy_refuses_another_cell(tmp_path, interpreted):
    class Other(CharLSTM):
        @staticmethod
        def cell(a_f, a_i, a_o, a_g, C_prev):
            return a_f * a_i * a_o * a_g, C_prev

    model = Other(random_seed=1)
    model.model_setup(char_dim=V, **UNITS)
    model.uchar = list(LETTERS)
    model.save_params(tmp_path / 'other.npz')
    (tmp_path / 't.txt').write_text(LETTERS * 3)
    result = in_numpy(tmp_path / 't.txt', tmp_path / 'a.npz', '--init', tmp_path / 'other.npz')
    assert_refused(result, 'has another cell', 'expected that of charlstm.py')


# ---------------------------------------------------------------- what the lesson shows

def test_table_of_the_derivation_is_what_the_command_prints():
    printed = succeeded(run('-m', 'engine.lesson.formulas', cwd=ROOT))
    rows = [re.findall('`(.*?)`', line) for line in LESSON.splitlines() if re.match(r'\| (D|da_.|dC_prev) = ', line)]
    assert len(rows) == 6 and all(len(row) == 2 for row in rows)
    for theano, c in rows:
        assert f'\n{theano}\n' in printed and f'    const vector {c};\n' in printed


def test_formulas_of_a_cell_of_ones_own(tmp_path):
    """Its gradient, and a cell that has no formula for single units."""
    printed = succeeded(run('-m', 'engine.lesson.formulas', 'engine/lesson/cells.py:NoForgetGate', cwd=ROOT))
    assert '\nC = C_prev + ' in printed and '\nda_f = 0\n' in printed and '\ndC_prev = dh * kept1 * ' in printed
    (tmp_path / 'mine.py').write_text('from charlstm import CharLSTM\n\n\nclass Mean(CharLSTM):\n    @staticmethod\n'
                                      '    def cell(a_f, a_i, a_o, a_g, C_prev):\n        C = C_prev + a_f\n'
                                      '        return C - C.mean(axis=1, keepdims=True), C\n')
    assert_refused(run('-m', 'engine.lesson.formulas', tmp_path / 'mine.py:Mean', cwd=ROOT), 'Mean.cell', 'theano.scan')


def test_figure_is_what_the_script_draws():
    path = ROOT / 'engine' / 'lesson' / 'network.svg'
    assert path.read_text(encoding='utf-8') == figure.figure()
    before = path.stat().st_mtime_ns
    assert_refused(run('-m', 'engine.lesson.figure', 'x', cwd=ROOT), 'figure.py: unrecognized arguments: x')
    assert path.stat().st_mtime_ns == before               # not drawn again


def test_lesson_is_short_and_its_table_has_a_row_for_each_run():
    assert len(LESSON.split()) <= 2500
    names = [re.search(r'train.py \S+ (\w+) ', line).group(1) for line in COMMANDS
             if line.startswith('python train.py text') and '--ratio-valid 0' not in line]
    rows = re.findall(r'^\| `(\w+)` \|', LESSON.split('## Four exercises')[0], re.MULTILINE)
    assert rows == names and len(names) > 12


def shortened(line):
    """Return a command of the lesson that learns for one epoch, with this Python."""
    line = re.sub(r'--epochs \d+|(?<=_epoch)\d+', lambda found: '--epochs 1' if ' ' in found.group() else '1', line)
    if line.startswith(('python train.py', 'python -m engine.lesson text')) and '--epochs' not in line:
        line += ' --epochs 1'
    return re.sub('^python', shlex.quote(sys.executable), line)


def test_commands_run_as_printed_one_after_the_other(program):
    """On the beginning of the text, for one epoch. So each edit is applied, trained for a few steps, and scored."""
    for name in ('text_input/coriolanus.txt', 'training_results/prideandprejudice.npz'):
        shutil.copy(str(ROOT / name), str(program / name))
    text = (program / 'text_input' / 'coriolanus.txt').read_text()
    (program / 'text_input' / 'coriolanus.txt').write_text(text[:9000])
    (program / 'mine.py').write_text(''.join(README_CODE[:2]))
    for line in COMMANDS:
        result = paste(shortened(line), program)
        assert result.returncode == 0 and 'Traceback' not in result.stderr, (line, result.stderr)
    assert len(list((program / 'training_results').glob('*_result.json'))) == 15


# ---------------------------------------------------------------- the experiments' cells

def relu(a):
    return np.maximum(a, 0)


@pytest.mark.parametrize('cls, C_of, h_of', [
    (cells.ForgetBias, lambda f, i, o, g, C: sigmoid(f + 1) * C + sigmoid(i) * np.tanh(g), None),
    (cells.NoForgetGate, lambda f, i, o, g, C: C + sigmoid(i) * np.tanh(g), None),
    (cells.NoInputGate, lambda f, i, o, g, C: sigmoid(f) * C + sigmoid(-f) * np.tanh(g), None),
    (cells.NoOutputGate, lambda f, i, o, g, C: sigmoid(f) * C + sigmoid(i) * np.tanh(g), lambda o, C: np.tanh(C)),
    (cells.GRU, lambda f, i, o, g, C: sigmoid(f) * C + sigmoid(-f) * np.tanh(g + sigmoid(i) * o), lambda o, C: C),
    (cells.ReLU, lambda f, i, o, g, C: sigmoid(f) * C + sigmoid(i) * relu(g), lambda o, C: sigmoid(o) * relu(C))])
def test_cells_have_the_formulas_of_the_experiments(cls, C_of, h_of, interpreted):
    arrays = np.random.default_rng(3).normal(0, 2, (5, B, H1))
    expected = C_of(*arrays)
    h, C = [value.eval() for value in cls.cell(*map(tt.constant, arrays))]
    np.testing.assert_allclose(C, expected, rtol=1e-12)
    np.testing.assert_allclose(h, h_of(arrays[2], C) if h_of else sigmoid(arrays[2]) * np.tanh(C), rtol=1e-12)


# ---------------------------------------------------------------- the exercises

def with_attention(patch, seen):
    """Let the network attend to outputs of layer 2: of steps s, at step t, where `seen`, a comparison, says so."""
    source, line = inspect.getsource(charlstm.network), '    up = h2 if masks is None else h2 * masks[1]\n'
    assert line in source
    names = dict(vars(charlstm))
    exec(source.replace(line, f'''
    s, t = tt.arange(T)[None, :], tt.arange(T)[:, None]
    e = tt.exp((h2[:, None, :, :] * h2[None, :, :, :]).sum(axis=3)) * tt.shape_padright({seen})           # (T, T, B)
    shares = tt.shape_padright(e / e.sum(axis=1, keepdims=True))
    up = h2 + (shares * h2[None, :, :, :]).sum(axis=1)
'''), names)
    patch.setattr(charlstm, 'network', names['network'])


class BatchNormalised(CharLSTM):
    """Means over the rows in the place of means over the units."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        f, i, o, g = [(a - a.mean(axis=0, keepdims=True)) / tt.sqrt(a.var(axis=0, keepdims=True) + 1e-5)
                      for a in (a_f, a_i, a_o, a_g)]
        return charlstm.lstm_cell(f, i, o, g, C_prev)


class OldPeephole(CharLSTM):
    """The output gate sees the old C."""
    cell_parameters = dict(p_f=0, p_i=0, p_o=0)

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev, p_f, p_i, p_o):
        return charlstm.lstm_cell(a_f + p_f * C_prev, a_i + p_i * C_prev, a_o + p_o * C_prev, a_g, C_prev)


class Uncorrected(CharLSTM):
    """Adam that does not correct for the start of its averages at 0."""
    optimiser_state = readme_classes()['Adam'].optimiser_state

    @staticmethod
    def optimiser(gradients, parameters, state, lrate, lp):
        squares = [0.999 * v + 0.001 * g ** 2 for v, g in zip(state['mean_squares'], gradients)]
        means = [0.9 * m + 0.1 * g for m, g in zip(state['means'], gradients)]
        return [lrate * m / (tt.sqrt(v) + lp['eps']) for m, v in zip(means, squares)], dict(
            state, means=means, mean_squares=squares)


@pytest.mark.parametrize('name, solution', [('peepholes', 'Peepholes'), ('normalisation', 'Normalised'),
                                            ('adam', 'Adam')])
def test_solution_is_right(name, solution, interpreted):
    exercise.EXERCISES[name](readme_classes()[solution])


@pytest.mark.parametrize('name, cls, said', [
    ('peepholes', CharLSTM, 'expected p_f, p_i and p_o'), ('peepholes', OldPeephole, 'h of the first unit is'),
    ('normalisation', CharLSTM, '3 a_f + 2 gives another'), ('normalisation', BatchNormalised, 'another row'),
    ('adam', CharLSTM, 'step 1 of a number'), ('adam', Uncorrected, 'step 1 of a number')])
def test_solution_is_wrong(name, cls, said, interpreted, refused):
    with refused(ValueError, 'not yet: ', said):
        exercise.EXERCISES[name](cls)


@pytest.mark.parametrize('seen, said', [('s <= t', None), ('s >= t', 'later characters'), ('s < t', 'finite'),
                                        ('tt.eq(s, t)', 'earlier characters')])
def test_attention(seen, said, interpreted, refused, monkeypatch):
    with_attention(monkeypatch, seen)
    if said is None:
        exercise.attention(CharLSTM)
    else:
        with refused(ValueError, 'not yet: ', said):
            exercise.attention(CharLSTM)


def test_program_of_the_exercises(tmp_path):
    (tmp_path / 'mine.py').write_text('from charlstm import CharLSTM\n\n\nclass Fails(CharLSTM):\n    @staticmethod\n'
                                      '    def optimiser(*arguments):\n        return arguments[9]\n')
    result = run('-m', 'engine.lesson.exercise', 'adam', tmp_path / 'mine.py:Fails', cwd=ROOT, flags=FAST)
    assert_refused(result, 'mine.py:Fails: IndexError')

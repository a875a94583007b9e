"""The options beyond the original program, in the class and in the two scripts, against NumPy and by hand."""
import importlib
import json
import math
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import charlstm
from charlstm import CharLSTM, Scan, theano
from engine import sampling, terminal
from engine.run import Run
from engine.schedule import Schedule
from conftest import default_mode
from numpy_model import H1, H2, NAMES, V, costs, forward, random_parameters
from scripts import FAST, ROOT, TRAIN, assert_refused, load, run, sentences, succeeded

LETTERS = 'abcdefghijk'
TEXT = ''.join(np.random.default_rng(1).choice(list(LETTERS), 263)) + LETTERS       # 274 characters
CODES = np.array([LETTERS.index(ch) for ch in TEXT])
B, S, RATIO = 3, 5, 0.4
SPLIT = round((1 - RATIO) * (len(TEXT) // S)) * S       # characters to train with
PARTS = {'train': CODES[:SPLIT], 'valid': CODES[SPLIT:]}
PARTS = {part: codes[:len(codes) // B * B].reshape(B, -1) for part, codes in PARTS.items()}      # streams (B, L)
P = random_parameters(4, 'float32')
TINY = '--num-units1 5 --num-units2 7 --batch-size 6 --seq-length 11 --random-seed 3'.split()      # for train.py


def set_parameters(model, p=P):
    for name in NAMES:
        model.p[name].set_value(p[name].astype(theano.config.floatX))


def make(tmp_path_factory, **settings):
    path = tmp_path_factory.mktemp('text') / 't.txt'
    path.write_text(TEXT)
    model = CharLSTM(random_seed=8)
    model.prepare_input(str(path), RATIO, B, S, verbose=False, stateful=True)
    model.model_setup(num_units1=H1, num_units2=H2, **settings)
    return model


@pytest.fixture(scope='module')
def stateful_model(tmp_path_factory):
    """With the kernel."""
    model = make(tmp_path_factory)
    model.compile('check', 'predict', 'sample', 'train_sgd')
    return model


@pytest.fixture(scope='module')
def dropping_model(tmp_path_factory):
    """With dropout and clipped gradients, in NumPy."""
    model = make(tmp_path_factory, dropout=0.3, grad_clip=0.01)
    with default_mode(theano.compile.mode.FAST_COMPILE):
        model.compile('check', 'predict', 'train_sgd')
    return model


def as_new(model):
    set_parameters(model)
    model.reset_states()
    model.dyn_lrate.set_value(1e-30)                        # steps that change nothing, where a test sets no other
    model.random = np.random.default_rng(8)
    return model


@pytest.fixture
def model(stateful_model):
    return as_new(stateful_model)


@pytest.fixture
def dropping(dropping_model):
    return as_new(dropping_model)


# ---------------------------------------------------------------- stateful

@pytest.mark.parametrize('part', ['train', 'valid'])
def test_streams_have_every_character_once_and_in_order(model, part):
    streams, X, Y = PARTS[part], model.X[part], model.Y[part]
    np.testing.assert_array_equal(np.concatenate(list(X)), streams[:, :-1].T)
    np.testing.assert_array_equal(np.concatenate(list(Y)), streams[:, 1:].T)
    lengths = [len(x) for x in X]
    assert lengths[:-1] == [S] * (len(lengths) - 1) and 0 < lengths[-1] < S         # the sizes leave a shorter one
    assert model.n_batches[part] == len(X) == len(Y) == len(lengths)
    assert {x.dtype for x in X} == {np.dtype('int32')}


def test_training_carries_the_state(model):
    """Two batches in turn cost what one text of both costs, and from zero again once states are reset."""
    x, y = PARTS['train'][:, :2 * S].T, PARTS['train'][:, 1:2 * S + 1].T
    whole = costs(forward(P, x)[0], y)

    def step(i):
        return float(model.theano_train_sgd(model.X['train'][i], model.Y['train'][i])[0])

    np.testing.assert_allclose([step(0), step(1)], [whole[:S].mean(), whole[S:].mean()], rtol=1e-5)
    model.reset_states()
    from_zero = costs(forward(P, x[S:])[0], y[S:]).mean()
    assert abs(from_zero - whole[S:].mean()) > 1e-3
    np.testing.assert_allclose(step(1), from_zero, rtol=1e-5)


def test_validation_carries_the_state_over_all_of_its_streams(model):
    model.theano_train_sgd(model.X['train'][0], model.Y['train'][0])               # whose states are not validation's
    carried = [np.array(state) for state in model._carried]
    streams = PARTS['valid']
    expected = costs(forward(P, streams[:, :-1].T)[0], streams[:, 1:].T).mean()
    np.testing.assert_allclose(model.validate(), expected, rtol=1e-5)
    np.testing.assert_array_equal(np.concatenate(model._carried, axis=1), np.concatenate(carried, axis=1))


# ---------------------------------------------------------------- dropout

def test_masks(dropping):
    masks = dropping._masks((301, 53))
    assert [mask.shape for mask in masks] == [(301, 53, H1), (301, 53, H2)]
    for mask in masks:
        values, counts = np.unique(mask, return_counts=True)
        np.testing.assert_allclose(values, [0, 1 / 0.7], rtol=1e-4)
        deviation = math.sqrt(0.3 * 0.7 / mask.size)
        assert abs(counts[0] / mask.size - 0.3) < 5 * deviation
        assert abs(mask.mean() - 1) < 5 * deviation / 0.7
        for axis in range(3):                               # every step, stream and unit has its own
            differ = (np.roll(mask, 1, axis) != mask).mean()
            assert abs(differ - 2 * 0.3 * 0.7) < 0.02


def forward_with_masks(p, x, masks):
    """As numpy_model.forward from zero states, with what goes up from h1 and h2 multiplied by masks."""
    one, two = masks
    h1, C1, h2, C2 = [np.zeros((H, x.shape[1])) for H in (H1, H1, H2, H2)]
    probabilities = []

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    def layer(v, h, C, U, W, b):
        f, i, o, g = [U[k] @ v + W[k] @ h + b[k][:, None] for k in range(4)]
        C = sigmoid(f) * C + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(C), C

    for t in range(len(x)):
        h1, C1 = layer(np.eye(V)[:, x[t]], h1, C1, p['U1'], p['W1'], p['b1'])
        h2, C2 = layer(h1 * one[t].T, h2, C2, p['U2'], p['W2'], p['b2'])
        e = np.exp(p['V'] @ (h2 * two[t].T) + p['c'][:, None])
        probabilities.append((e / e.sum(axis=0)).T)
    return np.array(probabilities)


def test_cost_with_dropout(dropping, monkeypatch):
    x, y = dropping.X['train'][1], dropping.Y['train'][1]
    chance = np.random.default_rng(2)
    masks = [(chance.random(x.shape + (H,)) < 0.6).astype('float32') * 1.7 for H in (H1, H2)]
    monkeypatch.setattr(dropping, '_masks', lambda shape: masks)
    expected = costs(forward_with_masks(P, x, masks), y).mean()
    assert abs(expected - costs(forward(P, x)[0], y).mean()) > 1e-3
    np.testing.assert_allclose(float(dropping.theano_train_sgd(x, y)[0]), expected, rtol=1e-5)


def test_no_dropout_outside_of_training(dropping):
    x, y = dropping.X['train'][1], dropping.Y['train'][1]
    probabilities = forward(P, x)[0]
    np.testing.assert_allclose(dropping.theano_check(x, y)[0], costs(probabilities, y).mean(), rtol=1e-5)
    np.testing.assert_allclose(dropping.theano_predict(x)[0], probabilities, rtol=1e-4)
    streams = PARTS['valid']
    np.testing.assert_allclose(dropping.validate(), costs(forward(P, streams[:, :-1].T)[0], streams[:, 1:].T).mean(),
                               rtol=1e-5)


def test_a_seed_repeats_dropout(dropping):
    x, y = dropping.X['train'][1], dropping.Y['train'][1]

    def two_costs(seed):
        dropping.random = np.random.default_rng(seed)
        dropping.reset_states()
        found = []
        for _ in range(2):
            dropping.reset_states()
            found.append(float(dropping.theano_train_sgd(x, y)[0]))
        return found

    first = two_costs(5)
    assert two_costs(5) == first and two_costs(6) != first and first[0] != first[1]


# ---------------------------------------------------------------- grad_clip

def joint_step(model, rate):
    """The norm of all that one SGD step subtracts, without dropout."""
    model._masks = lambda shape: [np.ones(shape + (H,), 'float32') for H in (H1, H2)]
    try:
        model.dyn_lrate.set_value(rate)
        model.theano_train_sgd(model.X['train'][1], model.Y['train'][1])
    finally:
        del model._masks
    return {name: P[name] - model.p[name].get_value() for name in NAMES}


def norm(arrays):
    return math.sqrt(sum(np.square(array).sum() for array in arrays.values()))


def test_a_long_gradient_is_scaled_to_the_limit(dropping, model):
    free, clipped = joint_step(model, 8.0), joint_step(dropping, 8.0)
    assert norm(free) / 8 > 0.1                            # longer than the limit of 0.01
    np.testing.assert_allclose(norm(clipped), 8 * 0.01, rtol=1e-4)
    for name in NAMES:                                     # and its direction stays
        np.testing.assert_allclose(clipped[name], free[name] * norm(clipped) / norm(free), atol=1e-6)


def test_a_short_gradient_is_not_touched(interpreted):
    gradients = [theano.shared(np.array(values, 'float32')) for values in ([[0.3, -0.4]], [1.2])]        # norm 1.3
    for limit, factor in ((1.31, 1), (1.29, 1.29 / 1.3), (0.13, 0.1)):
        clipped = [np.asarray(g.eval()) for g in charlstm.clip(gradients, limit, Scan)]
        np.testing.assert_allclose(np.concatenate([g.ravel() for g in clipped]), np.array([0.3, -0.4, 1.2]) * factor,
                                   rtol=1e-6)


# ---------------------------------------------------------------- the loop of train.py

@pytest.fixture
def train(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module('train')


class Learner:
    """Stands for CharLSTM in the loop: all it learns is the list of its epochs' rates, from which score makes its
    validation cost."""

    n_batches = {'train': 1, 'valid': 1}
    X = Y = {'train': [np.zeros((2, 3))], 'valid': [np.zeros((2, 3))]}

    def __init__(self, score):
        self.rates, self.score, self.random = [], score, SimpleNamespace(bit_generator=SimpleNamespace(state=0))
        self.dyn_lrate = SimpleNamespace(set_value=lambda rate: setattr(self, 'rate', rate))

    def theano_train_rmsprop(self, x, y):
        self.rates.append(self.rate)
        return [2.0, None] + [0.5] * 8

    def validate_batch(self):
        return 2.5

    def validate(self, stop):
        return self.score(self.rates)

    def reset_states(self):
        pass

    def generate_text(self, text_length):
        return 'sample'

    def save_params(self, path, progress):
        with open(path, 'w') as f:
            json.dump(dict(rates=self.rates, progress=progress), f)
        return path

    def resume(self, path):
        with open(path) as f:
            stored = json.load(f)
        self.rates = stored['rates']
        return stored['progress']


def trainer(train, folder, score, *options, resume=None, stop=None):
    """Run train.py's loop with a Learner. Returns it and where the schedule then is."""
    given = vars(train.build_parser().parse_args(['t.txt', 'r', '--output-dir', str(folder), *map(str, options)]))
    model, progress = Learner(score), None
    run = Run(str(folder), 'r', 't.txt', resume)
    run.draw = lambda: None
    if resume:
        progress = model.resume(resume)
    now = Schedule.resumed({**train.DEFAULTS, **given}, progress or {})
    with run.open(progress), run.rescuing():
        bar = terminal.ProgressBar(now.options['epochs'], now.epoch)
        train.learn(model, run, now, bar, stop or SimpleNamespace(asked=False))
    return model, now


def by_number(*values):
    """A score by how often it was asked: the n-th epoch of the whole run costs values[n]."""
    left = list(values)
    return lambda rates: left.pop(0)


def rows(folder):
    return np.loadtxt(str(folder / 'r_t.txt_epochs.out'), ndmin=2)


def test_plateau_divides_the_rate_and_returns_to_the_best(train, tmp_path):
    score = by_number(5, 4, 4.5, 4.0, 3, 3.5, 3.4, 3.3, 3.2)
    model, now = trainer(train, tmp_path, score, '--plateau', 2, '--plateau-factor', 4, '--lrate', 8, '--epochs', 9)
    assert rows(tmp_path)[:, 3].tolist() == [8, 8, 8, 8, 2, 2, 2, 0.5, 0.5]
    assert now.rate == 0.125 and (now.best_cost, now.best_epoch, now.stale) == (3, 5, 4)
    # The best had learned at 8, 8, 2; what came after it was twice forgotten.
    assert model.rates == [8, 8, 2]


def test_decay_without_plateau(train, tmp_path):
    model, _ = trainer(train, tmp_path, by_number(5, 6, 7, 8), '--lrate', 8, '--lrate-decay', 0.5,
                       '--lrate-decay-epoch', 3, '--epochs', 4)
    assert rows(tmp_path)[:, 3].tolist() == model.rates
    assert model.rates[0] == 8 and np.allclose(np.divide(model.rates[2:], model.rates[1:-1]), 0.5)


def test_patience_stops(train, tmp_path, capsys):
    model, now = trainer(train, tmp_path, by_number(5, 4, 6, 3, 7, 3, 3.5), '--patience', 3, '--epochs', 99)
    assert rows(tmp_path)[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert (tmp_path / 'r_t.txt_epoch7.npz').exists()
    assert re.search(r'3 epochs.*3\.0.*epoch 4\b', capsys.readouterr().out)
    assert json.loads((tmp_path / 'r_t.txt_best.npz').read_text())['progress']['epoch'] == 4


def rising(rates):
    """A cost that each further rate lowers, and each further epoch at one rate raises."""
    return 10 - len(set(rates)) + 0.1 * rates.count(rates[-1])


@pytest.mark.parametrize('stop_after', [1, 2, 4, 5])
def test_resumed_where_the_plateau_went_back_to_the_best(train, tmp_path, stop_after):
    (tmp_path / 'straight').mkdir()
    options = '--plateau 1 --lrate 8 --save-every 1'.split()
    straight, _ = trainer(train, tmp_path / 'straight', rising, *options, '--epochs', 7)
    trainer(train, tmp_path, rising, *options, '--epochs', stop_after)
    again, _ = trainer(train, tmp_path, rising, *options, '--epochs', 7,
                       resume=str(tmp_path / 'r_t.txt_epoch{}.npz'.format(stop_after)))
    assert again.rates == straight.rates == [8, 4, 2, 1]
    np.testing.assert_array_equal(rows(tmp_path)[:, :4], rows(tmp_path / 'straight')[:, :4])


def test_resumed_from_before_a_better_best(train, tmp_path):
    """A run killed after its _best.npz has moved on, and resumed from an earlier checkpoint, whose best is gone."""
    options = '--plateau 1 --lrate 8 --save-every 3'.split()
    straight, _ = trainer(train, tmp_path, rising, *options, '--epochs', 9)
    expected = rows(tmp_path)[:, [0, 2, 3]].tolist()
    bests = json.loads((tmp_path / 'r_t.txt_best.npz').read_text())['progress']['epoch']
    assert bests > 3
    try:
        again, _ = trainer(train, tmp_path, rising, *options, '--epochs', 9,
                           resume=str(tmp_path / 'r_t.txt_epoch3.npz'))
    except ValueError as error:                             # which would do as well
        assert '_best.npz' in str(error)
    else:
        assert rows(tmp_path)[:, [0, 2, 3]].tolist() == expected and again.rates == straight.rates


def test_log_that_lost_rows_since_the_checkpoint(train, tmp_path, refused):
    """As where the checkpoint was copied to another folder: there is nothing to append to."""
    trainer(train, tmp_path, by_number(5, 4), '--epochs', 2, '--save-every', 1)
    (tmp_path / 'r_t.txt_epochs.out').write_bytes(b'')
    with refused(ValueError, 'r_t.txt_epochs.out'):
        trainer(train, tmp_path, by_number(3), '--epochs', 3, resume=str(tmp_path / 'r_t.txt_epoch2.npz'))


def test_clock_that_stands_still(train, tmp_path, monkeypatch):
    """As between two looks at a coarse one, or where an interrupted epoch has no step left."""
    monkeypatch.setattr(terminal.time, 'time', lambda: 1.0)
    trainer(train, tmp_path, by_number(5, 4), '--epochs', 2)
    assert rows(tmp_path)[:, 2].tolist() == [5, 4]


@pytest.mark.parametrize('cost', [float('nan'), float('inf'), 6.2])
def test_explosion(train, tmp_path, monkeypatch, cost):
    """Three times the running mean, now 2.039, or no number: stopped, the last checkpoint named, nothing saved."""
    given = iter([2.0, 5.9, 2.0, cost])
    monkeypatch.setattr(Learner, 'theano_train_rmsprop', lambda self, x, y: [next(given), None] + [0.5] * 8)
    with pytest.raises(ValueError) as caught:
        trainer(train, tmp_path, by_number(5, 4, 3, 2), '--epochs', 4, '--save-every', 2)
    for word in ('r_t.txt_best.npz', '--grad-clip', '--lrate', 'epoch 4'):
        assert word in str(caught.value)
    assert '\n' not in str(caught.value) and len(rows(tmp_path)) == 3
    assert json.loads((tmp_path / 'r_t.txt_best.npz').read_text())['progress']['epoch'] == 3


def test_explosion_in_a_process(tmp_path):
    (tmp_path / 't.txt').write_text(sentences(), encoding='utf-8')
    result = run(TRAIN, tmp_path / 't.txt', 'r', *TINY, '--output-dir', tmp_path, '--lrate', 1e20, flags=FAST)
    assert_refused(result, 'epoch 1', 'no checkpoint was written yet', '--grad-clip', '--lrate')
    assert not list(tmp_path.glob('*.npz'))


@pytest.mark.parametrize('what', ['parameters', 'averages'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_nothing_that_is_not_finite_is_saved(model, tmp_path, refused, what, value):
    """Nor over what is there."""
    path = model.save_params(tmp_path / 'p')
    before = (tmp_path / 'p.npz').read_bytes()
    variable = model.p['c'] if what == 'parameters' else model._averages['c']
    good = variable.get_value()
    bad = good.copy()
    bad[3] = value
    variable.set_value(bad)
    try:
        with refused(ValueError, path, 'finite'):
            model.save_params(path)
    finally:
        variable.set_value(good)
    assert (tmp_path / 'p.npz').read_bytes() == before


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A short run at a rate so high that the validation cost goes up and down."""
    folder = tmp_path_factory.mktemp('trained')
    (folder / 't.txt').write_text(sentences(), encoding='utf-8')
    succeeded(run(TRAIN, 't.txt', 'r', *TINY, '--output-dir', folder, '--lrate', 0.3, '--epochs', 9, '--save-every', 1,
                  flags=FAST, cwd=folder))
    return folder


def test_best_has_the_lowest_validation_cost_of_the_log(trained):
    validation = rows(trained)[:, 2]
    best = int(validation.argmin()) + 1
    a, b = load(trained / 'r_t.txt_best.npz'), load(trained / 'r_t.txt_epoch{}.npz'.format(best))
    for name in NAMES:
        np.testing.assert_array_equal(a[name], b[name])
    assert json.loads(str(a['about']))['progress']['best_cost'] == pytest.approx(validation.min(), rel=1e-5)


# ---------------------------------------------------------------- sampling

def tempered(p, temperature=1.0, top_k=V, top_p=1.0):
    """The distribution to draw from, by its definition; p (V,)."""
    p = p ** (1 / temperature)
    p = p / p.sum()
    order = sorted(range(len(p)), key=lambda k: -p[k])
    kept, total = [], 0.0
    for k in order[:top_k]:
        if total >= top_p:
            break
        kept.append(k)
        total += p[k]
    return np.array([p[k] if k in kept else 0 for k in range(len(p))]) / p[kept].sum()


@pytest.mark.parametrize('choice', [
    dict(), dict(temperature=0.4), dict(temperature=3.0), dict(top_k=4), dict(top_p=0.6),
    dict(temperature=0.7, top_k=5, top_p=0.8)], ids=str)
def test_frequencies_of_the_first_character(model, choice):
    n = 6007
    expected = tempered(forward(P, np.array([[3], [7]]))[0][-1, 0], **choice)
    assert (expected == 0).any() == ('top_k' in choice or 'top_p' in choice)
    texts = model.generate_text('dh', 3, count=n, **choice)
    counts = np.array([sum(text[2] == ch for text in texts) for ch in LETTERS])
    assert (counts[expected == 0] == 0).all()
    assert (abs(counts / n - expected) <= 5 * np.sqrt(expected * (1 - expected) / n)).all()


@pytest.mark.parametrize('choice', [dict(), dict(temperature=0.4, top_k=5, top_p=0.8), dict(method='argmax')], ids=str)
def test_without_the_kernel_the_same_seed_gives_the_same_text(model, choice, interpreted):
    scan = CharLSTM(kernel=False)
    scan.model_setup(char_dim=V, num_units1=H1, num_units2=H2)
    scan.uchar = model.uchar
    set_parameters(scan)
    scan.random, model.random = np.random.default_rng(9), np.random.default_rng(9)
    texts = scan.generate_text('cab', 23, count=4, **choice)
    assert model.generate_text('cab', 23, count=4, **choice) == texts
    assert len(set(texts)) == (1 if choice.get('method') else 4)


def test_the_most_probable_of_one(model):
    assert model.generate_text('cab', 41, top_k=1) == model.generate_text('cab', 41, method='argmax')
    assert model.generate_text('cab', 41, top_p=1e-9) == model.generate_text('cab', 41, method='argmax')


@pytest.mark.parametrize('first, longest', [(1, 2), (3, 3), (32, 1024)])
@pytest.mark.parametrize('length', [1, 2, 3, 5, 36])
def test_stop_ends_each_text_after_its_first_occurrence(model, monkeypatch, first, longest, length):
    monkeypatch.setattr(sampling, 'FIRST_PIECE', first)
    monkeypatch.setattr(sampling, 'LONGEST_PIECE', longest)

    def texts(**stop):
        model.random = np.random.default_rng(3)
        return model.generate_text('ab', 90, count=5, **stop)

    free = texts()
    for stop in {free[0][40:40 + length], free[3][2:2 + length], free[1][-length:]}:
        ends = [text.find(stop, 2) for text in free]
        assert max(ends) >= 0
        # A text is drawn on by itself, whatever the others of its batch do.
        assert texts(stop=stop) == [text if end < 0 else text[:end + length] for text, end in zip(free, ends)]


@pytest.mark.parametrize('argument, value', [
    ('temperature', 0), ('temperature', -1), ('temperature', math.nan), ('temperature', math.inf), ('top_k', 0),
    ('top_k', -2), ('top_k', 1.5), ('top_p', 0), ('top_p', 1.1), ('top_p', math.nan), ('top_p', -0.2)])
def test_argument_out_of_range(model, refused, argument, value):
    with refused(ValueError, argument, value):
        model.generate_text('ab', 5, **{argument: value})


@pytest.mark.parametrize('top_k', [V, 10 ** 6, 2 ** 63, 10 ** 50])
def test_top_k_beyond_the_vocabulary_is_no_choice(model, top_k):
    model.random = np.random.default_rng(3)
    text = model.generate_text('ab', 30, top_k=top_k)
    model.random = np.random.default_rng(3)
    assert model.generate_text('ab', 30) == text


@pytest.mark.parametrize('temperature', [1e-7, 1e-37, 1e-40, 1e-50, 5e-324])
def test_hardly_any_temperature_takes_the_most_probable(model, temperature):
    assert model.generate_text('cab', 41, temperature=temperature) == model.generate_text('cab', 41, method='argmax')


# ---------------------------------------------------------------- scores

@pytest.mark.parametrize('n', [2, 7, 8, 9, 15, 40])
def test_score_of_a_text_of_any_length(model, monkeypatch, n):
    monkeypatch.setattr(charlstm, 'SCORED', 7)
    expected = costs(forward(P, CODES[:n - 1, None])[0], CODES[1:n, None])[:, 0]
    np.testing.assert_allclose(model.score_text(TEXT[:n]), expected, rtol=1e-4)
    np.testing.assert_array_equal(model.score_text(CODES[:n]), model.score_text(TEXT[:n]))


@pytest.mark.parametrize('text, word', [('', '0 characters'), ('a', '1 characters'), ('aé', "'\\xe9'")])
def test_text_that_has_no_score(model, refused, text, word):
    with refused(ValueError, word):
        model.score_text(text)


# ---------------------------------------------------------------- produce_text.py

@pytest.fixture
def produce(monkeypatch, capfd, trained):
    """produce_text.py's main() in this process, on our checkpoint; returns status, output and errors."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(trained)
    program = importlib.import_module('produce_text')

    def call(*arguments, checkpoint='r_t.txt_best.npz'):
        capfd.readouterr()
        monkeypatch.setattr(sys, 'argv', ['produce_text.py', checkpoint] + [str(a) for a in arguments])
        status = 0
        try:
            with default_mode(theano.compile.mode.FAST_COMPILE):
                terminal.main(program.build_parser(), program.program, less='')
        except SystemExit as end:
            status = end.code
        out, err = capfd.readouterr()
        return SimpleNamespace(returncode=status, stdout=out, stderr=err)

    return call


def test_score_of_a_file(produce, tmp_path):
    text = '7. the dog sang — café.\nold cat by a hill'
    (tmp_path / 'x.txt').write_bytes(text.replace('\n', '\r\n').encode('utf-8'))
    out = succeeded(produce('--score', tmp_path / 'x.txt')).splitlines()
    p = load('r_t.txt_best.npz')
    codes = np.array([list(p['uchar']).index(ch) for ch in text])[:, None]
    nats = costs(forward(p, codes[:-1])[0], codes[1:])[:, 0]
    said = re.search(r'(\d+) characters, ([\d.]+) nats and ([\d.]+) bits per character, perplexity ([\d.]+)', out[0])
    assert int(said.group(1)) == len(text)
    np.testing.assert_allclose([float(said.group(k)) for k in (2, 3, 4)],
                               [nats.mean(), nats.mean() / math.log(2), math.exp(nats.mean())], atol=6e-4)
    places = [re.match(r' *([\d.]+) nats at character (\d+): (.*) after ', line).groups() for line in out[-10:]]
    assert [int(place) for _, place, _ in places] == (np.argsort(-nats, kind='stable')[:10] + 1).tolist()
    np.testing.assert_allclose([float(cost) for cost, _, _ in places], np.sort(nats)[::-1][:10], atol=6e-4)
    assert [ch for _, _, ch in places] == [repr(text[int(place)]) for _, place, _ in places]


def test_info(produce, trained):
    out = succeeded(produce('--info'))
    best = rows(trained)[:, 2]
    for words in ('5 and 7 units', '33 characters', 't.txt', 'stateful True', 'lrate 0.3', 'theano 1.0.5', 'sha256 ',
                  '{} epochs and 0 batches'.format(best.argmin() + 1)):
        assert words in out
    assert float(re.search(r'best validation cost: ([\d.]+) nats', out).group(1)) == pytest.approx(best.min(), abs=6e-5)


def test_info_of_other_checkpoints(produce, model, tmp_path):
    """One of the original, and those of the class with a progress of the user's own."""
    np.savez(str(tmp_path / 'old.npz'), uchar=np.array(list(LETTERS), 'S1'), **P)
    out = succeeded(produce('--info', checkpoint=str(tmp_path / 'old.npz')))
    assert '{} and {} units'.format(H1, H2) in out and '11 characters' in out and 'original' in out
    for progress in (None, dict(note='mine'), dict(epoch=3)):
        path = model.save_params(tmp_path / 'mine', progress)
        assert '11 characters' in succeeded(produce('--info', checkpoint=path))


def test_prime_file_and_stop(produce, tmp_path):
    (tmp_path / 'prime').write_bytes('\ufeffthe café\r\n'.encode('utf-8'))
    out = tmp_path / 'out'
    common = [out, '--count', 3, '--length', 300, '--random-seed', 4, '--prime-file', tmp_path / 'prime']
    free, stopped = [re.findall(r'# sequence \d:\n(.*?)\n\n(?=# sequence|appended)', succeeded(produce(*common, *more)),
                                re.DOTALL) for more in ([], ['--stop', 'a'])]
    assert [len(text) for text in free] == [300] * 3
    assert stopped == [text[:text.index('a', 9) + 1] for text in free]
    assert all(text.startswith('the café\n') for text in stopped)
    assert out.read_text(encoding='utf-8').endswith(stopped[2] + '\n\n')


def test_prime_and_prime_file(produce, tmp_path):
    (tmp_path / 'prime').write_text('the ')
    assert_refused(produce(tmp_path / 'out', '--prime', 'the ', '--prime-file', tmp_path / 'prime'), '--prime-file')
    assert_refused(produce(tmp_path / 'out', '--temperature', 0), 'temperature', '0')
    assert not (tmp_path / 'out').exists()

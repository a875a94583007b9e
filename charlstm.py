"""A character-level language model: a two-layer LSTM written in Theano.

The model reads a text one character at a time and predicts the next one.
With x the character read, h and C the hidden and cell state of a layer:

    a_k = U[k].x + W[k].h_prev + b[k]      k = f, i, o, g (forget, input, output, cell update)
    C   = sigmoid(a_f) * C_prev + sigmoid(a_i) * tanh(a_g)
    h   = sigmoid(a_o) * tanh(C)

The second layer reads the h of the first, and softmax(V.h2 + c) is the
distribution of the next character (Hochreiter & Schmidhuber 1997, with the
forget gate of Gers et al. 2000).

Letters used for the sizes throughout this file:

    T  steps in a sequence         V       characters in the vocabulary
    B  sequences in a batch        H1, H2  units of layer 1 and of layer 2

This file is kept readable for every Python from 2.7 on, so that a wrong one
gets the line below instead of a SyntaxError.
"""
import sys

if not (3, 8) <= sys.version_info[:2] <= (3, 11):
    raise ImportError(
        'this is Python {}.{}, and Theano 1.0.5 runs on Python 3.8 to 3.11: make a virtual environment '
        'with one of these and run "pip install -r requirements.txt" in it'.format(*sys.version_info[:2]))

import codecs
import configparser
import contextlib
import io
import logging
import math
import numbers
import os
import warnings
import zipfile
import zlib
from collections.abc import Sequence

try:
    import numpy as np
    from tqdm import tqdm
except ImportError as problem:
    raise ImportError('{}: run "pip install -r requirements.txt"'.format(problem))


# ---------------------------------------------------------------- Theano, configured before its import

THEANO_DEFAULTS = {
    'floatX': 'float32',     # what GPUs compute in, and twice as fast on CPUs
    'blas.ldflags': '',      # NumPy's own BLAS; Theano cannot find one beside NumPy 1.22 or later
    'allow_gc': 'False',     # keep intermediate arrays between calls: fresh ones cost page faults
}


def _set_by_user():
    """Names of the Theano options set in THEANO_FLAGS or a .theanorc."""
    flags = [flag.split('=')[0].strip() for flag in os.environ.get('THEANO_FLAGS', '').split(',')]
    rc = configparser.RawConfigParser(strict=False)
    rc.read([os.path.expanduser(path) for path in os.environ.get('THEANORC', '~/.theanorc').split(os.pathsep)])
    in_rc = [name for name in THEANO_DEFAULTS
             if rc.has_option(*(name.split('.') if '.' in name else ('global', name)))]
    return set(flags + in_rc)


def _code_version(op):
    """A version of the C code of one of Theano's COps.

    Their own is a hash(), which differs from process to process, so that each
    process would compile them again.
    """
    parameters = op.params_type.c_code_cache_version() if hasattr(op, 'params_type') else ()
    return (zlib.crc32(''.join(op.func_codes).encode()), parameters)


def _import_theano():
    """Import Theano with THEANO_DEFAULTS where the user set nothing, and without its noise."""
    before = os.environ.get('THEANO_FLAGS')
    ours = ['{}={}'.format(*item) for item in THEANO_DEFAULTS.items() if item[0] not in _set_by_user()]
    os.environ['THEANO_FLAGS'] = ','.join(ours + [before] * bool(before))
    for name in ('theano.configdefaults', 'theano.tensor.blas'):     # no compiler, NumPy's BLAS: we say it better
        logging.getLogger(name).setLevel(logging.ERROR)
    if sys.version_info >= (3, 11):
        # The C loop of theano.scan does not compile here, and trying raises.
        # Where it cannot be imported, Theano takes its Python loop instead.
        sys.modules['theano.scan_module.scan_perform_ext'] = None
    warnings.filterwarnings('ignore', module=r'theano\.')            # deprecations that only Theano can mend
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            import theano
            import theano.tensor
    finally:
        if before is None:
            del os.environ['THEANO_FLAGS']
        else:
            os.environ['THEANO_FLAGS'] = before
    theano.gof.op.COp.c_code_cache_version = _code_version
    return theano


try:
    theano = _import_theano()
except Exception as problem:       # Theano beside a NumPy or SciPy it does not know raises all kinds
    raise ImportError('Theano 1.0.5 cannot be imported ({}): run "pip install -r requirements.txt"'.format(
        ' '.join(str(problem).split())))
T = theano.tensor
import lstm_op                     # after Theano's configuration


def _warn(line):
    """Tell the user something in one line, where it does not mix with a program's output."""
    sys.stderr.write('charlstm: {}\n'.format(line))


if not theano.config.cxx:
    _warn('no C++ compiler found, so everything runs many times slower; install g++ '
          '(Debian, Ubuntu: apt install g++; macOS: xcode-select --install; conda: conda install gxx)')


# ---------------------------------------------------------------- files

def _os_error(doing, path, error):
    """The same kind of OSError, saying in one line what failed with which file."""
    return type(error)('cannot {} {}: {}'.format(doing, path, error.strerror or error))


@contextlib.contextmanager
def write_whole(path):
    """Open a binary file for writing that appears under its name only when it is complete.

    Whatever goes wrong, an earlier file of that name stays as it was and
    nothing half-written is left. Raises OSError.
    """
    partial = '{}.{}.part'.format(path, os.getpid())
    try:
        with open(partial, 'wb') as f:
            yield f
            f.flush()
            os.fsync(f.fileno())       # the contents reach the disk before the name does
        os.replace(partial, path)
    except OSError as error:
        raise _os_error('write', path, error)
    finally:
        with contextlib.suppress(OSError):
            os.remove(partial)


# ---------------------------------------------------------------- text to numbers

CHUNK = 1 << 20        # bytes decoded at a time: enough to be fast, small beside any text


def _smallest_type(vocabulary_size):
    """The smallest unsigned integer type that can number a vocabulary."""
    return np.min_scalar_type(max(vocabulary_size - 1, 0))


def _decoded(path, encoding, progress):
    """The text of a file in pieces, with line ends as LF and without a byte order mark."""
    try:
        ''.encode(encoding)                                # also refuses codecs that are not of text
        decoder = codecs.getincrementaldecoder(encoding)()
    except LookupError:
        raise ValueError('unknown text encoding {!r}: try utf-8, latin-1 or cp1252'.format(encoding))
    line_ends = io.IncrementalNewlineDecoder(None, translate=True)
    offset, first = 0, True
    with open(path, 'rb') as f, tqdm(total=os.path.getsize(path), unit='B', unit_scale=True, leave=False,
                                     desc='reading', delay=1, disable=None if progress else True) as bar:
        while True:
            chunk = f.read(CHUNK)
            waiting = len(decoder.getstate()[0])           # bytes of a character that the last chunk cut
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                raise ValueError('{} is not {}: byte {} ({}); name its encoding with --encoding (encoding= in '
                                 'Python)'.format(path, encoding, offset - waiting + error.start, error.reason))
            text = line_ends.decode(text, final=not chunk)
            if first and text:
                text, first = text[text[0] == u'\ufeff':], False
            if text:
                yield text
            if not chunk:
                return
            offset += len(chunk)
            bar.update(len(chunk))


def _recode(codes, table):
    """codes with every value k replaced by table[k]; in place where the type allows, as texts are big."""
    new = codes if codes.dtype == table.dtype else np.empty(len(codes), table.dtype)
    for start in range(0, len(codes), CHUNK):
        new[start:start + CHUNK] = table[codes[start:start + CHUNK]]
    return new


def read_text(path, encoding='utf-8', progress=False):
    """Read a text file as numbers.

    CRLF and bare CR are read as LF, and a byte order mark is dropped. The
    text is held once, in the smallest integer type that its vocabulary allows.

    Returns codes (number of characters,) and uchar (V,), the sorted distinct
    characters, such that uchar[codes] is the text. Raises OSError when the
    file cannot be read, ValueError when it is not in that encoding.
    """
    code_of = np.full(sys.maxunicode + 1, sys.maxunicode, np.uint32)   # by code point; maxunicode: none yet
    points = np.empty(0, np.uint32)                                   # code points in order of appearance
    try:
        codes, n = np.empty(os.path.getsize(path) + 1, np.uint8), 0   # rarely more characters than bytes
        for text in _decoded(path, encoding, progress):
            piece = np.frombuffer(text.encode('utf-32-le', 'surrogatepass'), np.uint32)
            new = np.unique(piece[code_of[piece] == sys.maxunicode])
            code_of[new] = len(points) + np.arange(len(new))
            points = np.append(points, new)
            codes = codes.astype(max(codes.dtype, _smallest_type(len(points))), copy=False)
            if n + len(piece) > len(codes):
                codes = np.concatenate([codes, np.empty(n + len(piece), codes.dtype)])
            codes[n:n + len(piece)] = code_of[piece]
            n += len(piece)
    except OSError as error:
        raise _os_error('read', path, error)
    order = np.argsort(points)
    table = np.empty(len(points), codes.dtype)
    table[order] = np.arange(len(points))
    return _recode(codes[:n], table), _vocabulary(chr(point) for point in points[order])


def _vocabulary(characters):
    """An array (V,) of one-character strings; of objects, since NumPy's strings lose a NUL."""
    return np.array(list(characters), dtype=object)


def _named(characters, most=10):
    """Characters for an error message, by their escapes and at most `most` of them."""
    shown = ', '.join(ascii(ch) for ch in sorted(characters)[:most])
    return shown + (', ...' if len(characters) > most else '')


class _Batches(Sequence):
    """The batches of one part of the text, each cut out when it is asked for.

    Item i holds one side, inputs or targets, of the sequences i*B to (i+1)*B,
    as int32 (T, B). sequences: codes (n, T+1); columns: a slice, which side.
    """

    def __init__(self, sequences, batch_size, columns):
        self._sequences, self._batch_size, self._columns = sequences, batch_size, columns

    def __len__(self):
        return len(self._sequences) // self._batch_size

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        start = range(len(self))[i] * self._batch_size         # negative i and IndexError as for a list
        rows = self._sequences[start:start + self._batch_size, self._columns]      # (B, T)
        return np.ascontiguousarray(rows.T, np.int32)                              # (T, B)


# ---------------------------------------------------------------- the model, as functions of symbols

NAMES = ('U1', 'W1', 'b1', 'U2', 'W2', 'b2', 'V', 'c')       # the parameters, in the order of all lists of them


def parameter_shapes(V, H1, H2):
    """Name to shape of the eight parameters; the leading 4 are the gates f, i, o, g."""
    return dict(U1=(4, H1, V), W1=(4, H1, H1), b1=(4, H1),
                U2=(4, H2, H1), W2=(4, H2, H2), b2=(4, H2),
                V=(V, H2), c=(V,))


def initial_parameters(V, H1, H2, random):
    """Name to array: weights uniform in +-1/sqrt(inputs), biases zero, but one for the forget gates.

    The one lets a new model remember: a forget gate at sigmoid(0) halves the
    cell state at every step (Jozefowicz et al. 2015).
    """
    inputs = dict(U1=V, W1=H1, U2=H1, W2=H2, V=H2)
    p = {}
    for name, shape in parameter_shapes(V, H1, H2).items():
        limit = 1 / math.sqrt(inputs[name]) if name in inputs else 0
        p[name] = random.uniform(-limit, limit, shape).astype(theano.config.floatX)
    p['b1'][0] = p['b2'][0] = 1
    return p


def lstm_step(a_x, h_prev, C_prev, W_T):
    """One step of an LSTM layer.

    a_x (B,4H): the input's share of the pre-activations, bias included;
    h_prev, C_prev (B,H); W_T (H,4H): recurrent weights, the four gates side
    by side. Returns h, C (B,H).
    """
    a = a_x + T.dot(h_prev, W_T)                             # (B, 4H)
    H = a.shape[1] // 4
    f, i, o, g = [a[:, k * H:(k + 1) * H] for k in range(4)]
    C = T.nnet.sigmoid(f) * C_prev + T.nnet.sigmoid(i) * T.tanh(g)
    h = T.nnet.sigmoid(o) * T.tanh(C)
    return h, C


def _scan(a_x, W, state, truncate):
    """A layer over whole sequences, for pre-activations a_x (T,B,4H), W (4,H,H) and state (h, C), each (B,H).

    truncate: the gradient flows through the last so many steps, -1 for all.
    Returns h (T,B,H) and the state after the last step.
    """
    (h, C), _ = theano.scan(lstm_step, sequences=a_x, outputs_info=list(state), non_sequences=[stacked(W)],
                            truncate_gradient=truncate, strict=True)
    return h, (h[-1], C[-1])


def stacked(U):
    """The weights U (4,H,n) of the four gates side by side for one product: (n, 4H)."""
    return U.reshape((-1, U.shape[2])).T


class ScanLayers(object):
    """What the model is made of, in Theano's own operations.

    These four functions say what is computed, and run everywhere. lstm_op has
    them again, with the same arguments and numbers, for CPUs alone but faster.
    """

    dot = staticmethod(T.dot)

    @staticmethod
    def read_characters(x, U, W, b, state, truncate):
        """A layer that reads characters x (T,B), with U (4,H,V), W (4,H,H), b (4,H) and state (h, C), each (B,H).

        A product with one-hot vectors picks rows of the weights, so rows are
        picked. Adding the bias to the V rows is cheaper than to T*B of them.
        Returns h (T,B,H) and the state after the last step.
        """
        a_x = (stacked(U) + b.flatten())[x.flatten()]                                # (T*B, 4H)
        return _scan(a_x.reshape((x.shape[0], x.shape[1], -1)), W, state, truncate)

    @staticmethod
    def read_vectors(v, U, W, b, state, truncate):
        """A layer that reads vectors v (T,B,n), with U (4,H,n); the rest as in read_characters."""
        a_x = T.dot(v.reshape((-1, v.shape[2])), stacked(U)) + b.flatten()           # (T*B, 4H)
        return _scan(a_x.reshape((v.shape[0], v.shape[1], -1)), W, state, truncate)

    @staticmethod
    def cross_entropy(scores, c, y):
        """Softmax and its cost, for scores (T*B,V), bias c (V,) and targets y (T,B).

        Returns costs -log p[y] (T,B), in nats; the most probable characters,
        int (T,B); and the probabilities p = softmax(scores + c) (T*B,V).
        """
        costs, p, best = T.nnet.crossentropy_softmax_argmax_1hot_with_bias(scores, c, y.flatten())
        return costs.reshape(y.shape), best.reshape(y.shape), p


def logits(x, states, p, layers, truncate=-1):
    """Scores (T*B, V) of the next characters, without the bias c, for characters x (T,B).

    states: h1, C1 (B,H1) and h2, C2 (B,H2) before the first step. Returns the
    scores and the states after the last step.
    """
    h1, after1 = layers.read_characters(x, p['U1'], p['W1'], p['b1'], states[:2], truncate)     # (T, B, H1)
    h2, after2 = layers.read_vectors(h1, p['U2'], p['W2'], p['b2'], states[2:], truncate)       # (T, B, H2)
    return layers.dot(h2.reshape((-1, h2.shape[2])), p['V'].T), after1 + after2


def penalty(parameters, l1, l2):
    """The penalties l1 * sum |p| + l2 * sum p^2 over all parameters."""
    return sum(l1 * abs(p).sum() + l2 * T.sqr(p).sum() for p in parameters)


def sgd(gradients, lrate):
    """Steps of plain gradient descent, one array to subtract from each parameter."""
    return [lrate * g for g in gradients]


def rmsprop(gradients, averages, lrate, drate, eps):
    """Steps of RMSprop (Tieleman & Hinton 2012) and the new running averages m of the squared gradients.

        m <- drate m + (1 - drate) g^2        step = lrate g / (sqrt(m) + eps)
    """
    new = [drate * m + (1 - drate) * T.sqr(g) for m, g in zip(averages, gradients)]
    # The rate multiplies the finished quotient: beside g, Theano would move it into
    # the product that makes g, and compute that product twice.
    return [lrate * (g / (T.sqrt(m) + eps)) for m, g in zip(new, gradients)], new


def update_ratios(steps, parameters):
    """||step|| / ||p|| of each parameter, p before the step; inf for a first step away from zero."""
    return [T.sqrt(T.sqr(s).sum()) / T.sqrt(T.sqr(p).sum()) for s, p in zip(steps, parameters)]


# ---------------------------------------------------------------- checkpoints

def _not_a_checkpoint(path, why):
    return ValueError('{} is not a checkpoint that can be used: {}; expected an npz file with the arrays {} and '
                      'uchar, as train.py and save_params write it'.format(path, why, ' '.join(NAMES)))


def _stored_arrays(path):
    """The nine arrays of a checkpoint by name. Nothing is unpickled, so nothing in the file can run."""
    arrays, why = {}, 'it is no npz file, or one that was cut short'
    try:
        with zipfile.ZipFile(path) as npz:
            for name in NAMES + ('uchar',):
                why = 'it has no {}'.format(name)
                member = npz.getinfo(name + '.npy')
                why = 'its {} is damaged or holds Python objects'.format(name)
                with npz.open(member) as f:
                    arrays[name] = np.lib.format.read_array(f, allow_pickle=False)
    except OSError as error:
        raise _os_error('read', path, error)
    except Exception:                          # the readers of zip and npy raise all kinds on damaged bytes
        raise _not_a_checkpoint(path, why)
    return arrays


def _stored_vocabulary(array):
    """The characters of a stored uchar, or None where it is none.

    The original of this program stored bytes ('S1'). NumPy strips a NUL from
    a string, so that an empty one can only have been a NUL.
    """
    if array.ndim != 1 or array.dtype.kind not in 'SU':
        return None
    strings = [s.decode('latin-1') if array.dtype.kind == 'S' else s for s in array.tolist()]
    strings = [s or '\0' for s in strings]
    distinct_characters = all(len(s) == 1 for s in strings) and len(set(strings)) == len(strings)
    return _vocabulary(strings) if distinct_characters else None


def read_checkpoint(path):
    """Read and check a checkpoint.

    Returns parameters (name to array, in floatX) and uchar (V,). Raises
    OSError when the file cannot be read, ValueError when it is no checkpoint.
    """
    arrays = _stored_arrays(path)
    uchar = _stored_vocabulary(arrays.pop('uchar'))
    if uchar is None:
        raise _not_a_checkpoint(path, 'its uchar is no list of distinct characters')
    if arrays['U1'].ndim != 3 or arrays['U2'].ndim != 3:
        raise _not_a_checkpoint(path, 'its U1 or U2 has not three dimensions')
    shapes = parameter_shapes(len(uchar), arrays['U1'].shape[1], arrays['U2'].shape[1])
    for name in NAMES:
        if arrays[name].shape != shapes[name]:
            raise _not_a_checkpoint(path, '{} has shape {} where the others ask for {}'.format(
                name, arrays[name].shape, shapes[name]))
        if arrays[name].dtype.kind != 'f' or not np.isfinite(arrays[name]).all():
            raise _not_a_checkpoint(path, '{} has values that are no finite numbers'.format(name))
    return {name: arrays[name].astype(theano.config.floatX) for name in NAMES}, uchar


# ---------------------------------------------------------------- checks of arguments

def _check_whole(name, value, least):
    if not isinstance(value, numbers.Integral) or value < least:
        raise ValueError('{} is {!r}: expected a whole number, at least {}'.format(name, value, least))


def _check_real(name, value, expected, fits):
    if not (isinstance(value, numbers.Real) and math.isfinite(value) and fits(value)):
        raise ValueError('{} is {!r}: expected a number {}'.format(name, value, expected))


def _as_batch(name, values, V):
    """Characters as int32 (T,B); shape (T,) counts as B = 1."""
    values = np.asarray(values)
    if values.dtype.kind not in 'iu' or values.ndim not in (1, 2) or values.size == 0:
        raise ValueError('{} has type {} and shape {}: expected character numbers of shape (T, B) or (T,)'.format(
            name, values.dtype, values.shape))
    if values.min() < 0 or values.max() >= V:
        raise ValueError('{} has character numbers from {} to {}: the model knows 0 to {}'.format(
            name, values.min(), values.max(), V - 1))
    return values.astype(np.int32).reshape(len(values), -1)


# ---------------------------------------------------------------- CharLSTM

# Characters that are sampled before they are shown: few at first, to show something soon, then
# more, since each time the kernel packs the weights again.
FIRST_PIECE, LONGEST_PIECE = 32, 1024


def _kernel_runs():
    """Whether lstm_op can be tried: on a CPU, with a compiler, in a type it has."""
    return bool(theano.config.cxx) and theano.config.device == 'cpu' and theano.config.floatX in ('float32', 'float64')


class CharLSTM(object):
    """A two-layer LSTM that learns to write text, character by character.

        model = CharLSTM(random_seed=1)
        model.prepare_input('text.txt')
        model.model_setup(num_units1=128, num_units2=128)
        for x, y in zip(model.X['train'], model.Y['train']):
            cost, best, *ratios = model.theano_train_rmsprop(x, y)
        print(model.generate_text('It is ', 200))

    Attributes: uchar (V,) the characters by number; batch_size; X, Y, n_batches,
    each a dict by 'train' and 'valid'; p, the parameters as Theano shared
    variables by name; lp, the learning parameters; dyn_lrate, the learning
    rate as a shared scalar that may be set between steps; random, the NumPy
    generator that all chance is drawn from: with the same random_seed, text
    and machine the numbers are the same.
    """

    def __init__(self, random_seed=None, kernel=True):
        """kernel: whether to use the C kernel of lstm_op, on CPUs with a compiler, or theano.scan always."""
        if random_seed is not None:
            _check_whole('random_seed', random_seed, 0)
        self.random = np.random.default_rng(random_seed)
        self.uchar = self.batch_size = self.dyn_lrate = None
        self.X, self.Y, self.n_batches = {}, {}, {}
        self.p, self.lp = {}, {}
        self._functions = {}           # compiled, by name
        self._layers = lstm_op if kernel and _kernel_runs() else ScanLayers
        self._codes = None             # the text as numbers of uchar

    # ---- the text

    def prepare_input(self, filepath, ratio_valid=0.30, batch_size=50, seq_length=50, verbose=True,
                      encoding='utf-8'):
        """Read a text and cut it into batches.

        The text is cut into consecutive sequences of seq_length characters (a
        last partial one is dropped), which give seq_length - 1 inputs and as
        many targets. Of n sequences the first round((1 - ratio_valid) n) are
        for training, the others for validation; consecutive ones fill the
        batches, and those that fill none are dropped.

        Sets uchar, batch_size, X, Y and n_batches: X['train'][i] are the inputs
        and Y['train'][i] the targets of the i-th batch, int32 (T,B) with T =
        seq_length - 1. Where the object has parameters that know all
        characters of the text, uchar stays theirs; where one is unknown to
        them they are dropped, with a warning.

        Raises OSError when the file cannot be read; ValueError for arguments
        out of range, a wrong encoding, or a text too short for one batch.
        """
        _check_real('ratio_valid', ratio_valid, 'from 0 to below 1', lambda r: 0 <= r < 1)
        _check_whole('batch_size', batch_size, 1)
        _check_whole('seq_length', seq_length, 2)
        codes, uchar = read_text(filepath, encoding, progress=verbose)
        self._check_length(filepath, codes, uchar, ratio_valid, batch_size, seq_length)
        if self.p:
            unknown = set(uchar) - set(self.uchar)
            if unknown:
                _warn('the parameters do not know {} of {} and were dropped; model_setup makes new ones'.format(
                    _named(unknown), filepath))
                self._set_parameters({}, uchar)
            else:
                codes, uchar = self._recoded(codes, uchar, self.uchar), self.uchar
        self.uchar, self.batch_size, self._seq_length = uchar, batch_size, seq_length
        self._cut(codes, ratio_valid)
        self._warn_if_truncated()
        if verbose:
            self._print_text_summary(filepath)

    @staticmethod
    def _check_length(filepath, codes, uchar, ratio_valid, batch_size, seq_length):
        needed = batch_size                                     # sequences, of which batch_size train
        while round((1 - ratio_valid) * needed) < batch_size:
            needed += max(1, int((batch_size - (1 - ratio_valid) * needed) / 2))
        if len(codes) < needed * seq_length:
            raise ValueError(
                '{} has {:,} characters: batches of {} sequences of {} characters, with {:g} of the text for '
                'validation, need {:,}; take a longer text or a smaller batch or sequence'.format(
                    filepath, len(codes), batch_size, seq_length, ratio_valid, needed * seq_length))
        if len(uchar) < 2:
            raise ValueError('{} has only one distinct character, {}: there is nothing to learn'.format(
                filepath, _named(uchar)))

    @staticmethod
    def _recoded(codes, uchar, new_uchar):
        """Codes of a text over uchar as codes over new_uchar, which has all its characters."""
        number = {ch: k for k, ch in enumerate(new_uchar)}
        return _recode(codes, np.array([number[ch] for ch in uchar], _smallest_type(len(new_uchar))))

    def _cut(self, codes, ratio_valid):
        """Set X, Y and n_batches to views of the text's codes."""
        self._codes, self._ratio_valid = codes, ratio_valid
        n = len(codes) // self._seq_length
        n_train = int(round((1 - ratio_valid) * n))
        sequences = codes[:n * self._seq_length].reshape(n, self._seq_length)
        for part, rows in (('train', sequences[:n_train]), ('valid', sequences[n_train:])):
            self.X[part] = _Batches(rows, self.batch_size, slice(0, -1))
            self.Y[part] = _Batches(rows, self.batch_size, slice(1, None))
            self.n_batches[part] = len(self.X[part])

    def _print_text_summary(self, filepath):
        used = sum(self.n_batches.values()) * self.batch_size * self._seq_length
        print('{}: {:,} characters, {} distinct'.format(filepath, len(self._codes), len(self.uchar)))
        print('{} batches to train and {} to validate, each of {} sequences of {} characters; '
              '{:,} characters that fill no batch are dropped'.format(
                  self.n_batches['train'], self.n_batches['valid'], self.batch_size, self._seq_length,
                  len(self._codes) - used))

    def _warn_if_truncated(self):
        """Say it when sequences are longer than the gradient reaches."""
        depth = self.lp.get('bptt_maxdepth', -1)
        if self._codes is not None and 0 < depth < self._seq_length - 1:
            _warn('only the last {} of the {} steps of a sequence are learned from: bptt_maxdepth is {}, seq_length '
                  '{}; make them meet unless that is meant'.format(
                      depth, self._seq_length - 1, depth, self._seq_length))

    # ---- the model

    def model_setup(self, mfile=None, num_units1=128, num_units2=128, lrate=2e-3, drate=0.95, eps=1e-8,
                    bptt_maxdepth=50, l1=0, l2=0, char_dim=None):
        """Make a model with new parameters or, with mfile, with those of a checkpoint.

        num_units1, num_units2: H1 and H2. lrate, drate, eps: rate, decay of the
        averages and smallest divisor of RMSprop. bptt_maxdepth: the gradient
        comes from the last so many steps of a batch, and the earlier ones give
        none (-1: from all). l1, l2: weights of the penalties. char_dim: V, where
        no text was prepared. Functions are compiled when they are first used.

        Sets p, lp and dyn_lrate. Raises ValueError for arguments out of range,
        and as load_params for mfile.
        """
        _check_whole('num_units1', num_units1, 1)
        _check_whole('num_units2', num_units2, 1)
        _check_real('lrate', lrate, 'above 0', lambda v: v > 0)
        _check_real('drate', drate, 'from 0 to below 1', lambda v: 0 <= v < 1)
        _check_real('eps', eps, 'above 0', lambda v: v > 0)
        _check_real('l1', l1, 'of at least 0', lambda v: v >= 0)
        _check_real('l2', l2, 'of at least 0', lambda v: v >= 0)
        if bptt_maxdepth != -1:
            _check_whole('bptt_maxdepth', bptt_maxdepth, 1)
        self._functions = {}
        self.lp = dict(lrate=lrate, drate=drate, eps=eps, bptt_maxdepth=bptt_maxdepth, l1=l1, l2=l2)
        self.dyn_lrate = theano.shared(np.asarray(lrate, theano.config.floatX), 'lrate', allow_downcast=True)
        if mfile is not None:
            self.load_params(mfile)
        else:
            V = self._vocabulary_size(char_dim)
            self._set_parameters(initial_parameters(V, num_units1, num_units2, self.random), self.uchar)
            self._warn_if_truncated()

    def _vocabulary_size(self, char_dim):
        if char_dim is None and self.uchar is None:
            raise ValueError('no text yet: call prepare_input first, or give char_dim')
        if char_dim is None:
            return len(self.uchar)
        _check_whole('char_dim', char_dim, 1)
        if self.uchar is not None and char_dim != len(self.uchar):
            raise ValueError('char_dim is {}: the text has {} distinct characters'.format(
                char_dim, len(self.uchar)))
        return char_dim

    def _set_parameters(self, arrays, uchar):
        """Take over parameters and the vocabulary they speak; compiled functions stay where all shapes do."""
        self.uchar = uchar
        if self.p and all(self.p[name].get_value(borrow=True).shape == a.shape for name, a in arrays.items()):
            for name, array in arrays.items():
                self.p[name].set_value(array)
        else:
            self._functions = {}
            self.p = {name: theano.shared(array, name) for name, array in arrays.items()}

    def _function(self, name):
        """A compiled function, compiled now if it was not yet."""
        if not self.p:
            raise ValueError('no model yet: call model_setup first')
        if name not in self._functions:
            build = getattr(self, '_compile_' + name)
            try:
                self._functions[name] = build(self._layers)
            except Exception as error:         # what Theano raises when a compiler fails
                if self._layers is ScanLayers:
                    raise
                _warn('the C kernel does not compile here, so the slower theano.scan takes its place ({})'.format(
                    ' '.join(str(error).split())[:200]))
                self._layers = ScanLayers
                self._functions[name] = build(self._layers)
        return self._functions[name]

    def _V(self):
        return self.p['c'].get_value(borrow=True).shape[0]

    def _zero_states(self, B):
        """The states h1, C1, h2, C2 before a text, (B,H1) and (B,H2)."""
        H1, H2 = [self.p[name].get_value(borrow=True).shape[-1] for name in ('W1', 'W2')]
        return [np.zeros((B, H), theano.config.floatX) for H in (H1, H1, H2, H2)]

    def _compile_predict(self, layers):
        """Characters (T,B) and states to probabilities (T*B,V) and the new states."""
        x, states = T.imatrix('x'), T.matrices('h1', 'C1', 'h2', 'C2')
        scores, after = logits(x, states, self.p, layers)
        _, _, probabilities = layers.cross_entropy(scores, self.p['c'], x)     # whose targets do not matter here
        return theano.function([x] + states, [probabilities] + list(after))

    def _compile_check(self, layers):
        """Characters and targets (T,B) and states to the mean cost and the best characters."""
        x, y = T.imatrices('x', 'y')
        states = T.matrices('h1', 'C1', 'h2', 'C2')
        scores, _ = logits(x, states, self.p, layers)
        costs, best, _ = layers.cross_entropy(scores, self.p['c'], y)
        return theano.function([x, y] + states, [costs.mean(), best])

    def _weights(self, shape):
        """What each cost of a batch (T,B) counts in the mean that is learned from: none before the last
        bptt_maxdepth steps."""
        depth, weights = self.lp['bptt_maxdepth'], np.full(shape, 1 / (shape[0] * shape[1]), theano.config.floatX)
        if depth != -1:
            weights[:-depth] = 0
        return weights

    def _gradients(self, costs, weights, parameters):
        """Gradients of the weighted costs (T,B) with the penalties."""
        objective = (costs * weights).sum()
        if self.lp['l1'] or self.lp['l2']:
            objective += penalty(parameters, self.lp['l1'], self.lp['l2']) / T.cast(costs.size, costs.dtype)
        return T.grad(objective, parameters)

    def _compile_train(self, layers, rule):
        """A training step: what check takes and _weights, to what it gives and the update ratios.

        rule: from gradients to the steps to subtract and to further updates.
        """
        x, y = T.imatrices('x', 'y')
        weights, states = T.matrix('weights'), T.matrices('h1', 'C1', 'h2', 'C2')
        parameters = [self.p[name] for name in NAMES]
        scores, _ = logits(x, states, self.p, layers, self.lp['bptt_maxdepth'])
        costs, best, _ = layers.cross_entropy(scores, self.p['c'], y)
        steps, updates = rule(self._gradients(costs, weights, parameters))
        updates = updates + [(p, p - step) for p, step in zip(parameters, steps)]
        return theano.function([x, y] + states + [weights], [costs.mean(), best] + update_ratios(steps, parameters),
                               updates=updates)

    def _compile_train_rmsprop(self, layers):
        averages = [theano.shared(np.zeros_like(self.p[name].get_value(borrow=True)), 'm_' + name) for name in NAMES]

        def rule(gradients):
            steps, new = rmsprop(gradients, averages, self.dyn_lrate, self.lp['drate'], self.lp['eps'])
            return steps, list(zip(averages, new))
        return self._compile_train(layers, rule)

    def _compile_train_sgd(self, layers):
        return self._compile_train(layers, lambda gradients: (sgd(gradients, self.dyn_lrate), []))

    # ---- what is done with it

    def compile(self, *names):
        """Compile theano_<name> for each of names now: 'predict', 'check', 'train_rmsprop', 'train_sgd'."""
        for name in names:
            self._function(name)

    def theano_predict(self, x):
        """Predict the character after each of x, int (T,B) or (T,).

        Returns [probabilities (T,B,V), the most probable characters, int (T,B)].
        """
        predict = self._function('predict')
        x = _as_batch('x', x, self._V())
        probabilities = predict(x, *self._zero_states(x.shape[1]))[0]              # (T*B, V)
        return [probabilities.reshape(x.shape + (-1,)), probabilities.argmax(axis=1).reshape(x.shape)]

    def theano_check(self, x, y):
        """The mean cost, in nats a character, of predicting y from x, int (T,B) or (T,).

        Returns [cost, the most probable characters, int (T,B)].
        """
        return self._on_batch('check', x, y)

    def theano_train_rmsprop(self, x, y):
        """One step of RMSprop on a batch, x and y int (T,B) or (T,).

        Returns [cost, the most probable characters, int (T,B)], both from
        before the step, then the update ratios ||step|| / ||p|| of U1 W1 b1 U2
        W2 b2 V c. The cost is without penalties.
        """
        return self._on_batch('train_rmsprop', x, y, weighted=True)

    def theano_train_sgd(self, x, y):
        """One step of plain gradient descent; takes and returns what theano_train_rmsprop does."""
        return self._on_batch('train_sgd', x, y, weighted=True)

    def _on_batch(self, name, x, y, weighted=False):
        function = self._function(name)
        x, y = _as_batch('x', x, self._V()), _as_batch('y', y, self._V())
        if x.shape != y.shape:
            raise ValueError('x has shape {} and y {}: expected the same'.format(x.shape, y.shape))
        inputs = [x, y] + self._zero_states(x.shape[1]) + ([self._weights(x.shape)] if weighted else [])
        return function(*inputs)

    def generate_text(self, seed='', text_length=100, method='normal', count=None):
        """Continue seed, or a random character when it is empty, to text_length characters in all.

        method 'normal' draws each character from the distribution that the
        model predicts, 'argmax' takes the most probable. A seed that is long
        enough already comes back as it is. With count, returns a list of so
        many texts, made together. Raises ValueError for another method, or a
        seed with characters that the model does not know.
        """
        pieces = self.stream_text(seed, text_length, method, 1 if count is None else count)
        texts = [''.join(parts) for parts in zip(*pieces)]
        return texts[0] if count is None else texts

    def stream_text(self, seed='', text_length=100, method='normal', count=1):
        """Yield what generate_text returns piece by piece, each a list of count strings, the seed first."""
        if method not in ('normal', 'argmax'):
            raise ValueError("method is {!r}: expected 'normal' or 'argmax'".format(method))
        _check_whole('text_length', text_length, 0)
        _check_whole('count', count, 1)
        if self.uchar is None:
            raise ValueError('no vocabulary: call prepare_input or load a checkpoint first')
        number = {ch: k for k, ch in enumerate(self.uchar)}
        unknown = set(seed) - set(number)
        if unknown:
            raise ValueError('the seed has characters that the model never saw: {}'.format(_named(unknown)))
        sample = self._function('sample')
        given = np.repeat(np.array([[number[ch]] for ch in seed], np.int32).reshape(-1, 1), count, axis=1)
        if not seed and text_length:
            given = self.random.integers(len(self.uchar), size=(1, count), dtype=np.int32)
        yield self._strings(given)
        done, piece, states = len(given), FIRST_PIECE, self._zero_states(count)
        while done < text_length:
            n = min(piece, text_length - done)
            uniform = self.random.random((n if method == 'normal' else 0, count))
            outputs = sample(given, uniform, n, *states)                           # (m+n, B) and states
            yield self._strings(outputs[0][len(given):])
            given, states = outputs[0][-1:], outputs[1:]
            done, piece = done + n, min(2 * piece, LONGEST_PIECE)

    def _strings(self, numbers):
        """Characters (T,B) as B strings."""
        return [''.join(self.uchar[column]) for column in numbers.T]

    def _compile_sample(self, layers):
        """given (m,B), uniform (n,B) or (0,B), n and states to texts (m+n,B) and new states, as lstm_op.Sample."""
        if layers is ScanLayers:
            return self._sample_in_python
        given, uniform, n = T.imatrix('given'), T.dmatrix('uniform'), T.lscalar('n')
        states = T.matrices('h1', 'C1', 'h2', 'C2')
        return theano.function([given, uniform, n] + states, layers.sample(given, uniform, n, states, self.p))

    def _sample_in_python(self, given, uniform, n, *states):
        text, read = given, given
        for k in range(n):
            outputs = self._function('predict')(read, *states)
            probabilities, states = outputs[0][-given.shape[1]:], outputs[1:]      # (B, V) after the last step
            if len(uniform):
                cumulative = np.cumsum(probabilities, axis=1, dtype=np.float64)
                # The first above the draw: exactly the distribution, and never a character of probability 0.
                drawn = (cumulative > uniform[k][:, None] * cumulative[:, -1:]).argmax(axis=1)
            else:
                drawn = probabilities.argmax(axis=1)
            read = drawn.astype(np.int32)[None]
            text = np.concatenate([text, read])
        return [text] + list(states)

    # ---- checkpoints

    def save_params(self, filename):
        """Write the parameters and uchar to an npz file, whole or not at all; '.npz' is added where it lacks.

        Returns the file's name. Raises OSError when it cannot be written.
        """
        if not self.p or self.uchar is None:
            raise ValueError('nothing to save: there are no parameters or no vocabulary yet')
        filename = os.fspath(filename)
        filename += '' if filename.endswith('.npz') else '.npz'
        arrays = {name: p.get_value(borrow=True) for name, p in self.p.items()}
        with write_whole(filename) as f:
            np.savez(f, uchar=np.array(list(self.uchar)), **arrays)
        return filename

    def load_params(self, filename):
        """Take parameters and uchar from a checkpoint, of this program or of its original, float32 or float64.

        A text that was prepared before stays, its batches renumbered. Raises
        OSError when the file cannot be read; ValueError when it is no
        checkpoint, or when the text has characters unknown to it.
        """
        arrays, uchar = read_checkpoint(filename)
        if self._codes is not None:
            unknown = set(self.uchar) - set(uchar)
            if unknown:
                raise ValueError('{} does not know {} of the text that was prepared'.format(
                    filename, _named(unknown)))
            self._cut(self._recoded(self._codes, self.uchar, uchar), self._ratio_valid)
        self._set_parameters(arrays, uchar)

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
import hashlib
import io
import json
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


def append_whole(f, data):
    """Append bytes to a file opened as 'ab' with buffering=0: all of them or, with an OSError, none."""
    size, rest = os.fstat(f.fileno()).st_size, memoryview(data)
    try:
        while rest:
            rest = rest[f.write(rest):]
    except OSError as error:
        with contextlib.suppress(OSError):       # of what is no file but a device
            f.truncate(size)
        raise _os_error('write', f.name, error)


# ---------------------------------------------------------------- text to numbers

CHUNK = 1 << 20        # bytes decoded at a time: enough to be fast, small beside any text


def _smallest_type(vocabulary_size):
    """The smallest unsigned integer type that can number a vocabulary."""
    return np.min_scalar_type(max(vocabulary_size - 1, 0))


def _decoded(path, encoding, progress, digest):
    """The text of a file in pieces, with line ends as LF and without a byte order mark; its bytes go to digest."""
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
            digest.update(chunk)
            waiting = len(decoder.getstate()[0])           # bytes of a character that the last chunk cut
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeError as error:                  # some codecs do not say where
                start, reason = getattr(error, 'start', 0), getattr(error, 'reason', error)
                raise ValueError('{} is not {}: byte {} ({}); name its encoding with --encoding (encoding= in '
                                 'Python)'.format(path, encoding, offset - waiting + start, reason))
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

    Returns codes (number of characters,); uchar (V,), the sorted distinct
    characters, such that uchar[codes] is the text; and the SHA-256 of the file
    in hexadecimal. Raises OSError when the file cannot be read, ValueError when
    it is not in that encoding.
    """
    digest = hashlib.sha256()
    code_of = np.full(sys.maxunicode + 1, sys.maxunicode, np.uint32)   # by code point; maxunicode: none yet
    points = np.empty(0, np.uint32)                                   # code points in order of appearance
    try:
        codes, n = np.empty(os.path.getsize(path) + 1, np.uint8), 0   # rarely more characters than bytes
        for text in _decoded(path, encoding, progress, digest):
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
    return _recode(codes[:n], table), _vocabulary(chr(point) for point in points[order]), digest.hexdigest()


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


class _Streams(Sequence):
    """The batches of one part of the text whose rows go on from batch to batch.

    streams: codes (B, L), B long pieces of the text. Item i is one side, inputs
    (shift 0) or targets (shift 1), of characters i*T to (i+1)*T of each stream, as
    int32 (T, B); the last one may be shorter.
    """

    def __init__(self, streams, T, shift):
        self._streams, self._T, self._shift = streams, T, shift

    def __len__(self):
        return max(0, -(-(self._streams.shape[1] - 1) // self._T))

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        start = range(len(self))[i] * self._T
        end = min(start + self._T, self._streams.shape[1] - 1)
        return np.ascontiguousarray(self._streams[:, start + self._shift:end + self._shift].T, np.int32)


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

    These five functions say what is computed, and run everywhere. lstm_op has
    them again, with the same arguments and numbers, for CPUs alone but faster.
    """

    dot = staticmethod(T.dot)

    @staticmethod
    def sum_of_squares(v):
        return T.sqr(v).sum()

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


def logits(x, states, p, layers, truncate=-1, masks=None):
    """Scores (T*B, V) of the next characters, without the bias c, for characters x (T,B).

    states: h1, C1 (B,H1) and h2, C2 (B,H2) before the first step; masks: what
    dropout multiplies h1 and h2 with on their way up, (T,B,H1) and (T,B,H2) (not
    on their way to the next step: Zaremba et al. 2014). Returns the scores and the
    states after the last step.
    """
    h1, after1 = layers.read_characters(x, p['U1'], p['W1'], p['b1'], states[:2], truncate)     # (T, B, H1)
    h1 = h1 if masks is None else h1 * masks[0]
    h2, after2 = layers.read_vectors(h1, p['U2'], p['W2'], p['b2'], states[2:], truncate)       # (T, B, H2)
    h2 = h2 if masks is None else h2 * masks[1]
    return layers.dot(h2.reshape((-1, h2.shape[2])), p['V'].T), after1 + after2


def penalty(parameters, l1, l2):
    """The penalties l1 * sum |p| + l2 * sum p^2 over all parameters."""
    return sum(l1 * abs(p).sum() + l2 * T.sqr(p).sum() for p in parameters)


def clip(gradients, limit, layers):
    """Gradients scaled down together so that their norm, all taken as one vector, is at most limit (Pascanu 2013)."""
    norm = T.sqrt(sum(layers.sum_of_squares(g) for g in gradients))
    scale = T.switch(norm > limit, limit / norm, 1)
    return [g * scale for g in gradients]


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


def update_ratios(steps, parameters, layers):
    """||step|| / ||p|| of each parameter, p before the step; inf for a first step away from zero."""
    return [T.sqrt(layers.sum_of_squares(s)) / T.sqrt(layers.sum_of_squares(p)) for s, p in zip(steps, parameters)]


# ---------------------------------------------------------------- checkpoints

DEFLATE_LIMIT = 1100      # a byte of a zip file unfolds to at most 1032 bytes; a larger size is a lie


def _not_a_checkpoint(path, why):
    return ValueError('{} is not a checkpoint that can be used: {}; expected an npz file with the arrays {} and '
                      'uchar, as train.py and save_params write it'.format(path, why, ' '.join(NAMES)))


def _array(npz, name):
    """An array of an open npz, of no more bytes than the file has; nothing is unpickled, so nothing in it can run."""
    member = npz.getinfo(name + '.npy')
    if member.file_size > DEFLATE_LIMIT * member.compress_size:
        raise ValueError('a forged size')
    f = io.BytesIO(npz.read(member))
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = read_header[np.lib.format.read_magic(f)](f)
    # Of a type without size there could be any number, and NumPy makes room for all.
    if dtype.hasobject or not dtype.itemsize or math.prod(shape) * dtype.itemsize != member.file_size - f.tell():
        raise ValueError('Python objects, or a forged shape')
    f.seek(0)
    return np.lib.format.read_array(f, allow_pickle=False)


def _stored_arrays(path, needed=NAMES + ('uchar',), more=()):
    """Arrays of a checkpoint by name: the needed ones, and of more those that are there."""
    arrays, why = {}, 'it is no npz file, or one that was cut short'
    try:
        with zipfile.ZipFile(path) as npz:
            there = [name for name in more if name + '.npy' in npz.namelist()]
            for name in list(needed) + there:
                why = 'it has no {}'.format(name)
                npz.getinfo(name + '.npy')
                why = 'its {} is damaged or holds Python objects'.format(name)
                arrays[name] = _array(npz, name)
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
    if 0 in [size for shape in shapes.values() for size in shape]:
        raise _not_a_checkpoint(path, 'it has no units or no characters')
    for name in NAMES:
        if arrays[name].shape != shapes[name]:
            raise _not_a_checkpoint(path, '{} has shape {} where the others ask for {}'.format(
                name, arrays[name].shape, shapes[name]))
        with np.errstate(over='ignore', invalid='ignore'):         # what does not fit becomes infinite
            array = arrays[name].astype(theano.config.floatX) if arrays[name].dtype.kind == 'f' else np.nan
        if not np.isfinite(array).all():
            raise _not_a_checkpoint(path, '{} has values that are no finite {} numbers'.format(
                name, theano.config.floatX))
        arrays[name] = array
    return arrays, uchar


def read_about(path):
    """What a checkpoint says of itself, as a dict; empty for one that says nothing.

    Keys: 'lp'; 'random', the state of the generator; 'text', with path,
    characters, sha256, encoding, ratio_valid, batch_size, seq_length, stateful;
    'versions'; and 'progress', what save_params was given.
    """
    array = _stored_arrays(path, needed=(), more=('about',)).get('about')
    try:
        return {} if array is None else dict(json.loads(str(array)))
    except (TypeError, ValueError, RecursionError):
        raise _not_a_checkpoint(path, 'its about is damaged')


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

CARRIED = ('carried_h1', 'carried_C1', 'carried_h2', 'carried_C2')      # a checkpoint's names for the states

# Characters that are sampled before they are shown: few at first, to show something soon, then
# more, since each time the kernel packs the weights again.
FIRST_PIECE, LONGEST_PIECE = 32, 1024

SCORED = 2000          # characters that are scored at a time: bounds the memory for their probabilities


def _until(stop, before, string):
    """string up to the end of its first stop, which may have begun in `before`, the end of what was there.

    before is None where the text has ended. Returns what is left of string, and
    before for the next one.
    """
    if before is None:
        return '', None
    at = (before + string).find(stop)
    if at >= 0:
        return string[:at + len(stop) - len(before)], None
    return string, (before + string)[max(0, len(before + string) - len(stop) + 1):]


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
        self._codes, self._text = None, {}     # the text as numbers of uchar, and how it was cut
        self.reset_states()

    # ---- the text

    def prepare_input(self, filepath, ratio_valid=0.30, batch_size=50, seq_length=50, verbose=True,
                      encoding='utf-8', stateful=False):
        """Read a text and cut it into batches.

        The text is cut into consecutive sequences of seq_length characters (a
        last partial one is dropped), which give seq_length - 1 inputs and as
        many targets. Of n sequences the first round((1 - ratio_valid) n) are
        for training, the others for validation; consecutive ones fill the
        batches, and those that fill none are dropped.

        With stateful, the rows of a batch are batch_size long pieces of the
        training text (or of the validation text) that go on from batch to batch:
        T = seq_length, the last batch may be shorter, and every character is
        predicted. Training and validate then carry the states along.

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
        codes, uchar, sha256 = read_text(filepath, encoding, progress=verbose)
        self._check_length(filepath, codes, uchar, ratio_valid, batch_size, seq_length)
        if self.p and self.uchar is None and self._V() == len(uchar):        # set up by char_dim, for this text
            self.uchar = uchar
        if self.p:
            unknown = set(uchar) - set([] if self.uchar is None else self.uchar)
            if unknown:
                _warn('the parameters do not know {} of {} and were dropped; model_setup makes new ones'.format(
                    _named(unknown), filepath))
                self._set_parameters({}, uchar)
            else:
                codes, uchar = self._recoded(codes, uchar, self.uchar), self.uchar
        self.uchar, self.batch_size = uchar, batch_size
        self._text = dict(path=os.fspath(filepath), characters=len(codes), sha256=sha256, encoding=encoding,
                          ratio_valid=ratio_valid, batch_size=batch_size, seq_length=seq_length, stateful=stateful)
        self._cut(codes)
        self.reset_states()
        self._warn_if_truncated()
        if verbose:
            self._print_text_summary(filepath)

    @staticmethod
    def _check_length(filepath, codes, uchar, ratio_valid, batch_size, seq_length):
        # Sequences, of which batch_size train; one less than the quotient, as rounding decides the last ones.
        needed = max(batch_size, int((batch_size - 0.5) / (1 - ratio_valid)) - 1)
        while round((1 - ratio_valid) * needed) < batch_size:
            needed += 1
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

    def _cut(self, codes):
        """Set X, Y and n_batches to views of the text's codes."""
        self._codes, B, length = codes, self.batch_size, self._text['seq_length']
        n = len(codes) // length
        n_train = int(round((1 - self._text['ratio_valid']) * n)) * length          # characters
        for part, piece in (('train', codes[:n_train]), ('valid', codes[n_train:])):
            if self._text['stateful']:
                streams = piece[:len(piece) // B * B].reshape(B, -1)
                self.X[part], self.Y[part] = [_Streams(streams, length, shift) for shift in (0, 1)]
            else:
                sequences = piece[:len(piece) // length * length].reshape(-1, length)
                self.X[part] = _Batches(sequences, B, slice(0, -1))
                self.Y[part] = _Batches(sequences, B, slice(1, None))
            self.n_batches[part] = len(self.X[part])

    def fingerprint(self):
        """The SHA-256, in hexadecimal, of the file that was prepared."""
        return self._text['sha256']

    def _steps(self):
        """T of a whole batch of the text."""
        return self._text['seq_length'] - (not self._text['stateful'])

    def _print_text_summary(self, filepath):
        B, length, n = self.batch_size, self._text['seq_length'], self.n_batches
        print('{}: {:,} characters, {} distinct'.format(filepath, len(self._codes), len(self.uchar)))
        if self._text['stateful']:
            print('{} batches to train and {} to validate, each of {} steps of {} streams'.format(
                n['train'], n['valid'], length, B))
            return
        print('{} batches to train and {} to validate, each of {} sequences of {} characters; '
              '{:,} characters that fill no batch are dropped'.format(
                  n['train'], n['valid'], B, length, len(self._codes) - sum(n.values()) * B * length))

    def _warn_if_truncated(self):
        """Say it when sequences are longer than the gradient reaches."""
        depth = self.lp.get('bptt_maxdepth', -1)
        if self._codes is not None and 0 < depth < self._steps():
            _warn('only the last {} of the {} steps of a sequence are learned from: bptt_maxdepth is {}, seq_length '
                  '{}; make them meet unless that is meant'.format(
                      depth, self._steps(), depth, self._text['seq_length']))

    # ---- the model

    def model_setup(self, mfile=None, num_units1=128, num_units2=128, lrate=2e-3, drate=0.95, eps=1e-8,
                    bptt_maxdepth=50, l1=0, l2=0, char_dim=None, dropout=0, grad_clip=0):
        """Make a model with new parameters or, with mfile, with those of a checkpoint.

        num_units1, num_units2: H1 and H2. lrate, drate, eps: rate, decay of the
        averages and smallest divisor of RMSprop. bptt_maxdepth: the gradient
        comes from the last so many steps of a batch, and the earlier ones give
        none (-1: from all). l1, l2: weights of the penalties. char_dim: V, where
        no text was prepared. dropout: share of h1 and h2 that each training step
        leaves out on its way up. grad_clip: largest norm of the whole gradient, 0
        for any. Functions are compiled when they are first used.

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
        _check_real('dropout', dropout, 'from 0 to below 1', lambda v: 0 <= v < 1)
        _check_real('grad_clip', grad_clip, 'of at least 0', lambda v: v >= 0)
        if bptt_maxdepth != -1:
            _check_whole('bptt_maxdepth', bptt_maxdepth, 1)
            bptt_maxdepth = min(bptt_maxdepth, 2 ** 31 - 1)         # what C and Theano can count to
        if mfile is not None:
            self.load_params(mfile)            # before anything changes, since it may fail
        else:
            V = self._vocabulary_size(char_dim)
            self._set_parameters(initial_parameters(V, num_units1, num_units2, self.random), self.uchar)
            for average in self._averages.values():
                average.set_value(np.zeros_like(average.get_value(borrow=True)))
        self._functions = {}
        # Python's own numbers: Theano takes a np.float64 for a request to compute in that type.
        self.lp = dict(lrate=float(lrate), drate=float(drate), eps=float(eps), bptt_maxdepth=int(bptt_maxdepth),
                       l1=float(l1), l2=float(l2), dropout=float(dropout), grad_clip=float(grad_clip))
        self.dyn_lrate = theano.shared(np.asarray(lrate, theano.config.floatX), 'lrate', allow_downcast=True)
        if mfile is None:
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
        kinds = {name: (array.shape, array.dtype) for name, array in arrays.items()}
        if arrays and kinds == {name: (p.get_value(borrow=True).shape, p.dtype) for name, p in self.p.items()}:
            for name, array in arrays.items():
                self.p[name].set_value(array)
        else:
            self._functions = {}
            self.p = {name: theano.shared(array, name) for name, array in arrays.items()}
            self._averages = {name: theano.shared(np.zeros_like(array), 'm_' + name) for name, array in arrays.items()}
        self.reset_states()

    def _function(self, name):
        """A compiled function, compiled now if it was not yet."""
        if not self.p:
            raise ValueError('no model yet: call model_setup first')
        if name not in self._functions:
            build = getattr(self, '_compile_' + name)
            try:
                with contextlib.redirect_stdout(io.StringIO()):    # where Theano prints what a compiler said
                    self._functions[name] = build(self._layers)
            except Exception as error:         # what Theano raises when a compiler fails
                if self._layers is ScanLayers or 'Compilation failed' not in str(error):
                    raise
                _warn('the C kernel does not compile here, so the slower theano.scan takes its place ({})'.format(
                    ' '.join(str(error).split())[:200]))
                compile_lock = theano.gof.compilelock
                if getattr(compile_lock.get_lock, 'n_lock', 0):    # kept after a failure, so that others would wait
                    compile_lock.release_lock()
                self._layers = ScanLayers
                self._functions[name] = build(self._layers)
        return self._functions[name]

    def _V(self):
        return self.p['c'].get_value(borrow=True).shape[0]

    def _units(self):
        """H1 and H2."""
        return [self.p[name].get_value(borrow=True).shape[-1] for name in ('W1', 'W2')]

    def _zero_states(self, B):
        """The states h1, C1, h2, C2 before a text, (B,H1) and (B,H2)."""
        H1, H2 = self._units()
        return [np.zeros((B, H), theano.config.floatX) for H in (H1, H1, H2, H2)]

    def _compile_predict(self, layers):
        """Characters (T,B) and states to probabilities (T*B,V) and the new states."""
        x, states = T.imatrix('x'), T.matrices('h1', 'C1', 'h2', 'C2')
        scores, after = logits(x, states, self.p, layers)
        _, _, probabilities = layers.cross_entropy(scores, self.p['c'], x)     # whose targets do not matter here
        return theano.function([x] + states, [probabilities] + list(after))

    def _compile_check(self, layers):
        """Characters and targets (T,B) and states to the mean cost, the best characters and the new states."""
        x, y = T.imatrices('x', 'y')
        states = T.matrices('h1', 'C1', 'h2', 'C2')
        scores, after = logits(x, states, self.p, layers)
        costs, best, _ = layers.cross_entropy(scores, self.p['c'], y)
        return theano.function([x, y] + states, [costs.mean(), best] + list(after))

    def _weights(self, shape):
        """What each cost of a batch (T,B) counts in the mean that is learned from: none before the last
        bptt_maxdepth steps."""
        depth, weights = self.lp['bptt_maxdepth'], np.full(shape, 1 / (shape[0] * shape[1]), theano.config.floatX)
        if depth != -1:
            weights[:-depth] = 0
        return weights

    def _masks(self, shape):
        """What dropout multiplies the h of each layer with in a batch (T,B): 0, or more than 1 to keep the mean.

        The share is met to a 65,536th, which makes the draw three times as fast.
        """
        dropped = round(self.lp['dropout'] * 65536)
        kept = np.asarray(65536 / (65536 - dropped), theano.config.floatX)
        return [(self.random.integers(65536, size=tuple(shape) + (H,), dtype=np.uint16) >= dropped) * kept
                for H in self._units()]

    def _gradients(self, costs, weights, parameters, layers):
        """Gradients of the weighted costs (T,B) with the penalties, clipped."""
        objective = (costs * weights).sum()
        if self.lp['l1'] or self.lp['l2']:
            objective += penalty(parameters, self.lp['l1'], self.lp['l2']) / T.cast(costs.size, costs.dtype)
        gradients = T.grad(objective, parameters)
        return clip(gradients, self.lp['grad_clip'], layers) if self.lp['grad_clip'] else gradients

    def _compile_train(self, layers, rule):
        """A training step: from x, y, states, weights and, with dropout, masks to what check gives and the ratios.

        rule: from gradients to the steps to subtract and to further updates.
        """
        x, y = T.imatrices('x', 'y')
        weights, states = T.matrix('weights'), T.matrices('h1', 'C1', 'h2', 'C2')
        masks = T.tensor3s('mask1', 'mask2') if self.lp['dropout'] else []
        parameters = [self.p[name] for name in NAMES]
        scores, after = logits(x, states, self.p, layers, self.lp['bptt_maxdepth'], masks or None)
        costs, best, _ = layers.cross_entropy(scores, self.p['c'], y)
        steps, updates = rule(self._gradients(costs, weights, parameters, layers))
        updates = updates + [(p, p - step) for p, step in zip(parameters, steps)]
        return theano.function([x, y] + states + [weights] + masks,
                               [costs.mean(), best] + list(after) + update_ratios(steps, parameters, layers),
                               updates=updates)

    def _compile_train_rmsprop(self, layers):
        averages = [self._averages[name] for name in NAMES]

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
        """The mean cost, in nats a character, of predicting y from x, int (T,B) or (T,), from zero states.

        Returns [cost, the most probable characters, int (T,B)].
        """
        x, y = self._batch(x, y)
        return self._function('check')(x, y, *self._zero_states(x.shape[1]))[:2]

    def validate(self):
        """The mean cost, in nats a character, over the whole validation text; nan where there is none."""
        costs = list(self.validation_costs())
        total = sum(characters for _, characters in costs)
        return sum(cost * characters for cost, characters in costs) / total if total else float('nan')

    def validation_costs(self):
        """Yield the mean cost and the number of characters of each validation batch in turn."""
        states = self._zero_states(self.batch_size)
        for x, y in zip(self.X['valid'], self.Y['valid']):
            outputs = self._function('check')(x, y, *states)
            yield float(outputs[0]), y.size
            if self._text['stateful']:
                states = outputs[2:]

    def theano_train_rmsprop(self, x, y):
        """One step of RMSprop on a batch, x and y int (T,B) or (T,).

        With a text prepared as stateful it begins with the states after the
        last such step (reset_states forgets them), else with zeros. Returns
        [cost, the most probable characters, int (T,B)], both from before the
        step, then the update ratios ||step|| / ||p|| of U1 W1 b1 U2 W2 b2 V c. The
        cost is without penalties, but with dropout where that is used.
        """
        return self._train('train_rmsprop', x, y)

    def theano_train_sgd(self, x, y):
        """One step of plain gradient descent; takes and returns what theano_train_rmsprop does."""
        return self._train('train_sgd', x, y)

    def reset_states(self):
        """Forget the states that training carries from batch to batch, as at the start of the text."""
        self._carried = None

    def _train(self, name, x, y):
        x, y = self._batch(x, y)
        if not self.lp:
            raise ValueError('no learning parameters yet: call model_setup before training')
        function = self._function(name)
        carry = self._text.get('stateful') and self._carried is not None and len(self._carried[0]) == x.shape[1]
        states = self._carried if carry else self._zero_states(x.shape[1])
        masks = self._masks(x.shape) if self.lp['dropout'] else []
        outputs = function(x, y, *states + [self._weights(x.shape)] + masks)
        if self._text.get('stateful'):
            self._carried = outputs[2:6]
        return outputs[:2] + outputs[6:]

    def _batch(self, x, y):
        """Checked inputs and targets, int32 (T,B)."""
        if not self.p:
            raise ValueError('no model yet: call model_setup first')
        x, y = _as_batch('x', x, self._V()), _as_batch('y', y, self._V())
        if x.shape != y.shape:
            raise ValueError('x has shape {} and y {}: expected the same'.format(x.shape, y.shape))
        return x, y

    def generate_text(self, seed='', text_length=100, method='normal', count=None, **choice):
        """Continue seed, or a random character when it is empty, to text_length characters in all.

        method 'normal' draws each character from the distribution that the
        model predicts, 'argmax' takes the most probable. A seed that is long
        enough already comes back as it is. With count, returns a list of so
        many texts, made together. temperature, top_k, top_p and stop are those of
        stream_text. Raises ValueError for arguments out of range, or a seed with
        characters that the model does not know.
        """
        pieces = self.stream_text(seed, text_length, method, 1 if count is None else count, **choice)
        texts = [''.join(parts) for parts in zip(*pieces)]
        return texts[0] if count is None else texts

    def stream_text(self, seed='', text_length=100, method='normal', count=1, temperature=1, top_k=None, top_p=1,
                    stop=''):
        """Yield what generate_text returns piece by piece, each a list of count strings, the seed first.

        temperature: below 1 the probable becomes more so, above 1 less. top_k:
        draw from the so many most probable characters alone; top_p: from the
        fewest that have this probability together. stop: a text ends with the
        first occurrence of this string after the seed.
        """
        given = self._given(seed, text_length, method, count)
        _check_real('temperature', temperature, 'above 0', lambda v: v > 0)
        _check_whole('top_k', len(self.uchar) if top_k is None else top_k, 1)
        _check_real('top_p', top_p, 'above 0, at most 1', lambda v: 0 < v <= 1)
        # Within what floatX can hold: below 1e-30 all temperatures mean the most probable.
        choice = np.array([max(temperature, 1e-30), min(top_k or len(self.uchar), len(self.uchar)), top_p],
                          theano.config.floatX)
        yield self._strings(given)
        sample, states = self._function('sample'), self._zero_states(count)
        done, piece, tails = len(given), FIRST_PIECE, [''] * count
        while done < text_length and not all(tail is None for tail in tails):
            n = min(piece, text_length - done)
            bits = self.random.integers(2 ** 53, size=(n if method == 'normal' else 0, count))
            outputs = sample(given, bits, n, choice, *states)                   # (m+n, B) and states
            strings = self._strings(outputs[0][len(given):])
            if stop:
                strings, tails = zip(*[_until(stop, tail, string) for tail, string in zip(tails, strings)])
            yield list(strings)
            given, states = outputs[0][-1:], outputs[1:]
            done, piece = done + n, min(2 * piece, LONGEST_PIECE)

    def _given(self, seed, text_length, method, count):
        """The seed as numbers (m,count), after a check of the arguments."""
        if method not in ('normal', 'argmax'):
            raise ValueError("method is {!r}: expected 'normal' or 'argmax'".format(method))
        _check_whole('text_length', text_length, 0)
        _check_whole('count', count, 1)
        if self.uchar is None:
            raise ValueError('no vocabulary: call prepare_input or load a checkpoint first')
        if not self.p:
            raise ValueError('no model yet: call model_setup first')
        if seed or not text_length:
            return np.repeat(self._numbers(seed, 'the seed')[:, None], count, axis=1)
        return self.random.integers(len(self.uchar), size=(1, count), dtype=np.int32)

    def _numbers(self, text, what):
        """A string as numbers, int (n,). Raises ValueError that names what, where it has unknown characters."""
        if self.uchar is None:
            raise ValueError('no vocabulary: call prepare_input or load a checkpoint first')
        number = {ch: k for k, ch in enumerate(self.uchar)}
        unknown = set(text) - set(number)
        if unknown:
            raise ValueError('{} has characters that the model never saw: {}'.format(what, _named(unknown)))
        return np.array([number[ch] for ch in text], np.int32)

    def _strings(self, numbers):
        """Characters (T,B) as B strings."""
        return [''.join(self.uchar[column]) for column in numbers.T]

    def _compile_sample(self, layers):
        """given, bits, n, choice and states to texts (m+n,B) and new states, as lstm_op.Sample."""
        if layers is ScanLayers:
            return self._sample_in_python
        given, bits, n, choice = T.imatrix('given'), T.lmatrix('bits'), T.lscalar('n'), T.vector('choice')
        states = T.matrices('h1', 'C1', 'h2', 'C2')
        return theano.function([given, bits, n, choice] + states,
                               layers.sample(given, bits, n, choice, states, self.p))

    def _sample_in_python(self, given, bits, n, choice, *states):
        temperature, top_k, top_p = choice
        text, read = given, given
        for k in range(n):
            outputs = self._function('predict')(read, *states)
            p, states = outputs[0][-given.shape[1]:], outputs[1:]                  # (B, V) after the last step
            if temperature != 1:
                p = (p / p.max(axis=1, keepdims=True)) ** np.asarray(1 / temperature, p.dtype)
            p = lstm_op.likely(p, int(top_k), top_p)
            read = lstm_op.choose(p, bits[k] if len(bits) else None)[None]
            text = np.concatenate([text, read])
        return [text] + list(states)

    def score_text(self, text):
        """How well the model expects a text: the cost of each character but the first, in nats, float (n-1,).

        The text may be a string or numbers of uchar, int (n,), of any length; it
        is read once with the state carried along.
        """
        numbers = self._numbers(text, 'the text') if isinstance(text, str) else np.asarray(text)
        if len(numbers) < 2:
            raise ValueError('the text to score has {} characters: at least 2 are needed'.format(len(numbers)))
        costs, states = [], self._zero_states(1)
        for start in range(0, len(numbers) - 1, SCORED):
            x, y = [_as_batch('text', numbers[start + shift:min(start + SCORED, len(numbers) - 1) + shift], self._V())
                    for shift in (0, 1)]
            outputs = self._function('predict')(x, *states)
            probabilities, states = outputs[0], outputs[1:]                        # (T, V)
            # A probability too small for its type costs as much as the smallest there is.
            expected = probabilities[np.arange(len(y)), y[:, 0]]
            costs.append(-np.log(np.maximum(expected, np.finfo(expected.dtype).tiny)))
        return np.concatenate(costs)

    # ---- checkpoints

    def save_params(self, filename, progress=None):
        """Write all that this object is to an npz file, whole or not at all; '.npz' is added where it lacks.

        That is the parameters and uchar, which load_params reads, and for
        resume RMSprop's averages, the carried states, the generator, the
        learning parameters and progress, a dict of the caller's that JSON can
        hold. Returns the file's name. Raises OSError when it cannot be written.
        """
        if not self.p or self.uchar is None:
            raise ValueError('nothing to save: there are no parameters or no vocabulary yet')
        filename = os.fspath(filename)
        filename += '' if filename.endswith('.npz') else '.npz'
        arrays = {name: p.get_value(borrow=True) for name, p in self.p.items()}
        arrays.update(('m_' + name, m.get_value(borrow=True)) for name, m in self._averages.items())
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("{} was not written: the parameters or RMSprop's averages are not finite any more".format(
                filename))
        arrays.update(zip(CARRIED, self._carried or []))
        about = dict(lp=self.lp, random=self.random.bit_generator.state, text=self._text, progress=progress,
                     versions=dict(python='.'.join(map(str, sys.version_info[:3])), numpy=np.__version__,
                                   theano=theano.__version__))
        # In memory first: on a full disk zipfile would print a traceback when it is cleaned away.
        npz = io.BytesIO()
        np.savez(npz, uchar=np.array(list(self.uchar)), about=np.array(json.dumps(about)), **arrays)
        with write_whole(filename) as f:
            f.write(npz.getbuffer())
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
            self._cut(self._recoded(self._codes, self.uchar, uchar))
        self._set_parameters(arrays, uchar)

    def resume(self, filename):
        """Become what save_params wrote, after prepare_input and model_setup with the same arguments as then.

        Training goes on from there as if it had never stopped, bit for bit.
        Returns progress as save_params was given it. Raises what load_params
        raises, and ValueError for a checkpoint without all that is needed.
        """
        about = read_about(filename)
        averages = ['m_' + name for name in NAMES]
        more = _stored_arrays(filename, needed=(), more=averages + list(CARRIED))
        self.load_params(filename)
        try:
            for name in NAMES:
                m, average = self._averages[name], more['m_' + name].astype(theano.config.floatX)
                if average.shape != m.get_value(borrow=True).shape or not np.isfinite(average).all():
                    raise KeyError(name)
                m.set_value(average)
            self._carried = [more[name].astype(theano.config.floatX) for name in CARRIED if name in more] or None
            self.random.bit_generator.state = about['random']
            return about['progress']
        except (KeyError, TypeError, ValueError):
            raise ValueError('{} holds no run that can be resumed; --init (init_params in Python) starts a new one '
                             'from its parameters'.format(filename))

    def init_params(self, filename):
        """Start from the parameters of a checkpoint of another text, after prepare_input and model_setup.

        Characters that both texts have keep their rows and columns; the others
        stay as they are in a new model. Raises what load_params raises, and
        ValueError when the units differ.
        """
        arrays, uchar = read_checkpoint(filename)
        units = [arrays[name].shape[-1] for name in ('W1', 'W2')]
        if units != self._units():
            raise ValueError('{} has {} and {} units, this model {} and {}: they must be the same'.format(
                *[filename] + units + self._units()))
        number = {ch: k for k, ch in enumerate(uchar)}
        here = [k for k, ch in enumerate(self.uchar) if ch in number]
        there = [number[self.uchar[k]] for k in here]
        for name, by_character in (('U1', np.s_[:, :, here]), ('V', here), ('c', here)):
            new = self.p[name].get_value()
            new[by_character] = arrays[name][np.s_[:, :, there] if name == 'U1' else there]
            arrays[name] = new
        self._set_parameters(arrays, self.uchar)

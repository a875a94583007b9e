"""The cells of the experiments in README.md, for train.py --cell. Your own such file needs the same import."""
from charlstm import CharLSTM, tt

sigmoid, softplus, tanh, relu = tt.nnet.sigmoid, tt.nnet.softplus, tt.tanh, tt.nnet.relu


class ForgetBias(CharLSTM):
    """A forget gate with 1 added to its bias: where a new model keeps 50 % of C at each step, 73 % = sigmoid(1)."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        C = sigmoid(a_f + 1) * C_prev + sigmoid(a_i) * tanh(a_g)
        return sigmoid(a_o) * tanh(C), C


class NoForgetGate(CharLSTM):
    """The original cell, which only adds to C (Hochreiter & Schmidhuber 1997)."""

    @staticmethod
    def cell(a_i, a_o, a_g, C_prev):
        C = C_prev + sigmoid(a_i) * tanh(a_g)
        return sigmoid(a_o) * tanh(C), C


class NoInputGate(CharLSTM):
    """Coupled gates: the input gate is 1 - f (Greff et al. 2015)."""

    @staticmethod
    def cell(a_f, a_o, a_g, C_prev):
        f = sigmoid(a_f)
        C = f * C_prev + (1 - f) * tanh(a_g)
        return sigmoid(a_o) * tanh(C), C


class NoOutputGate(CharLSTM):
    """A cell whose output is all of tanh(C) at every step."""

    @staticmethod
    def cell(a_f, a_i, a_g, C_prev):
        C = sigmoid(a_f) * C_prev + sigmoid(a_i) * tanh(a_g)
        return tanh(C), C


class Peepholes(CharLSTM):
    """Gates that also see the cell state (Gers & Schmidhuber 2000)."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev, p_f=0, p_i=0, p_o=0):
        C = sigmoid(a_f + p_f * C_prev) * C_prev + sigmoid(a_i + p_i * C_prev) * tanh(a_g)
        return sigmoid(a_o + p_o * C) * tanh(C), C


class RNN(CharLSTM):
    """A simple recurrent network, whose only state is h (Elman 1990)."""

    @staticmethod
    def cell(a_h, C_prev):
        h = tanh(a_h)
        return h, h


class GRU(CharLSTM):
    """A gated recurrent unit (Cho et al. 2014), as in cuDNN: r scales W.h + b of n, after the product."""
    remembers = {'z': 1}

    @staticmethod
    def cell(a_z, a_r, x_n, h_n, C_prev):
        z, n = sigmoid(a_z), tanh(x_n + sigmoid(a_r) * h_n)
        h = z * C_prev + (1 - z) * n
        return h, h


class GRU2014(CharLSTM):
    """A gated recurrent unit as first published (Cho et al. 2014): r scales h before the product."""
    remembers = {'z': 1}

    @staticmethod
    def cell(a_z, a_r, x_n, C_prev, M_n):
        z, n = sigmoid(a_z), tanh(x_n + tt.dot(sigmoid(a_r) * C_prev, M_n))
        h = z * C_prev + (1 - z) * n
        return h, h


class MinGRU(CharLSTM):
    """A GRU without recurrent weights: its gates read only the input (Feng et al. 2024)."""
    remembers = {'z': -1}

    @staticmethod
    def cell(x_z, x_n, C_prev):
        z = sigmoid(x_z)
        h = (1 - z) * C_prev + z * x_n
        return h, h


class SLSTM(CharLSTM):
    """An LSTM with an exponential input gate, scaled by the state m, and a normaliser n (Beck et al. 2024)."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_z, C_prev, n_prev, m_prev):
        log_f = -softplus(-a_f)                            # log(sigmoid(a_f))
        m = tt.maximum(log_f + m_prev, a_i)
        f, i = tt.exp(log_f + m_prev - m), tt.exp(a_i - m)
        C, n = f * C_prev + i * tanh(a_z), f * n_prev + i
        return sigmoid(a_o) * C / n, C, n, m


class MLSTM(CharLSTM):
    """A multiplicative LSTM, whose gates read a product of input and h (Krause et al. 2016)."""

    @staticmethod
    def cell(x_f, x_i, x_o, x_g, x_m, h_m, C_prev, M_f, M_i, M_o, M_g):
        m = x_m * h_m
        f, i, o = [sigmoid(x + tt.dot(m, M)) for x, M in ((x_f, M_f), (x_i, M_i), (x_o, M_o))]
        C = f * C_prev + i * tanh(x_g + tt.dot(m, M_g))
        return o * tanh(C), C


class ReLU(CharLSTM):
    """A cell with relu, which has no upper bound, in place of both tanh."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        C = sigmoid(a_f) * C_prev + sigmoid(a_i) * relu(a_g)
        return sigmoid(a_o) * relu(C), C


def normalised(a):
    """Return a (B,H) with mean 0 and variance 1 over its units."""
    return (a - a.mean(axis=1, keepdims=True)) / tt.sqrt(a.var(axis=1, keepdims=True) + 1e-5)


class Normalised(CharLSTM):
    """Layer normalisation: of each row, scaled by s, and of what tanh reads of C (Ba et al. 2016)."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev, s_f=1, s_i=1, s_o=1, s_g=1, s_C=1, b_f=1, b_C=0):
        f, i = sigmoid(s_f * normalised(a_f) + b_f), sigmoid(s_i * normalised(a_i))
        C = f * C_prev + i * tanh(s_g * normalised(a_g))
        return sigmoid(s_o * normalised(a_o)) * tanh(s_C * normalised(C) + b_C), C

"""The edited cells of the experiments in README.md, for train.py --cell. Your own such file needs the same import."""
from charlstm import CharLSTM, tt

sigmoid, tanh, relu = tt.nnet.sigmoid, tt.tanh, tt.nnet.relu


class ForgetBias(CharLSTM):
    """A forget gate with 1 added to its bias: a new model keeps sigmoid(1) = 73 % of C at each step, not 50 %."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        C = sigmoid(a_f + 1) * C_prev + sigmoid(a_i) * tanh(a_g)
        return sigmoid(a_o) * tanh(C), C


class NoForgetGate(CharLSTM):
    """The original cell, which only adds to C (Hochreiter & Schmidhuber 1997)."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        C = C_prev + sigmoid(a_i) * tanh(a_g)
        return sigmoid(a_o) * tanh(C), C


class NoInputGate(CharLSTM):
    """Coupled gates: the input gate is 1 - f (Greff et al. 2015)."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        f = sigmoid(a_f)
        C = f * C_prev + (1 - f) * tanh(a_g)
        return sigmoid(a_o) * tanh(C), C


class NoOutputGate(CharLSTM):
    """A cell whose output is all of tanh(C) at every step."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        C = sigmoid(a_f) * C_prev + sigmoid(a_i) * tanh(a_g)
        return tanh(C), C


class GRU(CharLSTM):
    """A gated recurrent unit (Cho et al. 2014): its only state is C. The reset gate i scales a_o, the part from h."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        z = sigmoid(a_f)
        C = z * C_prev + (1 - z) * tanh(a_g + sigmoid(a_i) * a_o)
        return C, C


class ReLU(CharLSTM):
    """A cell with relu, which has no upper bound, in place of both tanh."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        C = sigmoid(a_f) * C_prev + sigmoid(a_i) * relu(a_g)
        return sigmoid(a_o) * relu(C), C

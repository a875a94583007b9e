"""The edited cells of the experiments in README.md, for train.py --cell. Such a file of yours needs the same import."""
from charlstm import CharLSTM, tt

sigmoid, tanh, relu = tt.nnet.sigmoid, tt.tanh, tt.nnet.relu


class ForgetBias(CharLSTM):
    """A forget gate with 1 added to its bias: a new model keeps sigmoid(1) = 73 % of C at each step, not 50 %."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        C = sigmoid(a_f + 1) * C_prev + sigmoid(a_i) * tanh(a_g)
        return sigmoid(a_o) * tanh(C), C


class NoForgetGate(CharLSTM):
    """The cell of 1997, which only adds to C (Hochreiter & Schmidhuber 1997)."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        C = C_prev + sigmoid(a_i) * tanh(a_g)
        return sigmoid(a_o) * tanh(C), C


class NoInputGate(CharLSTM):
    """Coupled gates: what is forgotten makes room for what comes in (Greff et al. 2015)."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        f = sigmoid(a_f)
        C = f * C_prev + (1 - f) * tanh(a_g)
        return sigmoid(a_o) * tanh(C), C


class NoOutputGate(CharLSTM):
    """All of C is shown at every step."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        C = sigmoid(a_f) * C_prev + sigmoid(a_i) * tanh(a_g)
        return tanh(C), C


class GRU(CharLSTM):
    """A gated recurrent unit (Cho et al. 2014): its one state is C. The reset gate i acts on a_o, the part from h."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        z = sigmoid(a_f)
        C = z * C_prev + (1 - z) * tanh(a_g + sigmoid(a_i) * a_o)
        return C, C


class ReLU(CharLSTM):
    """relu, which has no upper bound, for both tanh."""

    @staticmethod
    def cell(a_f, a_i, a_o, a_g, C_prev):
        C = sigmoid(a_f) * C_prev + sigmoid(a_i) * relu(a_g)
        return sigmoid(a_o) * relu(C), C

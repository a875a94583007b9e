"""Whether numbers and texts are those of a model: what the tests and the benchmarks share."""
import numpy as np


def assert_near(found, expected, atol, what):
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=what)


def assert_most_probable(chosen, probabilities, atol, what):
    """Assert that characters chosen (T,B) are those of the largest probabilities (T,B,V), or as probable."""
    of_chosen = np.take_along_axis(probabilities, chosen[:, :, None], axis=2)[:, :, 0]
    assert_near(of_chosen, probabilities.max(axis=2), atol, what)


def assert_drawn(text, probabilities, what):
    """Assert that drawn characters (T,B) cost the entropy of probabilities (T,B,V), within five deviations."""
    logs = np.log(np.maximum(probabilities, 1e-300))
    costs = -np.take_along_axis(logs, text[:, :, None], axis=2)[:, :, 0]
    entropies = -(probabilities * logs).sum(axis=2)
    variances = (probabilities * logs ** 2).sum(axis=2) - entropies ** 2
    assert variances.sum() > 1, what           # otherwise nothing is drawn
    assert abs((costs - entropies).sum()) < 5 * np.sqrt(variances.sum()), f'{what}: {costs.mean()}, {entropies.mean()}'


def to_bfloat16(x):
    """Return numbers rounded to 8 significant bits, of two as near to the even one."""
    fraction, exponent = np.frexp(x)
    return np.ldexp(np.rint(fraction * 256) / 256, exponent)

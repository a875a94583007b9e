"""Assertions that numbers and texts are a model's, shared by the tests and the benchmarks."""
import numpy as np


def assert_near(found, expected, atol, what):
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=what)


def assert_most_probable(chosen, probabilities, atol, what):
    """Assert that the characters chosen (T,B) have the largest of the probabilities (T,B,V), up to atol."""
    of_chosen = np.take_along_axis(probabilities, chosen[:, :, None], axis=2)[:, :, 0]
    assert_near(of_chosen, probabilities.max(axis=2), atol, what)


def assert_drawn(text, probabilities, what):
    """Assert that a drawn text (T,B) costs the entropy of probabilities (T,B,V), within five standard deviations."""
    logs = np.log(np.maximum(probabilities, 1e-300))
    costs = -np.take_along_axis(logs, text[:, :, None], axis=2)[:, :, 0]
    entropies = -(probabilities * logs).sum(axis=2)
    variances = (probabilities * logs ** 2).sum(axis=2) - entropies ** 2
    assert variances.sum() > 1, what           # otherwise the text is all but certain
    assert abs((costs - entropies).sum()) < 5 * np.sqrt(variances.sum()), f'{what}: {costs.mean()}, {entropies.mean()}'


def to_bfloat16(x):
    """Return numbers rounded to 8 significant bits, ties to even."""
    fraction, exponent = np.frexp(x)
    return np.ldexp(np.rint(fraction * 256) / 256, exponent)

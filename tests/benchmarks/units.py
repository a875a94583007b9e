"""Which units a model needs for line ends and quotation marks, and how well they tell the position in the line.

    python tests/benchmarks/units.py PARAMS [PARAMS ...]

On the held-out text of each checkpoint: the unit without which line ends, or quotation marks, cost most, and how much
more than now, in nats (CharLSTM.ablations); the same for the next unit, for the median of the ten units whose h vary
about as much, and without the 2, 4 and 8 worst at once. Then the share of the variance of the position in the line that
is predicted in the second half of the text, by ridge regression on the first: from the C of this unit, from all C, from
all others, and from all C if the positions are shuffled.
"""
import argparse
from pathlib import Path

import numpy as np

from common import print_head, table
from charlstm import CharLSTM
from engine.data.features import FEATURES
from engine.model.state import sizes
from engine.page.page import held_out
from engine.run.checkpoint import opened


def ridge(states, feature):
    """Return the share of the variance of a feature (n,) that states (n,H) predict in the second half."""
    half, X = len(feature) // 2, (states - states.mean(axis=0)) / (states.std(axis=0) + 1e-6)
    train, test = X[:half], X[half:]
    middle = feature[:half].mean()
    weights = np.linalg.solve(train.T @ train + 100 * np.eye(X.shape[1]), train.T @ (feature[:half] - middle))
    return 1 - np.square(feature[half:] - middle - test @ weights).mean() / feature[half:].var()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('params', metavar='PARAMS', nargs='+', type=Path, help='a checkpoint with its held-out text')
    options = parser.parse_args()
    print_head()
    row = table('                model', '        without', ' unit', ' costs', '  next', ' alike', '     2', '     4',
                '     8', 'R2 of it', 'of all', 'others', 'shuffled')
    for path in options.params:
        model = CharLSTM()
        model.model_setup(path)
        text = held_out(opened(path)).text
        states, rises = model.states(text), model.ablations(text)
        h, C = [np.hstack([array.astype(float) for name, array in states.items() if name[0] == kind]) for kind in 'hC']
        names = [(k, unit) for k, H in enumerate(sizes(model), 1) for unit in range(H)]
        feature = FEATURES['position in the line'](text).astype(float)
        for kind in ('line ends', 'quotation marks'):
            worst = np.argsort(-rises[kind])
            alike = np.argsort(abs(h.std(axis=0) - h[:, worst[0]].std()))[1:11]
            more = model.ablations(text, [[names[k] for k in worst[:n]] for n in (2, 4, 8)])[kind]
            predicted = [ridge(*each) for each in (
                (C[:, worst[:1]], feature), (C, feature), (np.delete(C, worst[0], axis=1), feature),
                (C, np.random.default_rng(1).permutation(feature)))]
            layer, unit = names[worst[0]]
            costs = *rises[kind][worst[:2]], np.median(rises[kind][alike]), *more
            row(path.name.split('_')[0], kind, f'C{layer}:{unit}', *[f'{cost:.3f}' for cost in costs],
                *[f'{share:.2f}' for share in predicted])


if __name__ == '__main__':
    main()

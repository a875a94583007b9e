"""Find words in letters (Elman 1990): python -m engine.lesson words TEXT"""
import io
import re
from collections import Counter

import numpy as np

from charlstm import CharLSTM
from engine.data.text import read_text


def peaks(costs):
    """Return where a number is larger than both of its neighbours, bool (n,)."""
    return np.concatenate([[False], (costs[1:-1] > costs[:-2]) & (costs[1:-1] > costs[2:]), [False]])


def transition_costs(seen, letters):
    """Return -log p of each letter after the one before it, as counted in `seen` (Saffran et al. 1996); first 0."""
    pairs, single = Counter(zip(seen, seen[1:])), Counter(seen)
    return np.array([0, *[-np.log(max(pairs[pair], 0.5) / single[pair[0]]) for pair in zip(letters, letters[1:])]])


def measures(cuts, begins):
    """Return F1, precision and recall of cuts between letters, bool (n,). begins: where words begin."""
    right = (cuts & begins).sum()
    return 2 * right / (cuts.sum() + begins.sum()), right / cuts.sum(), right / begins.sum()


def program(options):
    """Train on 70 % of the words without spaces, read the rest, and cut before each letter whose cost is a peak."""
    codes, uchar, _ = read_text(options.text)
    words = re.findall(r"[\w']+", ''.join(uchar[codes]).lower())
    split = int(0.7 * len(words))
    seen = ''.join(words[:split])
    words = [word for word in words[split:] if set(word) <= set(seen)]
    letters = ''.join(words)
    begins = np.zeros(len(letters), bool)
    begins[np.cumsum([len(word) for word in words[:-1]], dtype=int)] = True
    model = CharLSTM(random_seed=1)
    for epoch in model.fit(io.StringIO(seen), recipe='small'):
        print(epoch)
    costs = np.concatenate([[0], model.score_text(letters)])
    cuts = {'at peaks of the cost': peaks(costs),
            'at peaks of -log p of a pair': peaks(transition_costs(seen, letters)),
            'at random': np.random.default_rng(1).random(len(letters)) < begins.mean()}
    print(f'\n{"cuts":30}    F1  precision  recall')
    for name, where in cuts.items():
        print('{:30} {:.3f}      {:.3f}   {:.3f}'.format(name, *measures(where, begins)))
    print('\n' + ''.join(f' {letter}' if cut else letter for cut, letter in zip(peaks(costs)[:300], letters)))

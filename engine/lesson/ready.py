"""Say whether this computer is ready for the lesson: python -m engine.lesson ready"""
import importlib.util
import platform
import time

from charlstm import CharLSTM

EPOCHS = 40                            # of train.py --small


def program(options):
    """Train for two epochs, the first of which also compiles, write, and look for the notebook's packages."""
    model, ends = CharLSTM(random_seed=1), []
    for _ in model.fit(recipe='small', epochs=2, verbose=False):
        ends.append(time.time())
    model.generate_text('\n', 100)
    print(f'Python {platform.python_version()}; train.py --small takes about {EPOCHS * (ends[1] - ends[0]):.0f} s on '
          f'{model.computes_on()}')
    missing = [name for name in ('notebook', 'matplotlib') if importlib.util.find_spec(name) is None]
    print('this laptop is ready' + ''.join(f', except for {name}: pip install {name}' for name in missing))

"""Say whether this computer is ready for the lesson: python -m engine.lesson ready"""
import importlib.util
import os
import platform
import time

from charlstm import CharLSTM
from engine.files import named, partial_name
from engine.terminal import BUNDLED, ROOT

EPOCHS = 40                            # of train.py --small


def problems(root, checkpoint):
    """Return a line for each folder of the lesson where no file can be written, and for a checkpoint without use."""
    found = []
    for name in ('', 'text_input', 'text_output', 'training_results'):
        folder = os.path.join(root, name)
        path = partial_name(os.path.join(folder, 'ready'))
        try:
            with named('write in', folder):
                with open(path, 'w', encoding='ascii') as file:
                    file.write('ready')
                os.remove(path)
        except OSError as error:
            found.append(str(error))
    try:
        CharLSTM().model_setup(checkpoint)
    except (OSError, ValueError) as error:
        found.append(str(error))
    return found


def program(options):
    """Try the files, train for two epochs, the first of which also compiles, write, and look for the packages."""
    found = problems(ROOT, BUNDLED)
    if found:
        raise ValueError('; '.join(found))
    model, ends = CharLSTM(random_seed=1), []
    for _ in model.fit(recipe='small', epochs=2, verbose=False):
        ends.append(time.time())
    model.generate_text('\n', 100)
    print(f'Python {platform.python_version()}; train.py --small takes about {EPOCHS * (ends[1] - ends[0]):.0f} s on '
          f'{model.computes_on()}')
    missing = [name for name in ('notebook', 'matplotlib') if importlib.util.find_spec(name) is None]
    print('this laptop is ready' + ''.join(f', except for {name}: pip install {name}' for name in missing))

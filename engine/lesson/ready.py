"""Say whether this computer is ready for the lesson: python -m engine.lesson ready"""
import importlib.util
import os
import platform
import tempfile
import time

from charlstm import CharLSTM
from engine.data.text import read_text
from engine.files import named
from engine.terminal import BUNDLED, ROOT


def check_files(root, checkpoint):
    """Raise OSError for a folder in which no file can be written, or ValueError for a file that cannot be used."""
    for name in ('', 'text_input', 'text_output', 'training_results'):
        folder = os.path.join(root, name)
        with named('write in', folder), tempfile.TemporaryFile(dir=folder) as file:
            file.write(b'ready')
    try:
        CharLSTM().model_setup(checkpoint)
        read_text(f'{checkpoint[:-4]}_held_out.txt')
    except (OSError, ValueError) as error:
        raise ValueError(f'{str(error).partition(";")[0]}: copy the folder of CharLSTM again') from None


def program(options):
    """Try the files, train for two epochs, the first of which also compiles, write, and look for the packages."""
    check_files(ROOT, BUNDLED)
    model, ends = CharLSTM(random_seed=1), []
    for _ in model.fit(recipe='small', epochs=2, verbose=False):
        ends.append(time.time())
    model.generate_text('\n', 100)
    print(f'Python {platform.python_version()}; train.py --small takes about {40 * (ends[1] - ends[0]):.0f} s on '
          f'{model.computes_on()}')
    missing = [name for name in ('notebook', 'matplotlib') if importlib.util.find_spec(name) is None]
    print('this laptop is ready' + ''.join(f', except for {name}: pip install {name}' for name in missing))

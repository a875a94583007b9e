"""Train on a short text with NumPy alone: python -m engine.lesson train TEXT OUT"""
import numpy as np

from engine.data.parameters import parameter_shapes
from engine.data.text import read_text
from engine.files import refuse_to_replace, write_whole
from engine.lesson.numpy_lstm import learn, write


def program(options):
    refuse_to_replace(options.out, options.overwrite, [options.text])
    codes, uchar, _ = read_text(options.text)
    random, H = np.random.default_rng(1), 64               # units per layer
    shapes = parameter_shapes(len(uchar), (H, H))
    p = {name: random.uniform(-H ** -0.5, H ** -0.5, shape) for name, shape in shapes.items()}
    for epoch, cost in enumerate(learn(p, codes, options.epochs), 1):
        with write_whole(options.out) as file:
            np.savez(file, uchar=np.array(list(uchar)), **p)
        print(f'epoch {epoch}: cost {cost:.4f} nats; it writes {"".join(uchar[write(p, random, 60)])!r}', flush=True)

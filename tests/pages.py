"""What the tests of the views share: the data of a page, what an independent model expects in it, and its colours."""
import base64
import colorsys
import json
import re

import numpy as np

import numpy_model
from cells import OWN, peephole_cell
from charlstm import CharLSTM
from engine.backend.theano_setup import theano
from engine.page.page import to_float16, write_page
from models import default_mode
from scripts import TEXT

HOSTILE = ('</script><script>hacked=1</script><img src=x onerror=hacked=1><!--<script>&lt;\0\x1b]0;\u2028\u2029'
           '\U0001d11e\u202e\u05d0\u05d1\u0627\ud800"\'\\`${hacked=1}{{data}}')
# In the browser: whether no text was taken for HTML.
NOT_HACKED = "typeof hacked === 'undefined' && !document.querySelector('img')"

# Makes each slice of the work of a page so short that it has one part.
SLOWLY = 'void (performance.now = (now => () => now += 31)(0))'

# After network.js in a JavaScript engine.
HELPERS = '''
const arrays = p => Object.fromEntries(Object.entries(p).map(([name, array]) => [name, Float32Array.from(array)]));
const times = (n, next) => Array.from({length: n}, next);
const written = (n, p, prime, choice, writer = new Writer(arrays(p), prime, choice)) => (
  times(prime.length + n, () => writer.next()));
const randoms = (n, seed, random = new Random(seed)) => times(n, () => random.next());
'''


def write_page_of(checkpoint, path, text, source='a text', **more):
    """Write the page of a checkpoint and a text. Return its path. more: as for write_page."""
    model = CharLSTM()
    model.model_setup(str(checkpoint))
    with default_mode(theano.compile.mode.FAST_COMPILE):
        write_page(path, model, str(checkpoint), text, source, **more)
    return path


def model_of_own_cell(text):
    """Return a model with peepholes that learns a text file. Call model_setup in a default_mode."""
    model = CharLSTM(random_seed=2)
    model.cell, model.cell_parameters = peephole_cell, dict(p_f=0.3, p_i=-0.2, p_o=0.4)
    model.prepare_input(text, 0.4, 3, 7, verbose=False)
    return model


def page_of_own_cell(folder, text, scale=1):
    """Write the page of TEXT[:300] and a model with peepholes of a text file, with the parameters as the page has them.

    scale: factor on the parameters. Return the path of the page, and the model, which is compiled to predict.
    """
    model, path = model_of_own_cell(text), folder / 'page.html'
    with default_mode(theano.compile.mode.FAST_COMPILE):
        model.model_setup(num_units1=7, num_units2=5, initial='chrono')
        for name in OWN:
            model.p[name + '2'].set_value(np.linspace(-1, 1, 5).astype('float32'))
        for p in model.p.values():
            p.set_value(to_float16(scale * p.get_value()).astype('float32'))
        write_page(path, model, model.save_params(folder / 'p.npz'), TEXT[:300], 'a text')
    return path, model


def data_of(path):
    """Return the data of the page at a path."""
    return json.loads(re.search(b'<script type="application/json" id="data">(.*?)<', path.read_bytes()).group(1))


def array_of(stored):
    return np.frombuffer(base64.b64decode(stored['base64']), stored['type'])


def expected_of(p, text=TEXT[:700]):
    """Return what numpy_model.py computes for a text: codes (n,), probabilities (n-1,V) and costs (n-1,)."""
    codes = np.array([list(p['uchar']).index(ch) for ch in text])
    probabilities = numpy_model.forward(p, codes[:-1, None])[0]
    return codes, probabilities[:, 0], numpy_model.costs(probabilities, codes[1:, None])[:, 0]


def colour(level, dark=False):
    """Return the colour of a level from 1 to 15 or from -15 to -1, red, green and blue. Levels differ in lightness."""
    hue, saturation = (18, 0.8) if level > 0 else (208, 0.68)
    lightness = (0.12 + 0.66 * abs(level) / 15) if dark else (0.96 - 0.66 * abs(level) / 15)
    return [255 * part for part in colorsys.hls_to_rgb(hue / 360, lightness, saturation)]


def assert_colours(browser, selector, levels, dark=False, margin=0.02):
    """Assert that elements have the colours of levels (n,) from -16 to 16: none below 1, and another hue below 0.

    Levels nearer than margin to a whole number are not looked at, since they may be rounded to either side.
    """
    found = browser.colours(selector)
    here = browser.all(selector, "element.classList.contains('here')")
    assert len(found) == len(levels)
    clear = [k for k in range(len(levels)) if abs(levels[k] - np.rint(levels[k])) > margin and not here[k]]
    assert len({int(levels[k]) for k in clear}) > 2
    for k in clear:
        level = int(np.clip(levels[k], -15, 15))
        expected = colour(level, dark) if level else [0, 0, 0, 0]
        np.testing.assert_allclose(found[k], expected, atol=1.5, err_msg=str(k))


def place(k):
    """Return the selector of the character k of the text."""
    return f'#character-{k}'


def looked_at(browser):
    """Return the number of the character that the reader looks at."""
    return int(browser.all('#text .here', 'element.id')[0][len('character-'):])


def shown(character):
    """Return the name of a character in a page."""
    return {' ': 'space', '\n': 'line end'}.get(character, character)


def random_numbers(browser, n, seed):
    """Return the first random numbers of the page for a seed."""
    return browser.value(f'(random => Array.from({{length: {n}}}, () => random.next()))(new Random({seed}))')

"""What the tests of the views share: the data of a page, what an independent model expects in it, and its colours."""
import base64
import colorsys
import json
import re

import numpy as np

import numpy_model
from scripts import TEXT

HOSTILE = ('</script><script>hacked=1</script><img src=x onerror=hacked=1><!--<script>&lt;\0\x1b]0;\u2028\u2029'
           '\U0001d11e\u202e\u05d0\u05d1\u0627\ud800"\'\\`${hacked=1}{{data}}')


# After network.js in a JavaScript engine.
HELPERS = '''
const arrays = p => Object.fromEntries(Object.entries(p).map(([name, array]) => [name, Float32Array.from(array)]));
const probabilities = (p, x, network = new Network(arrays(p))) => x.map(k => Array.from(network.read(k)));
const times = (n, next) => Array.from({length: n}, next);
const written = (n, p, prime, choice, writer = new Writer(arrays(p), prime, choice)) => (
  times(prime.length + n, () => writer.next()));
const randoms = (n, seed, random = new Random(seed)) => times(n, () => random.next());
'''


def data_of(path):
    """Return the data of the page at a path."""
    return json.loads(re.search(b'<script type="application/json" id="data">(.*?)<', path.read_bytes()).group(1))


def array_of(stored):
    return np.frombuffer(base64.b64decode(stored['base64']), stored['type'])


def expected_of(p):
    """Return what numpy_model.py computes for TEXT[:700]: codes (700,), probabilities (699,V) and costs (699,)."""
    codes = np.array([list(p['uchar']).index(ch) for ch in TEXT[:700]])
    probabilities = numpy_model.forward(p, codes[:-1, None])[0]
    return codes, probabilities[:, 0], numpy_model.costs(probabilities, codes[1:, None])[:, 0]


def colour(level, dark=False, hue=18, saturation=0.8):
    """Return the colour of a level from 1 to 15 as red, green and blue. Levels differ in lightness."""
    lightness = (0.12 + 0.66 * level / 15) if dark else (0.96 - 0.66 * level / 15)
    return [255 * part for part in colorsys.hls_to_rgb(hue / 360, lightness, saturation)]


def colour_in(browser, place):
    """Return a colour of the page as red, green, blue and, unless it is opaque, opacity."""
    return [float(number) for number in re.findall(r'[\d.]+', browser.value(f'getComputedStyle({place}'))]


def shown_colour(browser, k):
    """Return the background of the character k."""
    return colour_in(browser, f'spans[{k}]).backgroundColor')

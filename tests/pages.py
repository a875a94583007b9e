"""Shared by the tests of the views: the data of a page, what an independent model expects, and the colours."""
import base64
import colorsys
import json
import re

import numpy as np

import numpy_model
from cells import OWN, peephole_cell
from charlstm import CharLSTM
from engine.backend.theano_setup import theano
from engine.page.cell import cell_for_page
from engine.page.page import MODEL, Shown, file_of_page, products, to_float16, write_page
from models import default_mode
from scripts import TEXT, load

HOSTILE = ('</script><script>hacked=1</script><img src=x onerror=hacked=1><!--<script>&lt;\0\x1b]0;\u2028\u2029'
           '\U0001d11e\u202e\u05d0\u05d1\u0627\ud800"\'\\`${hacked=1}{{data}}')
# True in the browser if no text was interpreted as HTML.
NOT_HACKED = "typeof hacked === 'undefined' && !document.querySelector('img')"

# For a JavaScript engine outside a browser, which has no atob.
ATOB = """
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const sixBits = one => ALPHABET.indexOf(one).toString(2).padStart(6, '0');
const atob = text => [...text.replace(/=+$/, '')].map(sixBits).join('').match(/.{8}/g).map(
  byte => String.fromCharCode(parseInt(byte, 2))).join('');
"""
# Evaluated after network.js in such an engine.
HELPERS = """
const arrays = p => Object.fromEntries(Object.entries(p).map(([name, array]) => [name, Float32Array.from(array)]));
const times = (n, next) => Array.from({length: n}, next);
const writes = (n, p, prime, choice, held, network = new Network(arrays(p), cells.standard)) => {
  network.hold(held);
  const text = written(network, prime, choice);
  return times(prime.length + n, () => text.next().value);
};
const randoms = (n, seed, random = new Random(seed)) => times(n, () => random.next());
"""


def context_of(MiniRacer, cells):
    """Return a context of a JavaScript engine that has a page's network and learner, and `cells`, Cells by name."""
    context = MiniRacer()
    of_page = json.dumps({name: cell_for_page(cell) for name, cell in cells.items()}, allow_nan=False)
    context.eval(f"{ATOB}{products()}{''.join(file_of_page(f'{name}.js') for name in MODEL)}const cells = {of_page};")
    return context


def run_in_javascript(context, code, H, inputs, n_outputs, held=()):
    """Run code by a Program of cell.js in float64. Return outputs (n_outputs,H). held: as in run().

    inputs: arrays (H,) and (H,H), and for the width of these H.
    """
    sizes = [value.size if isinstance(value, np.ndarray) else 0 for value in inputs]
    read = np.concatenate([value.ravel() for value, size in zip(inputs, sizes) if size])
    texts = [str(value).replace('inf', 'Infinity').replace('nan', 'NaN') for value in read.tolist()]
    values = [dict(at=int(end - size if size else H), width=0) for end, size in zip(np.cumsum(sizes), sizes)]
    found = context.eval(f'''(() => {{
        const numbers = new Float64Array({400 * H}), outputs = {len(read)}, rest = outputs + {n_outputs * H};
        numbers.set([{', '.join(texts)}]);
        const program = new Program({code}, {{numbers, place: () => ({{at: rest, width: {H}}}), loops: LOOPS}}, {H});
        program.run({H}, 1, [...valuesIn({{at: outputs, width: 0}}, 0, {n_outputs}, {H}),
          ...{json.dumps(values)}], {json.dumps(held)});
        return Array.from(numbers.subarray(outputs, rest), String).join();
    }})()''')
    return np.array([float(text.replace('Infinity', 'inf')) for text in found.split(',')]).reshape(n_outputs, H)


def loaded(checkpoint):
    """Return a model with the parameters of a checkpoint."""
    model = CharLSTM()
    model.model_setup(str(checkpoint))
    return model


def write_page_of(checkpoint, path, text, source='a text'):
    """Write the page of a checkpoint and a text, and return its path."""
    with default_mode(theano.compile.mode.FAST_COMPILE):
        write_page(path, loaded(checkpoint), str(checkpoint), Shown(text, source))
    return path


def page_of_own_cell(folder):
    """Write the page of TEXT[:300] and a model with peepholes, whose parameters the page stores exactly.

    Return the path of the page, and the model, which is compiled to predict.
    """
    model, path = CharLSTM(random_seed=2), folder / 'page.html'
    model.cell = peephole_cell
    (folder / 't.txt').write_text(TEXT, encoding='utf-8')
    model.prepare_input(str(folder / 't.txt'), 0.4, 3, 7, verbose=False)
    with default_mode(theano.compile.mode.FAST_COMPILE):
        model.model_setup(num_units1=7, num_units2=5, initial='chrono')
        for name in OWN:
            model.p[name + '2'].set_value(np.linspace(-1, 1, 5).astype('float32'))
        for p in model.p.values():
            p.set_value(to_float16(3 * p.get_value()).astype('float32'))
        write_page(path, model, model.save_params(folder / 'p.npz'), Shown(TEXT[:300], 'a text'))
    return path, model


def data_of(path):
    """Return the data in the page at a path."""
    return json.loads(re.search(b'<script type="application/json" id="data">(.*?)<', path.read_bytes()).group(1))


def array_of(stored):
    return np.frombuffer(base64.b64decode(stored['base64']), stored['type'])


def text_of(data):
    """Return the text in the data of a page."""
    return ''.join(data['uchar'][k] for k in array_of(data['text']))


def expected_of(p, text=TEXT[:700]):
    """Return what numpy_model.py computes for a text: codes (n,), probabilities (n-1,V) and costs (n-1,)."""
    codes = np.array([list(p['uchar']).index(ch) for ch in text])
    probabilities = numpy_model.forward(p, codes[:-1, None])[0]
    return codes, probabilities[:, 0], numpy_model.costs(probabilities, codes[1:, None])[:, 0]


def rounded(checkpoint):
    """Return the parameters of a checkpoint, rounded as in a page, and the characters."""
    return {name: array.astype('float16').astype(float) if name in numpy_model.NAMES else array
            for name, array in load(checkpoint).items()}


def read_by(p, codes):
    """Return h1, C1, h2 and C2 (n,H) after each of codes (n,) with parameters p, and the last probabilities (V,)."""
    after, found = None, []
    for code in codes:
        probabilities, after = numpy_model.forward(p, np.array([[code]]), after)
        found.append([state[:, 0] for state in after])
    return [np.array(state) for state in zip(*found)], probabilities[0, 0]


def assert_colours(browser, selector, levels, dark=False, margin=0.02):
    """Assert that elements have the colours of levels (n,) from -16 to 16: none within +-1, another hue below 0.

    Levels nearer than margin to a whole number are skipped, since they may be rounded either way.
    """
    found = browser.colours(selector)
    here = browser.all(selector, "element.classList.contains('here')")
    assert len(found) == len(levels)
    clear = [k for k in range(len(levels)) if abs(levels[k] - np.rint(levels[k])) > margin and not here[k]]
    assert len({int(levels[k]) for k in clear}) > 2
    for k in clear:
        level = int(np.clip(levels[k], -15, 15))
        hue, saturation = (18, 0.8) if level > 0 else (208, 0.68)
        lightness = (0.12 + 0.66 * abs(level) / 15) if dark else (0.96 - 0.66 * abs(level) / 15)
        colour = [255 * part for part in colorsys.hls_to_rgb(hue / 360, lightness, saturation)]
        np.testing.assert_allclose(found[k], colour if level else [0, 0, 0, 0], atol=1.5, err_msg=str(k))


def gates_of(model, text, layer, unit):
    """Return f, i, o and g (n,) of a unit of a model with peepholes, from its states after each character of a text."""
    p, states = {name: array.get_value().astype(float) for name, array in model.p.items()}, model.states(text)
    before = {name: np.vstack([0 * state[:1], state[:-1]]) for name, state in states.items()}
    x = p['U1'][:, unit, [list(model.uchar).index(ch) for ch in text]].T if layer == 1 else (
        states[f'h{layer - 1}'] @ p[f'U{layer}'][:, unit].T)
    a = x + before[f'h{layer}'] @ p[f'W{layer}'][:, unit].T + p[f'b{layer}'][:, unit]                     # (n,4)
    C_prev, C = before[f'C{layer}'][:, unit], states[f'C{layer}'][:, unit]
    seen = [p[name + str(layer)][unit] * state for name, state in (('p_f', C_prev), ('p_i', C_prev), ('p_o', C))]
    return dict(zip('fio', numpy_model.sigmoid(a[:, :3] + np.transpose(seen)).T), g=np.tanh(a[:, 3]))


def levels_of_cells(browser, path, values, unit, of_page):
    """Return the colour levels of a unit's values: low ones are deep if it correlates negatively with the feature.
    of_page: its values in the page's text, whose range the colours have."""
    against = data_of(path)['correlations'][browser.value("byId('feature').value")][unit] < 0
    low, high = np.sort(of_page)[[int(0.02 * len(of_page)), int(0.98 * (len(of_page) - 1))]]
    share = (values - low) / (high - low)
    return -np.clip(16 * (1 - share if against else share), 0, 15.5)


def levels_of(browser):
    """Return the exact levels of the colours of the text's characters."""
    return np.array(browser.all('#text span', 'element.level'), float)


def assert_mean(browser, selector, costs):
    """Assert that the last number in an element is the mean of costs in nats."""
    np.testing.assert_allclose(numbers(browser.text(selector))[-1], costs.mean(), atol=5.1e-3)


def assert_chance(text, p):
    """Assert that a text names a chance p as '1 in 40' or '36 %', rounded."""
    one_in, percent = re.search(r'chance (?:of )?(?:1 in ([\d,]+)|([\d.]+) %)', text).groups()
    found, expected = (float(one_in.replace(',', '')), 1 / p) if one_in else (float(percent), 100 * p)
    assert abs(found - expected) < 0.51, (text, p)


def looked_at(browser):
    """Return the index of the selected character."""
    return int(browser.all('#text .here', 'element.id')[0][len('character-'):])


def shown(character):
    """Return the name of a character in a page."""
    return {' ': 'space', '\n': 'line end'}.get(character, character)


def numbers(text):
    """Return the numbers in a text that writes minus as U+2212."""
    return [float(number.replace('\u2212', '-')) for number in re.findall(r'[\u2212]?\d+\.\d+', text)]


# Makes a page remember the network that it trained last in `lesson`.
REMEMBER = """Lesson.prototype.look = (look => function (...reaches) {
    window.lesson = this;
    return look.apply(this, reaches);
})(Lesson.prototype.look); 0"""


def last_look(browser, **shapes):
    """Return the parameters of a page's `lesson` at its last look, by name, and its characters. shapes: by letter."""
    found = browser.value("""Object.fromEntries(Object.entries(lesson.network.parameters()).map(
        ([name, p]) => [name, Array.from(p)]))""")
    p = {name: np.reshape(array, shapes[name[0]]) for name, array in found.items()}
    return dict(p, uchar=browser.value('lesson.uchar'))

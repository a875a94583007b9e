"""The view Inside in Chromium: the numbers of one step against an independent model, and what moves it."""
import json
import re

import numpy as np
import pytest

import numpy_model
from cells import OWN, peephole_cell
from charlstm import lstm_cell
from engine.backend.theano_setup import theano, tt
from engine.kernel.cell import Cell, js_steps
from numpy_model import NAMES, sigmoid
from pages import looked_at, page_of_own_cell, shown, write_page_of
from scripts import TEXT, load, write_chain

READY = "byId('inside-status').textContent.startsWith('It read')"


def numbers(text):
    """Return the numbers in a text, whose minus is a character of its own."""
    return [float(number.replace('\u2212', '-')) for number in re.findall(r'[\u2212]?\d+\.\d+', text)]


@pytest.fixture(scope='module')
def step_of(short_run):
    """Return a function of a text and a unit: parts of its gates (4,3), C before and after, probabilities (V,)."""
    p = load(short_run.folder / 'r_t.txt_best.npz')
    uchar = list(p['uchar'])
    p = {name: p[name].astype('float16').astype(float) for name in NAMES}

    def step(text, layer, unit):
        codes = np.array([[uchar.index(ch)] for ch in text])
        before = (numpy_model.forward(p, codes[:-1])[1] if len(text) > 1 else
                  [np.zeros((len(p[f'b{k}'][0]), 1)) for k in (1, 1, 2, 2)])
        probabilities, after = numpy_model.forward(p, codes[-1:], before)
        below = p['U1'][:, unit, codes[-1, 0]] if layer == 1 else p['U2'][:, unit] @ after[0][:, 0]
        parts = [below, p[f'W{layer}'][:, unit] @ before[2 * layer - 2][:, 0], p[f'b{layer}'][:, unit]]
        return np.array(parts).T, before[2 * layer - 1][unit, 0], after[2 * layer - 1][unit, 0], probabilities[0, 0]
    step.uchar = uchar
    return step


def sums(browser):
    """Return what the gates add up, (4,4): three parts and the sum."""
    return np.reshape([numbers(cell) for cell in browser.all('#inside-sums td')], (4, 4))


def check(browser, step_of, text, layer, unit):
    """Compare what is shown of the last character of a text with the independent model."""
    parts, C_prev, C, p = step_of(text, layer, unit)
    browser.wait(READY)
    assert browser.text('#inside-reads') == shown(text[-1]) == browser.text('#inside-status b')
    np.testing.assert_allclose(sums(browser), np.column_stack([parts, parts.sum(axis=1)]), atol=0.0051)
    f, i, o = sigmoid(parts.sum(axis=1)[:3])
    g = np.tanh(parts[3].sum())
    lines = dict(zip(browser.all('#inside-formula dt'), browser.all('#inside-formula dd')))
    assert list(lines) == ['f = sigmoid(a_f)', 'i = sigmoid(a_i)', 'g = tanh(a_g)', 'C = f \xd7 C_prev + i \xd7 g',
                           'o = sigmoid(a_o)', 'h = o \xd7 tanh(C)']
    np.testing.assert_allclose(numbers(lines['C = f \xd7 C_prev + i \xd7 g']), [f, C_prev, i, g, C], atol=0.0051)
    np.testing.assert_allclose(numbers(lines['h = o \xd7 tanh(C)']), [o, C, o * np.tanh(C)], atol=0.0051)
    assert abs(f * C_prev + i * g - C) < 1e-9
    best = np.argsort(-p)[:6]
    assert browser.all('#inside-next .what')[:6] == [shown(step_of.uchar[k]) for k in best]
    widths = browser.all('#inside-next .bar div', 'parseFloat(element.style.width)')
    np.testing.assert_allclose(widths[:6], 100 * p[best], rtol=1e-3)


def test_keys_move_from_step_to_step(browser, written, step_of):
    browser.open(written, view='#inside&place=600&unit=C2:6')
    check(browser, step_of, TEXT[:601], 2, 6)
    browser.focus('#inside-strip')
    for key, k in (('ArrowRight', 601), ('ArrowLeft', 600), ('ArrowLeft', 599), ('Home', 0), ('ArrowRight', 1)):
        browser.press(key)
        check(browser, step_of, TEXT[:k + 1], 2, 6)
    came = TEXT[2]
    assert shown(came) in browser.all('#inside-next .what.came')
    browser.press('End')
    browser.wait(READY)
    assert 'Next comes' not in browser.text('#inside-status') and looked_at(browser) == 699


def test_unit_is_chosen_by_its_name_and_by_its_square(browser, written, step_of):
    browser.open(written, view='#inside&place=30')
    browser.set('#inside-unit', 'c1:4')
    check(browser, step_of, TEXT[:31], 1, 4)
    assert browser.text('#inside-below') == 'the character'
    browser.click('#inside-layer2 rect:nth-child(4)')
    check(browser, step_of, TEXT[:31], 2, 3)
    assert browser.text('#inside-below') == 'layer 1' and browser.value("byId('inside-unit').value") == 'C2:3'
    assert browser.all('#inside-network .chosen title') == ['C2:3']
    browser.click('#tab-cells')
    assert browser.all('#units [aria-selected=true] .what') == ['C2:3']
    browser.click('#tab-inside')
    browser.set('#inside-unit', 'C2:7')
    assert browser.is_visible('#inside-wrong') and 'C1:0 to C1:4 or from C2:0 to C2:6' in browser.text('#inside-wrong')
    check(browser, step_of, TEXT[:31], 2, 3)


def test_squares_have_the_colours_of_c(browser, written, step_of):
    browser.open(written, view='#inside&place=55')
    browser.wait(READY)
    for layer, H in ((1, 5), (2, 7)):
        classes = browser.all(f'#inside-layer{layer} rect', "element.getAttribute('class')")
        levels = [step_of(TEXT[:56], layer, unit)[2] / 2 * 16 for unit in range(H)]
        for found, level in zip(classes, levels):
            if abs(level - np.rint(level)) > 0.02:
                assert f'v{min(15, int(abs(level)))}' in found.split() and ('negative' in found) == (level < 0)


def test_typing_and_the_cursor_are_followed(browser, written, step_of):
    browser.open(written, view='#inside&unit=C1:2&words=')
    browser.set('#inside-text', 'words')
    assert browser.focused() == 'inside-words' and 'Type' in browser.text('#inside-status')
    words = 'the cat'
    for k, key in enumerate(words):
        browser.press(key)
        check(browser, step_of, words[:k + 1], 1, 2)
    browser.press('ArrowLeft')
    check(browser, step_of, words[:-1], 1, 2)
    browser.press('ArrowLeft')
    browser.press('é')
    check(browser, step_of, 'the cé', 1, 2)
    browser.click('#tab-words')
    assert browser.value("byId('words-box').value") == 'the céat'


def test_what_is_typed_is_kept_and_what_is_unknown_is_named(browser, written, step_of):
    browser.open(written, view='#inside&unit=C1:2&words=the%20%E2%98%83cat')
    browser.wait(READY)
    assert not browser.is_visible('#inside-unknown')
    browser.set('#inside-text', 'words')
    check(browser, step_of, 'the cat', 1, 2)
    assert browser.text('#inside-unknown') == 'The model never saw ☃: it reads the text without.'
    browser.wait("location.hash.includes('inside=words')")
    browser.reload()
    check(browser, step_of, 'the cat', 1, 2)
    assert browser.value("byId('inside-words').value") == 'the ☃cat' and browser.is_visible('#inside-words')
    browser.value("void (location.hash = '#inside&unit=C2:5&inside=words&words=a hat')")
    browser.wait("byId('inside-words').value === 'a hat'")
    check(browser, step_of, 'a hat', 2, 5)
    assert not browser.is_visible('#inside-unknown')
    browser.set('#inside-words', '')
    assert browser.all('#inside-network .chosen') == [] and browser.text('#inside-reads') == ''
    assert set(browser.all('#inside-network rect', "element.getAttribute('class')")) == {'v0'}
    assert browser.all('#inside-next > *') == []


def test_long_paste_is_cut_as_in_your_words(browser, written):
    browser.open(written, view='#inside&inside=words&words=')
    browser.value("void (byId('inside-words').value = 'ab'.repeat(400_000))")
    browser.value("void byId('inside-words').dispatchEvent(new Event('input'))")
    said = browser.text('#inside-unknown')
    assert said == 'Only the first 20,000 characters are read and kept.' and browser.is_visible('#inside-unknown')
    browser.wait(READY, 200)
    assert browser.text('#inside-reads') == 'b'
    assert browser.value('state.cut(state.words).characters.length') == 20_000
    browser.click('#tab-words')
    assert browser.text('#words-unknown') == said
    browser.set('#words-box', 'ab')
    browser.click('#tab-inside')
    assert not browser.is_visible('#inside-unknown')


def test_frame_of_the_chosen_unit(browser, written):
    """It is as wide however few units there are, also in the figure that is saved."""
    browser.open(written, view='#inside&unit=C1:2&place=3')
    browser.wait(READY)
    looks = browser.all('#inside-network .chosen', '[getComputedStyle(element).strokeWidth, '
                                                   'getComputedStyle(element).vectorEffect]')
    assert looks == [['2.5px', 'non-scaling-stroke']]
    browser.value('''void (saving.save = (name, type, text) => { saved = text; }, byId('inside-svg').click())''')
    assert browser.value('saved.match(/vector-effect="non-scaling-stroke"/g).length') == 12


def test_field_of_the_unit(browser, written):
    """A step of the play leaves what is typed, and a valid unit takes the error away however it is chosen."""
    browser.open(written, view='#inside&place=30&unit=C2:1')
    browser.wait(READY)
    browser.value("void (byId('inside-unit').value = 'C1:')")
    browser.press('Tab')
    browser.value('void state.change({place: 31})')
    browser.wait(f"byId('inside-reads').textContent === {json.dumps(shown(TEXT[31]))}")
    assert browser.value("byId('inside-unit').value") == 'C1:'
    for act in ("document.querySelectorAll('#inside-layer2 rect')[1].dispatchEvent(new Event('click'))",
                "state.change({unit: 'C1:3'})"):
        browser.set('#inside-unit', 'C1:')
        assert browser.is_visible('#inside-wrong')
        browser.value(f'void {act}')
        assert not browser.is_visible('#inside-wrong')
    browser.set('#inside-unit', ' c1:03 ')
    assert browser.value("byId('inside-unit').value") == 'C1:3'


def test_escape_lets_go_of_the_character(browser, written):
    browser.open(written, view='#inside&place=30')
    browser.focus('#inside-strip')
    browser.press('Escape')
    assert browser.value('state.pinned') is False


def test_byte_that_ends_no_character_has_a_mark(browser, tmp_path):
    checkpoint = write_chain(tmp_path / 'p.npz', np.frombuffer('aé€'.encode(), 'S1'))
    browser.open(write_page_of(checkpoint, tmp_path / 'page.html', 'aé€' * 3), view='#inside&place=4')
    assert browser.text('#inside-strip .asked') == '·'


def test_wide_characters_do_not_hide_the_one_that_is_read(browser, tmp_path):
    text = ''.join(map(chr, range(1, 9))) * 9                # each is shown by four
    checkpoint = write_chain(tmp_path / 'p.npz', np.array(sorted(set(text))))
    browser.open(write_page_of(checkpoint, tmp_path / 'page.html', text), view='#inside&place=40', width=390)
    strip, asked = [browser.all(selector, '(box => [box.left, box.right])(element.getBoundingClientRect())')[0]
                    for selector in ('#inside-strip', '#inside-strip .asked')]
    assert strip[0] < asked[0] < asked[1] < strip[1]


def test_playing_goes_on_and_stops(browser, written):
    browser.open(written, view='#inside&place=696')
    browser.click('#inside-play')
    assert browser.text('#inside-play') == 'Pause'
    browser.wait("state.place === 699 && byId('inside-play').textContent === 'Play'")
    browser.value('void state.change({place: 20})')
    browser.click('#inside-play')
    browser.wait('state.place > 21')
    browser.click('#tab-surprise')
    place = browser.value('state.place')
    assert browser.later('state.place', 1500) == place


@pytest.mark.parametrize('width', [1280, 390, 320])
def test_view_fits(browser, written, width):
    browser.open(written, view='#inside&place=300', width=width)
    browser.wait(READY)
    assert browser.fits()
    for name in ('inside-text', 'inside-unit', 'inside-words'):
        assert browser.value(f"byId('{name}').labels.length") == 1


def test_cell_of_ones_own(browser, text_file, tmp_path):
    """Its parameters have their names in the formula, and the numbers are the class's."""
    path, model = page_of_own_cell(tmp_path, text_file(TEXT), 3)
    browser.open(path, view='#inside&place=120&unit=C2:3')
    browser.wait(READY)
    lines = dict(zip(browser.all('#inside-formula dt'), browser.all('#inside-formula dd')))
    assert list(lines) == ['g = tanh(a_g)', 'i = sigmoid(a_i + p_i \xd7 C_prev)', 'f = sigmoid(a_f + p_f \xd7 C_prev)',
                           'C = f \xd7 C_prev + i \xd7 g', 'o = sigmoid(a_o + p_o \xd7 C)', 'h = o \xd7 tanh(C)']
    states = model.states(TEXT[:121])
    C, C_prev, h = states['C2'][120, 3], states['C2'][119, 3], states['h2'][120, 3]
    of = {line[0]: numbers(lines[line]) for line in lines}
    f, i, o = [of[name][-1] for name in 'fio']
    own = [model.p[name + '2'].get_value()[3] for name in OWN]
    a_f, a_i, a_o, _ = sums(browser)[:, 3]
    for name, a, p, state, value in (
            ('f', a_f, own[0], C_prev, f), ('i', a_i, own[1], C_prev, i), ('o', a_o, own[2], C, o)):
        np.testing.assert_allclose(of[name], [a, p, state, value], atol=0.0051)
        assert abs(sigmoid(a + p * state) - value) < 0.02
    np.testing.assert_allclose(numbers(lines['h = o \xd7 tanh(C)'])[-1], h, atol=0.0051)
    assert browser.is_visible('#inside-own') and not browser.is_visible('#inside-standard')
    assert 'LSTM' not in browser.value("byId('inside-panel').innerText")


def test_lines_of_a_cell_read_what_stands_above(browser, written):
    """And the e of a small number is no parameter."""
    lines = [['t0', 'tanh(a_g)'], ['o', 'sigmoid(a_o + 1e-05 * e)'], ['C', 'C_prev * o + t0'], ['i', 'C * e'],
             ['h', 'i']]
    browser.open(written)
    browser.value(f"""void (Object.assign(cellFormula, {{own: ['e'], standard: false, lines: {json.dumps(lines)}}}),
        cellValues = () => ({{t0: 1.5, o: 0.25, C: 2, i: 6, h: 6}}),
        Object.assign(model.parameters(), {{e1: Array(5).fill(3), e2: Array(7).fill(3)}}),
        state.change({{view: 'inside'}}))""")
    browser.wait(READY)
    assert [line[:2] for line in browser.all('#inside-formula dt')] == ['t0', 'o ', 'C ', 'i ', 'h ']
    second = browser.all('#inside-formula dd')[1]
    assert '1e-05 × 3.00' in second and second.endswith('= 0.25')


# ---------------------------------------------------------------- the formula

def short_cell(a_f, a_i, a_o, a_g, C_prev, f):
    """A cell with a parameter that is named as a gate, and with an h that is an input."""
    twice = tt.exp(a_f * C_prev)
    return C_prev, f * twice * C_prev + twice - a_i * a_o - a_g


@pytest.mark.parametrize('cell, own', [(lstm_cell, ()), (peephole_cell, OWN), (short_cell, ('f',))])
def test_values_of_a_formula_are_theanos(javascript, cell, own):
    made, random = Cell(cell, own, 'float32'), np.random.default_rng(3)
    inputs = random.normal(0, 1, (5 + len(own), 1, 1)).astype('float32')
    variables = [tt.fmatrix() for _ in inputs]
    h, C = [float(array[0, 0]) for array in theano.function(variables, cell(*variables), mode='FAST_COMPILE')(*inputs)]
    code = js_steps(made)
    formula = json.loads(re.search('cellFormula = (.*);', code).group(1))
    flat = inputs.ravel().tolist()
    found = javascript(f'(() => {{ {code} return cellValues(...inputs, own); }})()', inputs=flat[:5], own=flat[5:])
    np.testing.assert_allclose([found['h'], found['C']], [h, C], rtol=1e-5)
    assert [name for name, _ in formula['lines']] == list(found) and formula['own'] == list(own)
    values = {**dict(zip(('a_f', 'a_i', 'a_o', 'a_g', 'C_prev', *own), flat)), **found, 'tanh': np.tanh, 'exp': np.exp,
              'sigmoid': sigmoid}
    for name, expression in formula['lines']:              # each is what its expression says of the others
        np.testing.assert_allclose(eval(expression, {}, values), found[name], rtol=1e-5)

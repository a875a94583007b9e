"""The view Learn of the page: what it learns, what it shows of that, and the checkpoint that it saves."""
import json
import re
import time

import numpy as np
import numpy_model
from cells import OWN
from charlstm import CharLSTM, initial_parameters
from engine.analysis import in_quotes
from engine.run.recipe import lrate
from engine.model.parameters import carry_over, parameter_shapes
from numpy_model import NAMES, random_parameters
from pages import HOSTILE, NOT_HACKED, SLOWLY, data_of, page_of_own_cell, write_page_of
from scripts import FAST, PRODUCE, TEXT, load, run, succeeded, write_chain

# A text that a model learns in a second or two.
# The words are drawn, so that no model knows the next one.
QUOTED = ''.join(f'He said: "I am {word}." ' for word in np.random.default_rng(1).choice(
    ['cold', 'in an old hut', 'here', 'a king'], 60))
LEARNED = "byId('learn-stop').textContent === 'Stop' && !byId('learn-stop').disabled && Number(" \
    "byId('learn-progress').textContent.match(/Validation: (.*?) nats/)?.[1] ?? 9)"


def learn_in(browser, text, below, **fields):
    """Learn a text in the view until the kept part costs less than `below` nats a character, and stop."""
    browser.set('#learn-text', text)
    for name, value in fields.items():
        browser.set('#learn-' + name, value)
    browser.click('#learn-start')
    browser.wait(f'{LEARNED} < {below}')
    browser.value("byId('learn-stop').click()")


def saved_by(browser, folder):
    """Return the path of the checkpoint that the view downloads."""
    path = folder / 'learned.npz'
    browser.call('Page.setDownloadBehavior', behavior='allow', downloadPath=str(folder))
    browser.value("byId('learn-save').click()")
    end = time.time() + 30
    while not path.exists():
        assert time.time() < end
        browser.value('0')
        time.sleep(0.05)
    return path


def test_model_learns_and_is_saved(browser, written, tmp_path):
    browser.open(written, view='#learn')
    learn_in(browser, QUOTED, 0.3, units='32')
    text = browser.text('#learn-progress')
    assert browser.later("byId('learn-progress').textContent", 1200) == text            # stopped
    found = load(saved_by(browser, tmp_path))
    assert ''.join(found['uchar']) == ''.join(sorted(set(QUOTED)))
    assert {name: found[name].shape for name in NAMES} == parameter_shapes(len(found['uchar']), 32, 32)
    assert browser.text('#learn-command') == 'python produce_text.py learned.npz'
    options = ['--length', 400, '--count', 1, '--random-seed', 1]
    assert run(PRODUCE, 'learned.npz', 'o.txt', *options, flags=FAST, cwd=tmp_path).returncode == 0
    assert 'aid: "I am ' in (tmp_path / 'o.txt').read_text()
    assert 'a browser' in succeeded(run(PRODUCE, 'learned.npz', '--info', flags=FAST, cwd=tmp_path))

    # What it shows, by an independent model
    codes = np.array([list(found['uchar']).index(ch) for ch in QUOTED])
    passage = codes[int(np.ceil(len(codes) * 0.9)):]
    assert ''.join(found['uchar'][passage]) == browser.text('#learn-passage') == browser.text('#learn-quoted')
    states, C = None, []
    for number in passage:
        _, states = numpy_model.forward(found, np.array([[number]]), states)
        C.append(np.concatenate([states[1], states[3]])[:, 0])
    follows = in_quotes(QUOTED)[-len(passage):]
    r = [np.corrcoef(follows, unit)[0, 1] for unit in np.array(C).T]
    best = int(np.argmax(np.abs(r)))
    shown = re.search(r'C(\d):(\d+) .* correlation ([+−][\d.]+)\.', browser.text('#learn-unit')).groups()
    assert shown[:2] == (str(1 + best // 32), str(best % 32))
    np.testing.assert_allclose(float(shown[2].replace('−', '-')), r[best], atol=0.006)
    probabilities = numpy_model.forward(found, passage[:-1, None])[0]
    costs = numpy_model.costs(probabilities, passage[1:, None])[:, 0]
    n = (len(passage) - 1) // 5 * 5                        # five batches of one stream
    kept = float(re.search('Validation: (.*?) nats', text).group(1))
    np.testing.assert_allclose(kept, costs[:n].mean(), atol=2e-3)
    levels = browser.all('#learn-passage > *', "Number(element.className.match(/v(\\d+)/)[1])")
    np.testing.assert_allclose(levels[1:], np.clip(costs / 6 * 16, 0, 15.5).astype(int), atol=1)
    assert levels[0] == 0 and len(set(levels)) > 2


def test_text_without_quotation_marks_and_a_new_start(browser, written):
    browser.open(written, view='#learn')
    learn_in(browser, 'abc' * 400, 0.9, units='32')
    assert 'no quotation marks' in browser.text('#learn-unit') and not browser.is_visible('#learn-quoted')
    assert len(browser.all('#learn-curve polyline')) == 2
    read = int(re.match('[0-9,]+', browser.text('#learn-progress')).group().replace(',', ''))
    browser.click('#learn-stop')                           # continue
    browser.wait(f"parseInt(byId('learn-progress').textContent.replace(/,/g, '')) > {read}")
    browser.set('#learn-text', 'xy' * 400)
    browser.click('#learn-start')
    browser.wait("/^[xy]+$/.test(byId('learn-sample').textContent)")
    assert set(browser.text('#learn-passage')) == {'x', 'y'} and browser.text('#learn-stop') == 'Stop'


def test_nothing_of_an_old_run_is_shown(browser, written):
    browser.open(written, view='#learn')
    learn_in(browser, 'abc' * 400, 0.9, units='32')
    assert len(browser.all('#learn-curve polyline')) == 2
    browser.value(SLOWLY)
    browser.value("""void (seen = [], new MutationObserver(() => {
      if (!byId('learn-shown').hidden) seen.push([...['sample', 'passage', 'unit', 'progress'].map(id => (
        byId('learn-' + id).textContent)), document.querySelectorAll('#learn-curve polyline').length]);
    }).observe(byId('learn-shown'), {attributes: true}))""")
    browser.set('#learn-text', '"x" y' * 200)
    browser.value("byId('learn-start').click()")
    browser.wait('seen.length')
    sample, passage, unit, progress, lines = browser.value('seen[0]')
    assert set(sample) <= set('"x y') and set(passage) == set('"x y') and unit.startswith('Of all units')
    assert progress.startswith('0 characters') and lines == 0


def test_other_views_have_the_browser_to_themselves(browser, written):
    browser.open(written, view='#learn')
    browser.set('#learn-text', QUOTED)
    browser.click('#learn-start')
    browser.wait("document.querySelectorAll('#learn-curve polyline').length === 2")
    browser.click('#tab-surprise')
    text = browser.text('#learn-progress')
    assert browser.later("byId('learn-progress').textContent", 2500) == text
    browser.click('#tab-learn')
    browser.wait(f"byId('learn-progress').textContent !== {json.dumps(text)}")
    browser.click('#learn-stop')
    text = browser.text('#learn-progress')
    browser.click('#tab-surprise')
    browser.click('#tab-learn')
    assert browser.later("byId('learn-progress').textContent", 1500) == text


def test_long_text_is_prepared_in_sight_up_to_a_limit(browser, written):
    browser.open(written, view='#learn')
    browser.value("""void (byId('learn-text').value = ('ab'.repeat(50) + '\\n').repeat(49_505), seen = new Set(),
      new MutationObserver(() => seen.add(byId('learn-status').textContent)).observe(
        byId('learn-status'), {childList: true}))""")
    browser.value("byId('learn-start').click()")
    browser.wait("byId('learn-status').textContent.startsWith('Learning')")
    assert browser.text('#learn-status').startswith('Learning 5,000,000 characters, 3 distinct')
    assert browser.text('#learn-status').endswith('Only the first 5,000,000 characters of the text are taken.')
    seen = browser.value('Array.from(seen)')
    assert len(seen) > 3 and all(re.fullmatch(r'Preparing the text: \d+ %\.', text) for text in seen[:-1])


def test_empty_box_is_the_text_of_the_page_and_little_text_is_refused(browser, written):
    browser.open(written, view='#learn')
    browser.set('#learn-text', 'too short')
    browser.click('#learn-start')
    assert browser.text('#learn-wrong') == 'Text: expected at least 500 characters, got 9'
    browser.set('#learn-text', '𝄞' * 499)
    browser.click('#learn-start')
    assert browser.text('#learn-wrong').endswith('got 499')
    browser.set('#learn-text', '')
    browser.click('#learn-start')
    browser.wait("byId('learn-passage').textContent !== ''")
    assert TEXT[630:700].replace('\n', '↵\n') == browser.text('#learn-passage')
    assert not browser.is_visible('#learn-wrong') and browser.fits()
    labels = browser.all('#learn-panel :is(input, select, textarea)', 'element.labels[0].textContent.length')
    assert len(labels) == 3 and min(labels) > 4


def test_stopping_before_anything_is_learned(browser, written):
    """And what the view said of the text is said again, as learning continues."""
    browser.open(written, view='#learn')
    browser.value(SLOWLY)                                  # or a fast machine has learned something at once
    browser.set('#learn-text', QUOTED)
    browser.set('#learn-units', '32')
    browser.value("byId('learn-start').click(), byId('learn-stop').click()")
    assert browser.text('#learn-status') == 'Stopped.'
    browser.click('#learn-stop')
    browser.wait("!byId('learn-shown').hidden")
    learning = browser.text('#learn-status')
    assert learning.startswith(f'Learning {len(QUOTED):,} characters')
    browser.click('#learn-stop')
    assert browser.text('#learn-status').startswith('Stopped. What it learned is kept')
    browser.click('#learn-stop')
    assert browser.text('#learn-status') == learning


def test_refused_start_stops_what_learns(browser, written):
    browser.open(written, view='#learn')
    browser.set('#learn-text', QUOTED)
    browser.set('#learn-units', '32')
    browser.click('#learn-start')
    browser.wait("!byId('learn-shown').hidden")
    browser.set('#learn-text', 'too short')
    browser.click('#learn-start')
    assert browser.is_visible('#learn-wrong') and browser.text('#learn-status').startswith('Stopped. ')
    text = browser.text('#learn-progress')
    assert browser.later("byId('learn-progress').textContent", 1500) == text
    browser.click('#learn-stop')                           # the old run continues
    browser.wait(f"byId('learn-progress').textContent !== {json.dumps(text)}")


def test_hostile_text_is_learned(browser, written):
    text = (HOSTILE.replace('\ud800', '') * 8)             # which DevTools cannot send
    browser.open(written, view='#learn')
    learn_in(browser, text, 2.5, units='32')
    assert browser.value(NOT_HACKED) and browser.value('document.scripts.length') == 2


def test_model_of_bytes_goes_on(browser, tmp_path):
    """With a character that it did not have."""
    checkpoint = write_chain(tmp_path / 'p.npz', np.frombuffer('aé€'.encode(), 'S1'))
    browser.open(write_page_of(checkpoint, tmp_path / 'page.html', 'aé€' * 3), view='#learn')
    learn_in(browser, 'aé€ß' * 150, 0.5, **{'from': 'model'})
    model, path = CharLSTM(), saved_by(browser, tmp_path)
    model.model_setup(str(path))
    assert sorted(model.uchar) == sorted(set('aé€ß'.encode().decode('ascii', 'surrogateescape')))
    assert set(browser.text('#learn-passage')) <= set('aé€ß·')


def test_model_of_an_own_cell_goes_on(browser, text_file, tmp_path):
    path, model = page_of_own_cell(tmp_path, text_file(TEXT))
    browser.open(path, view='#learn')
    assert browser.text('#learn-command').endswith(' --cell FILE:CLASS')
    before = {name: model.p[name].get_value().copy() for name in model.p}
    learn_in(browser, TEXT, 3, **{'from': 'model'})
    model.model_setup(str(saved_by(browser, tmp_path)))
    of_cell = {'U2', 'W2', 'b2', *[name + layer for name in OWN for layer in '12']}
    assert of_cell < set(before)
    for name in of_cell:
        assert np.abs(model.p[name].get_value() - before[name]).max() > 1e-3


def test_error_ends_learning_and_says_so(browser, written):
    browser.open(written, view='#learn')
    browser.value("Learner.prototype.step = function* () { throw new Error('no number') }")
    browser.set('#learn-text', QUOTED)
    browser.click('#learn-start')
    browser.wait("byId('learn-wrong').checkVisibility()")
    assert browser.text('#learn-wrong') == 'no number' and browser.text('#learn-status') == ''


def test_look_that_was_interrupted_is_soon_followed_by_another(browser, written):
    """Time in which the view was not shown is no work."""
    browser.open(written)
    shown = browser.value("""(() => {
      const lesson = Object.assign(Object.create(Lesson.prototype), {
        *look() { yield; return {}; }, streams: {batches: 5, batch: () => []}, rate: () => 1, steps: 0,
        learner: {reset() {}, *step() { yield; return 1; }}});
      let now = 0;
      performance.now = () => now;
      const shown = [], work = lesson.go(() => shown.push(now));
      work.next();                                         // in the first look
      now = 600_000;
      for (let k = 0; k < 300; k++, now += 100) work.next();
      return shown;
    })()""")
    assert shown[0] == 600_000 and 601_000 <= shown[1] <= 611_000 and 1000 <= shown[2] - shown[1] <= 1500


def test_numbers_of_known_characters_are_carried_over(browser, written):
    old_uchar, uchar = list('bdf'), list('abcdef')
    old, new = [random_parameters(seed, 'float32', V=len(of), H1=3, H2=5)
                for seed, of in enumerate((old_uchar, uchar))]
    browser.open(written)
    flat = [{name: p[name].ravel().tolist() for name in NAMES} for p in (old, new)]
    found = browser.value(f"""(([p, fresh]) => {{
      const typed = p => Object.fromEntries(Object.entries(p).map(([name, list]) => [name, Float32Array.from(list)]));
      const found = Learner.carryOver(typed(p), {old_uchar}, typed(fresh), {uchar});
      return Object.fromEntries(Object.entries(found).map(([name, array]) => [name, Array.from(array)]));
    }})({json.dumps(flat)})""")
    expected = carry_over(old, old_uchar, {name: array.copy() for name, array in new.items()}, uchar)
    assert list(found) == list(NAMES)
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name].ravel(), rtol=1e-6, err_msg=name)


def test_quotation_marks_are_those_of_python(browser, written):
    browser.open(written)
    random = np.random.default_rng(5)
    for _ in range(20):
        text = ''.join(random.choice(list('"“” ab\n\n'), 67))
        assert browser.value(f'Array.from({json.dumps(text)}, Lesson.insideQuotes(data.learner.quotes))') == (
            in_quotes(text).tolist())


def test_states_are_carried_and_looking_changes_nothing(browser, written):
    """The second batch of a text costs what it does after the first; the kept part is read in between."""
    V, H1, H2, B, T, random = 11, 7, 5, 3, 9, np.random.default_rng(2)
    p = random_parameters(1, 'float32', V=V, H1=H1, H2=H2)
    text = random.integers(V, size=(2 * T + 1, B))
    browser.open(written)
    found = browser.value(f"""(() => {{
      const list = {json.dumps({name: p[name].ravel().tolist() for name in NAMES})}, B = {B}, T = {T};
      const p = Object.fromEntries(Object.entries(list).map(([name, values]) => [name, Float32Array.from(values)]));
      const learner = new Learner(p, B, T, data.learner.recipe), text = {text.ravel().tolist()};
      const atOnce = work => {{
        for (;;) {{
          const found = work.next();
          if (found.done) return found.value;
        }}
      }};
      const streams = new Streams(text.slice(0, 14), T), from = at => text.slice(at, at + T * B);
      return [0, T * B].flatMap(at => [
        atOnce(learner.cost(streams)), atOnce(learner.step(from(at), from(at + B), 0))]);
    }})()""")
    probabilities = numpy_model.forward(p, text[:-1])[0]
    costs = numpy_model.costs(probabilities, text[1:])
    line = text.ravel()[:13, None]                         # one stream in two batches
    kept = numpy_model.costs(numpy_model.forward(p, line[:-1])[0], line[1:]).mean()
    np.testing.assert_allclose(found, [kept, costs[:T].mean(), kept, costs[T:].mean()], rtol=1e-5)


def test_streams_cover_a_text(browser, written):
    """Each character once, in streams that go on from batch to batch, but for less than a batch at the end."""
    browser.open(written)
    for n in (501, 1999, 12_347, 60_013):
        B, T, batches = browser.value(f"""(() => {{
          const streams = new Streams(Array.from({{length: {n}}}, (_, k) => k));
          const batches = Array.from({{length: streams.batches}}, (_, k) => streams.batch(k));
          return [streams.B, streams.T, batches];
        }})()""")
        assert B == max(1, min(50, n // 500)) and 20 < T <= 50
        x, y = [np.concatenate([np.reshape(batch[k], (T, B)) for batch in batches]) for k in (0, 1)]
        assert (np.diff(x, axis=0) == 1).all() and (y == x + 1).all() and len(np.unique(x)) == x.size
        assert x.size > 0.95 * n and y.max() < n


def test_new_model_is_as_that_of_the_class(browser, written):
    """The numbers are others, but each gate of a parameter has the same mean, deviation, minimum and maximum."""
    browser.open(written)
    random, own = np.random.default_rng(1), {'peep': 0.3}
    expected = initial_parameters(61, 401, 302, random, 'chrono', own)
    new = browser.value(f"""(() => {{
      const p = Learner.initial(61, 401, 302, {json.dumps(own)}, new Random(1));
      return Object.fromEntries(Object.entries(p).map(([name, array]) => [name, Array.from(array)]));
    }})()""")
    assert sorted(new) == sorted(expected)
    for name, array in expected.items():
        gates = 4 if array.shape[0] == 4 else 1
        for one, other in zip(np.reshape(new[name], (gates, -1)), array.reshape(gates, -1)):
            scale = np.abs(other).max()
            for what in (np.mean, np.std, np.min, np.max):
                assert abs(what(one) - what(other)) < 0.15 * scale, (name, what)


def test_passage_has_quotation_marks_if_the_kept_part_has(browser, written):
    browser.open(written)
    for n, begin, end in ((20_000, 18_900, 19_370), (20_000, 1900, 2300), (700, 640, 700)):
        quoted = [int(begin <= k < end) for k in range(n)]
        at, length, ones = browser.value(f"""(() => {{
          const numbers = Array.from({{length: {n}}}, (_, k) => k), p = Learner.initial(2, 3, 5, {{}}, new Random(1));
          const lesson = new Lesson(p, numbers, {quoted}, data.learner.recipe, 0.01);
          return [lesson.passage[0], lesson.passage.length, lesson.quoted.reduce((a, b) => a + b)];
        }})()""")
        assert at >= 0.9 * n and length == min(800, n // 10) and ones == sum(quoted[at:at + length])
        assert abs(ones - (400 if begin == 18_900 else 0 if n == 20_000 else 60)) < 75


def test_recipe_is_that_of_the_scripts(written):
    learner = data_of(written)['learner']
    assert learner['rates'] == {'model': lrate(5, 7), '32': lrate(32, 32), '64': lrate(64, 64), '128': lrate(128, 128)}
    assert learner['recipe'] == dict(
        drate=0.99, eps=1e-8, momentum=0.9, weight_decay=0.02, grad_clip=5, step_clip=2, average=0.999, warmup=100)

"""What the page shows, and its address, which says it: the views, the place, the unit, held units and typed words."""
import re

import numpy as np
import pytest

from pages import array_of, data_of, looked_at, place, write_page_of
from scripts import TEXT

ADDRESS = 'decodeURIComponent(location.hash)'


def wait_for_address(browser, pattern):
    """Wait until the address matches a pattern; return the match."""
    browser.wait(f'/{pattern}/.test({ADDRESS})')
    return re.search(pattern, browser.value(ADDRESS))


def chosen(browser):
    return browser.all('#units [aria-selected=true] .what')


def test_reload_shows_the_same(browser, written):
    browser.open(written)
    browser.click(place(620))
    wait_for_address(browser, '^#surprise&place=620$')
    browser.click('#tab-cells')
    browser.set('#feature', 'position in the line')
    browser.click('#units li:nth-child(3)')
    browser.set('#hold-at', '200')
    unit, = chosen(browser)
    held, = browser.all('#units .held .what')
    listed = browser.all('#units .what')
    browser.click('#tab-words')
    browser.set('#words-box', 'the 50 % & #1\nand é')
    found = wait_for_address(
        browser, '^#words&place=620&feature=position in the line&unit=(.*)&hold=(.*)=(-?[0-9.]+)&words')
    assert found.groups()[:2] == (unit, held) == (unit, unit)
    stored = next(u for u in data_of(written)['units'] if f'C{u["layer"]}:{u["number"]}' == unit)
    assert abs(float(found.group(3)) - (stored['least'] + (stored['most'] - stored['least']) * 200 / 255)) < 1e-4
    browser.reload()
    assert browser.value('document.body.dataset.view') == 'words'
    assert browser.value("byId('words-box').value") == 'the 50 % & #1\nand é'
    assert browser.text('#typed') == 'the 50 % & #1\nand é '
    browser.click('#tab-cells')
    assert looked_at(browser) == 620 and browser.value("byId('feature').value") == 'position in the line'
    assert chosen(browser) == browser.all('#units .held .what') == [unit] and browser.all('#units .what') == listed
    assert browser.value("byId('hold-at').value") == '200'


def test_address_that_is_opened_or_typed(browser, written):
    browser.open(written, view='#cells&place=251&unit=C2:3&hold=C1:4=-99,C2:0=0')
    assert looked_at(browser) == 251 and chosen(browser) == ['C2:3']
    assert set(browser.all('#units .held .what')) == {'C1:4', 'C2:0'}
    browser.value("void (location.hash = '#why&place=30')")
    browser.wait("document.body.dataset.view === 'why'")
    assert looked_at(browser) == 30 and browser.all('#units .held') == []


def is_in_sight(browser, k):
    """Return whether the character k of the text is."""
    inside = '(box => box.top >= 0 && box.bottom <= innerHeight)(element.getBoundingClientRect())'
    return browser.all(place(k), inside)[0]


def test_address_of_another_place_scrolls_to_it(browser, written):
    """When the page is opened, and when only the address changes."""
    browser.open(written, view='#surprise&place=690', height=200)
    assert is_in_sight(browser, 690) and not is_in_sight(browser, 3)
    browser.value("void (location.hash = '#surprise&place=3')")
    browser.wait('state.place === 3')
    assert is_in_sight(browser, 3) and not is_in_sight(browser, 690)
    browser.value('scrollTo(0, 150)')
    browser.later('1')
    for view in ('writing', 'surprise'):
        browser.value(f"byId('tab-{view}').click()")       # the mouse would scroll
    assert browser.value('scrollY') == 150                 # as it was left


def test_place_chosen_in_another_view_is_in_sight(browser, written):
    browser.open(written, view='#inside&place=3', height=200)
    browser.focus('#inside-strip')
    browser.press('End')
    browser.click('#tab-surprise')
    assert looked_at(browser) == 699 and is_in_sight(browser, 699)
    browser.click('#tab-inside')
    browser.focus('#inside-strip')
    browser.press('Home')
    browser.later('1', 500)
    browser.reload()
    browser.value("byId('tab-surprise').click()")
    assert looked_at(browser) == 0 and is_in_sight(browser, 0)


def test_address_holds_a_unit_while_the_model_writes(browser, written):
    browser.open(written, view='#writing')
    browser.value("void (location.hash = '#writing&hold=C1:4=0.5')")
    browser.wait("byId('held-pane').checkVisibility()")


@pytest.mark.parametrize('nonsense', [
    '#nothing&place=5000&unit=C9:1&hold=C2:900=1,C1:0=x,,=', '#surprise&place=-1&feature=toString&unit=<img>',
    '#surprise&place=1.5&hold=C1:1=Infinity', '#%&&=&place', '#surprise&place=%20&hold=C1:1=,C1:2=%20'])
def test_nonsense_in_the_address_is_left_out(browser, written, nonsense):
    browser.open(written, view=nonsense)
    assert browser.value('document.body.dataset.view') == 'surprise' and looked_at(browser) == 1
    browser.click('#tab-cells')
    assert len(chosen(browser)) == 1 and browser.all('#units .held') == []


@pytest.mark.parametrize('unit', ['C2:99999', 'C1:0003', 'C1:5'])
def test_unit_that_the_network_does_not_have(browser, written, unit):
    """Cells and Inside show the same one, and the address does not name the other."""
    browser.open(written, view=f'#cells&unit={unit}')
    shown, = chosen(browser)
    browser.click('#tab-inside')
    assert browser.value("byId('inside-unit').value") == shown
    assert wait_for_address(browser, '^#inside') and 'unit' not in browser.value(ADDRESS)


def test_held_units_that_the_page_takes_otherwise(browser, written):
    first = data_of(written)['units'][0]
    name, most = f'C{first["layer"]}:{first["number"]}', first['most']
    browser.open(written, view=f'#cells&hold={name}=99,C9:1=3,{name[:1]}')
    note = browser.text('#cells-side .hold-note')
    assert f'{name}=99 became {most:.2f},'.replace('-', '\u2212') in note and 'C9:1=3 was not taken' in note
    assert browser.is_visible('#cells-side .hold-note')
    browser.click('#tab-writing')
    assert browser.is_visible('#writing-panel .hold-note') and browser.text('#writing-panel .hold-note') == note
    found = wait_for_address(browser, f'hold=({name}=[^,]*)$').group(1)     # as the page takes it
    assert abs(float(found.split('=')[1]) - most) < 1e-3
    browser.reload()
    assert not browser.is_visible('#writing-panel .hold-note')
    for byte in (0, 255):                                  # what the page itself writes is in its range
        browser.value(f'state.change({{held: new Map([[0, {byte}]])}})')
        assert browser.value('address.heldIn(address.written().split("hold=")[1]).note') == ''


def test_view_of_the_address_is_shown_from_its_top(browser, written):
    for view in ('surprise', 'why', 'cells', 'inside', 'words', 'writing', 'guess', 'learn', 'about'):
        browser.open(written, height=300, view=f'#{view}')
        assert browser.later('[document.body.dataset.view, scrollY]') == [view, 0]


def test_scroll_position_stays(browser, short_run, tmp_path):
    """Of the text in all views beside it, and after a reload."""
    path = write_page_of(short_run.folder / 'r_t.txt_best.npz', tmp_path / 'page.html', TEXT * 3)
    browser.open(path)
    browser.value('scrollTo(0, 431)')
    browser.wait('state.scrolls["reading-panel"] === 431')
    for view in ('about', 'cells'):
        browser.value(f"byId('tab-{view}').click()")       # click() would scroll
    assert browser.value('scrollY') == 431
    browser.later('1', 600)
    browser.reload()
    assert browser.value('[document.body.dataset.view, scrollY]') == ['cells', 431]


def test_place_of_a_link_is_in_sight(browser, short_run, tmp_path):
    path = write_page_of(short_run.folder / 'r_t.txt_best.npz', tmp_path / 'page.html', TEXT * 3)
    browser.open(path, view=f'#surprise&place={len(TEXT) * 2}')
    top, = browser.all('#text .here', 'element.getBoundingClientRect().top')
    assert 100 < top < 700


def test_why_opens_at_a_striking_place(browser, written):
    """A mark that the model expected, and that is rare; where the reader has chosen a place, at that."""
    browser.open(written, view='#why')
    k, codes, data = looked_at(browser), array_of(data_of(written)['text']), data_of(written)
    gain = [np.log(700 / (codes == codes[j]).sum()) - array_of(data['costs'])[j - 1] for j in range(700)]
    marks = [j for j in range(100, 700) if re.fullmatch(r'[^\w\s]', data['uchar'][codes[j]])]
    assert k in marks and gain[k] >= max(gain[j] for j in marks) - 1e-3
    browser.open(written, view='#why&place=12')
    assert looked_at(browser) == 12


def test_your_words_begin_with_some(browser, written):
    browser.open(written, view='#words')
    words = browser.value("byId('words-box').value")
    assert TEXT.startswith(words) and 20 < len(words) <= 240
    browser.set('#words-box', '')
    wait_for_address(browser, '&words=$')
    browser.reload()
    assert browser.value("byId('words-box').value") == ''


def test_kept_words_are_counted_in_characters(browser, written):
    browser.open(written, view='#words')
    browser.set('#words-box', '𝄞' * 20_001)
    assert browser.value("new URLSearchParams(address.written()).get('words')") == '𝄞' * 20_000


def test_help_leads_to_the_views(browser, written):
    browser.open(written)
    browser.click('#help-open')
    assert browser.value("byId('help').open")
    seen = browser.all('#help [data-to]', "element.checkVisibility() ? element.dataset.to : ''")
    assert list(filter(None, seen)) == browser.all('[role=tab]', "element.id.slice('tab-'.length)")     # not two models
    browser.click('#help [data-to=cells]')
    assert not browser.value("byId('help').open") and browser.value('document.body.dataset.view') == 'cells'
    browser.click('#help-open')
    browser.click('#help-close')
    assert not browser.value("byId('help').open") and browser.focused() == 'help-open'
    words = browser.text('#help')
    assert 'says what you see' not in words and 'C or h, held units, and what you type' in ' '.join(words.split())
    assert [word for word in ('LSTM', 'unit', 'gate', 'cell state', 'nat') if word not in words] == []

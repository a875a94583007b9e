"""All views and modes in Chromium, checked by axe-core: npm install axe-core, or set AXE to the path of axe.min.js."""
import os
from pathlib import Path

import pytest

from pages import write_page_of
from scripts import TEXT

AXE = Path(os.environ.get('AXE') or 'node_modules/axe-core/axe.min.js')
FOUND = """axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map(
    ({id, nodes}) => `${location.hash} ${id}: ${nodes[0].html.slice(0, 200)} ${nodes[0].failureSummary}`))"""
VIEWS = ['surprise', 'surprise&mode=why', 'surprise&words=the&hold=C1:2=0.5', 'cells',
         'inside&unit=C1:2', 'learning', 'lab', 'about']


@pytest.mark.skipif(not AXE.is_file(), reason='axe-core is missing: npm install axe-core')
@pytest.mark.parametrize('width, scheme, source', [(1280, 'light', 'run'), (390, 'dark', 'here')])
def test_axe_finds_nothing(browser, short_run, width, scheme, source, tmp_path):
    name = str(short_run.folder / 'r_t.txt_best.npz')
    path, found = write_page_of(name, tmp_path / 'page.html', TEXT[:700]), []
    for view in VIEWS:
        browser.open(path, width, scheme=scheme, view='#' + view)
        browser.value(f"state.change({{source: '{source}'}})")
        browser.value("for (const details of document.querySelectorAll('details')) details.open = true")
        browser.wait("!document.body.innerText.includes('Reading')")
        browser.value(AXE.read_text(encoding='utf-8') + '; 0')
        found += browser.value(FOUND)
    assert found == []

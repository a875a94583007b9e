"""All views in Chromium, examined by axe-core: npm install axe-core, or AXE=path of its axe.min.js."""
import os
from pathlib import Path

import pytest

PLACES = (os.environ.get('AXE', ''), 'node_modules/axe-core/axe.min.js', '/usr/lib/node_modules/axe-core/axe.min.js',
          '/usr/local/lib/node_modules/axe-core/axe.min.js')
AXE = next((Path(place) for place in PLACES if place and Path(place).is_file()), None)
FOUND = """axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map(
    ({id, nodes}) => `${id}: ${nodes[0].html.slice(0, 200)} ${nodes[0].failureSummary}`))"""


@pytest.mark.skipif(AXE is None, reason='axe-core is missing: npm install axe-core')
@pytest.mark.parametrize('width, scheme', [(1280, 'light'), (390, 'dark')])
def test_axe_finds_nothing(browser, written, width, scheme):
    browser.open(written, width=width, scheme=scheme)
    browser.value(AXE.read_text(encoding='utf-8') + '; 0')
    for view in browser.all('[role=tab]', "element.id.slice('tab-'.length)"):
        browser.value(f"state.change({{view: '{view}'}})")
        browser.later('1', 300)                            # bars grow
        assert browser.value(FOUND) == [], view
    browser.value("byId('help-open').click()")
    assert browser.value(FOUND) == []

"""Measure the page of produce_text.py: seconds to make it, its size, and in Chromium seconds to open it and speeds.

    python tests/benchmarks/page.py TEXT [--rounds 3]

TEXT is a text file; the page shows its first 10,000 characters. Opening ends when the page is first drawn. Why leaves
out each of 100 characters once; the text before them was read earlier. Numbers are medians of the rounds. At the end,
it trains a model for half a minute; the validation cost is in nats.
"""
import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from common import ROOT, print_head, table, timed
from browser import Browser


def characters_a_second(browser):
    """Return the speed of writing 2,000 characters after the line of an open page."""
    browser.wait('!work.isBusy() && !writing.isBusy()')
    return 2000 / browser.value("""new Promise(then => {
        const begun = performance.now();
        const wait = () => writing.isBusy() ? setTimeout(wait) : then(performance.now() - begun);
        byId('length').value = 2000;
        live.write();
        wait();
    })""") * 1000


def seconds_of_why(browser, k):
    """Return how long Why takes for the character k, with its pauses for the reader."""
    browser.value(f"state.change({{view: 'surprise', mode: 'why', place: {k - 1}, pinned: true}})")   # reads to there
    browser.wait("byId('why-choice').options.length")
    return browser.value(f"""new Promise(then => {{
        const begun = performance.now();
        const wait = () => byId('why-choice').options.length ? then(performance.now() - begun) : setTimeout(wait);
        state.change({{place: {k}}});
        wait();
    }})""") / 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('text')
    parser.add_argument('--rounds', type=int, default=3, help='(default: %(default)s)')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print_head()
        path, browser = Path(folder) / 'page.html', Browser(Path(folder) / 'chromium')
        command = [sys.executable, str(ROOT / 'produce_text.py'), '--page', str(path), '--score', options.text,
                   '--overwrite']
        made = median(timed(lambda: subprocess.run(command, check=True), options.rounds))
        opened = median([browser.open(path) for _ in range(options.rounds)])
        speed = median([characters_a_second(browser) for _ in range(options.rounds)])
        why = median([seconds_of_why(browser, k) for k in range(500, 500 + options.rounds)])
        browser.value("state.change({view: 'learning'})")
        browser.click('[value=here]')
        browser.click('#learn-go')
        said = browser.later("byId('when-costs').textContent", 30_000)
        cost = re.search(r'validation .*?([\d.]+) nats', said).group(1)
        browser.close()
        row = table('to make it, s', 'size, MB', 'to open it, s', 'writing, characters/s', 'Why, s', 'cost, nats')
        size = path.stat().st_size / 1e6
        row(*f'{made:.1f} {size:.2f} {opened / 1000:.2f} {speed:.0f} {why:.2f} {cost}'.split())


if __name__ == '__main__':
    main()

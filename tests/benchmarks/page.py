"""Measure the page of produce_text.py: seconds to make it, its size, and seconds to open and speeds in Chromium.

    python tests/benchmarks/page.py TEXT [--params PARAMS] [--rounds 3]

TEXT is a text file, of which the first 10,000 characters are shown. Opening ends when the page is drawn for the first
time. Why leaves out each of 100 characters once; the text before these was read earlier. Medians of the rounds.
"""
import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from common import ROOT, print_head, print_row, timed

from browser import Browser


def characters_a_second(browser):
    """Return the speed of writing 2,000 characters in an open page."""
    browser.click('#tab-writing')
    browser.set('#length', '2000')
    browser.click('#write')
    browser.wait("byId('stop').textContent === 'Continue'")
    return float(re.search(r'([\d,]+) a second', browser.text('#speed')).group(1).replace(',', ''))


def seconds_of_why(browser, k):
    """Return how long the view Why takes for the character k, with its pauses for the reader."""
    explained = "document.querySelectorAll('#why-effects .bars').length === 1"
    browser.click('#tab-why')
    browser.value(f"byId('character-{k - 1}').click()")    # reads the text up to there
    browser.wait(explained)
    return browser.value(f"""new Promise(then => {{
        const begun = performance.now();
        const wait = () => {explained} ? then(performance.now() - begun) : setTimeout(wait);
        byId('character-{k}').click();
        wait();
    }})""") / 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('text', metavar='TEXT')
    parser.add_argument('--params', default=str(ROOT / 'training_results' / 'prideandprejudice.npz'))
    parser.add_argument('--rounds', type=int, default=3, help='(default: %(default)s)')
    options = parser.parse_args()
    print_head()
    with tempfile.TemporaryDirectory() as folder:
        path, browser = Path(folder) / 'page.html', Browser(Path(folder) / 'chromium')
        command = [sys.executable, str(ROOT / 'produce_text.py'), options.params, '--page', str(path), '--score',
                   options.text, '--overwrite']
        made = median(timed(lambda: subprocess.run(command, check=True), options.rounds))
        opened = median([browser.open(path) for _ in range(options.rounds)])
        speed = median([characters_a_second(browser) for _ in range(options.rounds)])
        why = median([seconds_of_why(browser, k) for k in range(500, 500 + options.rounds)])
        browser.close()
        widths = (14, 9, 15, 25, 8)
        print_row(*zip(('to make it, s', 'size, MB', 'to open it, s', 'writing, characters/s', 'Why, s'), widths))
        print_row(*zip((f'{made:.1f}', f'{path.stat().st_size / 1e6:.2f}', f'{opened / 1000:.2f}', f'{speed:.0f}',
                        f'{why:.2f}'), widths))


if __name__ == '__main__':
    main()

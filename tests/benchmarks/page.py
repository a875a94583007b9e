"""Measure the page of produce_text.py: seconds to make it, its size, and in Chromium seconds to open it and speeds.

    python tests/benchmarks/page.py [TEXT] [--rounds 3] [--picture training_results/page.png]

TEXT is a text file; the page shows its first 10,000 characters, or else held-out text. Opening ends when the page is
first drawn. Why leaves out each of 100 characters once; the text before them was read earlier. Numbers are medians of
the rounds. At the end, it trains a model for half a minute; the validation cost is in nats.
"""
import argparse
import base64
import contextlib
import io
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
        live.LENGTH = 2000;
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


def cost_of_training(browser, seconds):
    """Return the validation cost of a model that is trained in the page for so many seconds, in nats, as it says it."""
    browser.value("state.change({view: 'learning'})")
    browser.click('#learn-go')
    browser.later('0', 1000 * seconds)
    browser.wait("byId('learn-status').textContent")       # the first cost is known
    return re.search(r'validation .*?([\d.]+) nats', browser.text('#when-costs')).group(1)


def save_picture(browser, page, path):
    """Save a picture of the view Cells, README.md's, with 128 colours."""
    from PIL import Image
    browser.open(page, height=640, view='#cells')
    browser.wait("byId('value').textContent.startsWith('Value')")      # the text was read
    content = base64.b64decode(browser.call('Page.captureScreenshot')['data'])
    Image.open(io.BytesIO(content)).convert('RGB').quantize(128).save(path, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('text', nargs='?')
    parser.add_argument('--rounds', type=int, default=3, help='(default: %(default)s)')
    parser.add_argument('--seconds', type=float, default=30, help='of training (default: %(default)s)')
    parser.add_argument('--picture', metavar='FILE', help='save a picture of the page')
    options = parser.parse_args()
    # Chromium's other processes may still write to its folder when the first one has ended.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, \
            contextlib.closing(Browser(f'{folder}/chromium')) as browser:
        print_head()
        path = Path(folder) / 'page.html'
        command = [sys.executable, str(ROOT / 'produce_text.py'), '--page', str(path), '--overwrite',
                   *(['--score', options.text] if options.text else [])]
        made = median(timed(lambda: subprocess.run(command, check=True), options.rounds))
        opened = median([browser.open(path) for _ in range(options.rounds)])
        speed = median([characters_a_second(browser) for _ in range(options.rounds)])
        why = median([seconds_of_why(browser, k) for k in range(500, 500 + options.rounds)])
        cost = cost_of_training(browser, options.seconds)
        row = table('to make it, s', 'size, MB', 'to open it, s', 'writing, characters/s', 'Why, s', 'cost, nats')
        size = path.stat().st_size / 1e6
        row(*f'{made:.1f} {size:.2f} {opened / 1000:.2f} {speed:.0f} {why:.2f} {cost}'.split())
        if options.picture:
            save_picture(browser, path, options.picture)


if __name__ == '__main__':
    main()

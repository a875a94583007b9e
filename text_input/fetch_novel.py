"""Fetch the default text, Pride and Prejudice, from Project Gutenberg: python text_input/fetch_novel.py"""
import os
import re
import sys
from http.client import HTTPException
from urllib.request import urlopen

FOLDER = os.path.dirname(os.path.abspath(__file__))
if __name__ == '__main__':
    sys.path.insert(0, os.path.dirname(FOLDER))

from engine.files import write_whole  # noqa: E402
from engine.terminal import near  # noqa: E402

# Everything between the lines that Gutenberg adds. It revises its files, so a checksum would not stay valid.
NOVEL = re.compile(r'\*\*\* ?START OF [^*]+\*\*\*\s+(.*truth\s+universally\s+acknowledged.*\S)\s+\*\*\* ?END OF', re.S)


def fetch_novel(path):
    """Download the novel to `path`, which must not exist, from CHARLSTM_NOVEL_URL or, by default, Project Gutenberg.

    Raises OSError if there is no connection or `path` cannot be written, ValueError if another text arrives.
    """
    if os.path.exists(path):
        raise FileExistsError(f'{path} exists already')
    url = os.environ.get('CHARLSTM_NOVEL_URL', 'https://www.gutenberg.org/ebooks/1342.txt.utf-8')
    try:
        with urlopen(url, timeout=5) as response:
            found = NOVEL.search(response.read(10_000_000).decode('utf-8-sig').replace('\r\n', '\n'))
    except (OSError, HTTPException) as error:
        raise OSError(f'{url}: {error}') from None
    if not found:
        raise ValueError(f'{url} is not Pride and Prejudice as Project Gutenberg sends it')
    with write_whole(path) as f:
        f.write((found[1] + '\n').encode())


def write_python_reference(path):
    """Write Python's language reference, which every Python has for help(), to `path`. Raises OSError."""
    from pydoc_data.topics import topics                   # late: large and seldom needed
    with write_whole(path) as f:
        f.write('\n'.join(topics[name] for name in sorted(topics)).encode())


def locate_text(path, folder=FOLDER):
    """Return `path` or, if it is None, the path of the novel. Fetch the novel if that is the path and it is missing.

    If that fails, print a line and return the path of Python's language reference. Raises OSError if writing fails.
    """
    novel, reference = [near(os.path.join(folder, f'{name}.txt')) for name in ('prideandprejudice', 'python_reference')]
    path = novel if path is None else path
    if os.path.realpath(path) != os.path.realpath(novel) or os.path.exists(novel):
        return path
    try:
        fetch_novel(novel)
        return novel
    except (OSError, ValueError) as error:
        if not os.path.exists(reference):
            write_python_reference(reference)
        print(f"cannot fetch the novel ({error}): using {reference}, Python's language reference, instead")
        return reference


if __name__ == '__main__':
    try:
        fetch_novel(os.path.join(FOLDER, 'prideandprejudice.txt'))
    except (OSError, ValueError) as error:
        sys.exit(f'fetch_novel.py: {error}')

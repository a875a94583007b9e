"""Fetches the default text, Pride and Prejudice, from Project Gutenberg.

    python text_input/fetch_novel.py        # writes text_input/prideandprejudice.txt

Where the novel cannot be had, `ensure_default_text` goes on with a text that every
Python carries: its own language reference. The environment variable CHARLSTM_NOVEL_URL
replaces the address, for a mirror or a test's own server.
"""
# /// script
# requires-python = ">=3.8"
# dependencies = ["tqdm"]
# ///
import os
import re
import sys
import time
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.files import write_whole  # noqa: E402
from engine.terminal import progress_bar  # noqa: E402

NOVEL_URL = "https://www.gutenberg.org/ebooks/1342.txt.utf-8"
BLOCK = 64 * 1024                    # bytes that must arrive in each `timeout`
MAX_BYTES = 10_000_000               # bounds memory; the novel has about 750,000
NOVEL_LENGTH = (500_000, 1_500_000)  # characters, with room for other editions

START = re.compile(r"\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG EBOOK[^*]*\*\*\*")
END = re.compile(r"\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG EBOOK")
TITLE = re.compile(r"pride\W+and\W+prejudice", re.IGNORECASE)
OPENING = re.compile(r"truth\s+universally\s+acknowledged", re.IGNORECASE)


def _download(url, timeout):
    """The whole body at `url`, bytes; `timeout` and the errors are fetch_novel's."""
    hangs = f"the server hangs: got no answer, or not {BLOCK:,} bytes more of it, in the {timeout:g} s expected"
    body = bytearray()
    try:
        request = Request(url, headers={"User-Agent": "CharLSTM fetch_novel"})
        with urlopen(request, timeout=timeout) as response:
            size = response.headers.get("Content-Length", "")
            promised = int(size) if size.isdecimal() else None
            deadline = time.monotonic() + timeout
            with progress_bar(sys.stderr, total=promised, unit="B", unit_scale=True, desc="novel") as bar:
                for piece in iter(lambda: response.read1(BLOCK), b""):      # what is there, so that it returns soon
                    if len(body) // BLOCK < (len(body) + len(piece)) // BLOCK:
                        deadline = time.monotonic() + timeout
                    body += piece
                    bar.update(len(piece))
                    if time.monotonic() > deadline:
                        raise OSError(hangs)
                    if len(body) > MAX_BYTES:
                        raise ValueError(f"got over {MAX_BYTES:,} bytes, expected at most that")
    except OSError as error:
        if isinstance(error, HTTPError):
            error.close()                                              # it holds the connection
        if "timed out" in str(error):                                  # a socket's timeout, or an error around one
            raise TimeoutError(hangs) from None
        raise
    if promised not in (None, len(body)):
        raise OSError(f"the download broke off: got {len(body):,} bytes, expected {promised:,}")
    return bytes(body)


def _extract_novel(page):
    """The novel in Gutenberg's bytes: no licence, no byte order mark, LF; else ValueError."""
    text = page.decode("utf-8-sig").replace("\r\n", "\n")
    start = START.search(text)
    end = END.search(text, start.end()) if start else None
    # One after the other: a pattern of both would read on from each title of a page that has only these.
    title = TITLE.search(text, start.start(), end.start()) if end else None
    if not (title and OPENING.search(text, title.end(), end.start())):
        raise ValueError(f"got {len(text):,} characters beginning {text[:40]!a}, expected Pride "
                         "and Prejudice between Project Gutenberg's START and END lines")
    novel = text[start.end():end.start()].strip() + "\n"
    if not NOVEL_LENGTH[0] <= len(novel) <= NOVEL_LENGTH[1]:
        raise ValueError("got a novel of {:,} characters, expected {:,} to {:,}".format(
            len(novel), *NOVEL_LENGTH))
    return novel


def _write(path, text):
    """Writes UTF-8 with LF, so that `path` never holds half a text; else OSError."""
    with write_whole(path) as file:
        file.write(text.encode("utf-8"))


def fetch_novel(path, url=None, timeout=10):
    """Downloads Pride and Prejudice to `path`, a file that must not exist yet.

    url: None takes the environment's CHARLSTM_NOVEL_URL, else NOVEL_URL.
    timeout: seconds for the connection, for each word of the server's and for each BLOCK of
    the body. So a hang and a trickle both end, and a slow line (over 6.5 kB/s at 10 s) does
    not. Not a limit on the whole download, nor on the look-up of a name, which the system's
    resolver ends by itself.

    Raises, with one line, OSError (no connection, HTTP status, timeout, broken off, `path`
    exists or cannot be written) or ValueError (what came is not the novel, or the address
    is malformed), and then leaves no file.
    """
    if os.path.exists(path):
        raise FileExistsError(f"{path} exists already; delete it to fetch the novel again")
    url = url or os.environ.get("CHARLSTM_NOVEL_URL") or NOVEL_URL
    try:
        novel = _extract_novel(_download(url, timeout))
    except (OSError, HTTPException, ValueError) as error:
        kind = ValueError if isinstance(error, ValueError) else OSError
        why = " ".join(str(error).split())
        raise kind(f"{url}: {why}; try again later, or save the novel as {path}") from error
    _write(path, novel)


def write_python_reference(path):
    """Writes Python's language reference, the topics that help() shows, to `path`.

    About 450,000 characters, in the order of the topics' keys; they differ a little from
    one Python version to the next. Raises OSError.
    """
    try:
        from pydoc_data.topics import topics  # large, and seldom needed
    except ImportError as error:
        raise OSError("this Python lacks the module pydoc_data, expected for its language "
                      "reference; use a text file of your own") from error
    _write(path, "\n".join(topics[key] for key in sorted(topics)))


def there(path, folder=os.path.dirname(os.path.abspath(__file__))):
    """The path of the text to learn: as it is or, for None and for the novel's own, that of ensure_default_text."""
    novel = os.path.join(folder, "prideandprejudice.txt")
    if path is not None and (os.path.realpath(path) != os.path.realpath(novel) or os.path.exists(path)):
        return path
    return ensure_default_text(os.path.relpath(folder))


def ensure_default_text(folder, url=None, timeout=10, report=print):
    """The path of the default text in `folder`: the novel, fetched when it is not there.

    Where that fails, `report` gets one line and the path is that of Python's language
    reference, written when it is not there. `url` and `timeout` are fetch_novel's. Raises
    OSError when the reference cannot be written either.
    """
    novel = os.path.join(folder, "prideandprejudice.txt")
    reference = os.path.join(folder, "python_reference.txt")
    if os.path.exists(novel):
        return novel
    try:
        fetch_novel(novel, url, timeout)
        return novel
    except (OSError, ValueError) as error:
        report(f"No novel ({error}). Going on with Python's language reference, {reference}")
    if not os.path.exists(reference):
        write_python_reference(reference)
    return reference


def main():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "prideandprejudice.txt")
    try:
        fetch_novel(path)
        print(f"wrote {path}")
    except FileExistsError as error:
        print(error)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

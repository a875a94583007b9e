"""Fetches the default text, Pride and Prejudice, from Project Gutenberg.

    python text_input/fetch_novel.py        # writes text_input/prideandprejudice.txt

If that fails, `locate_text` uses a text that every Python includes: the reference of its language.
The environment variable CHARLSTM_NOVEL_URL replaces the address, for a mirror or a test.
"""
# /// script
# requires-python = ">=3.10"
# dependencies = ["tqdm"]
# ///
import os
import re
import sys
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.model.files import write_whole  # noqa: E402
from engine.terminal import Parser, bar, main  # noqa: E402

FOLDER = os.path.dirname(os.path.abspath(__file__))
NAME = "prideandprejudice.txt"
NOVEL_URL = "https://www.gutenberg.org/ebooks/1342.txt.utf-8"
MAX_BYTES = 10_000_000               # bounds memory; the novel has about 750,000

START = re.compile(r"\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG EBOOK[^*]*\*\*\*")
END = re.compile(r"\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG EBOOK")
TITLE = re.compile(r"pride\W+and\W+prejudice", re.IGNORECASE)
OPENING = re.compile(r"truth\s+universally\s+acknowledged", re.IGNORECASE)


def _download(url, timeout):
    """Return the body at `url`, bytes; for `timeout` and the errors see fetch_novel."""
    body = bytearray()
    try:
        request = Request(url, headers={"User-Agent": "CharLSTM fetch_novel"})
        with urlopen(request, timeout=timeout) as response:
            size = response.headers.get("Content-Length", "")
            total = int(size) if size.isdecimal() else None
            with bar(total, "novel", "bytes") as progress:
                for piece in iter(lambda: response.read1(64 * 1024), b""):
                    body += piece
                    progress.update(len(piece))
                    if len(body) > MAX_BYTES:
                        raise ValueError(f"got over {MAX_BYTES:,} bytes, expected at most that")
    except OSError as error:
        if isinstance(error, HTTPError):
            error.close()                                              # closes the connection
        if "timed out" in str(error):                                  # a socket's timeout, or an error around one
            raise TimeoutError(f"the server sent nothing for {timeout:g} s") from None
        raise
    if total not in (None, len(body)):
        raise OSError(f"the download broke off: got {len(body):,} bytes, expected {total:,}")
    return bytes(body)


def _extract_novel(page):
    """Return the novel in Gutenberg's bytes, without licence and byte order mark, with LF. Raises ValueError."""
    text = page.decode("utf-8-sig").replace("\r\n", "\n")
    start = START.search(text)
    end = END.search(text, start.end()) if start else None
    if not (end and TITLE.search(text, start.start(), end.start()) and OPENING.search(text, start.end(), end.start())):
        raise ValueError(f"got {len(text):,} characters beginning {text[:40]!a}, expected Pride "
                         "and Prejudice between Project Gutenberg's START and END lines")
    return text[start.end():end.start()].strip() + "\n"


def _write(path, text):
    with write_whole(path) as file:
        file.write(text.encode("utf-8"))


def fetch_novel(path, url=None, timeout=10):
    """Download Pride and Prejudice to `path`, a file that must not exist yet.

    url: by default the environment's CHARLSTM_NOVEL_URL, or NOVEL_URL.
    timeout: seconds for the connection and for each answer of the server, not for the whole download.

    Raises, with one line, OSError (no connection, HTTP status, timeout, incomplete, `path` exists or
    cannot be written) or ValueError (the text is not the novel, or the address is malformed). No
    file is left then.
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
    """Write Python's language reference, the topics of help(), to `path`, in the order of their names.

    It has about 450,000 characters and differs a little between versions of Python. Raises OSError.
    """
    try:
        from pydoc_data.topics import topics  # large, and seldom needed
    except ImportError as error:
        raise OSError("this Python lacks the module pydoc_data, expected for its language reference") from error
    _write(path, "\n".join(topics[key] for key in sorted(topics)))


def locate_text(path, folder=FOLDER):
    """Return `path` or, for None, the path of the default text, also for its own path if it is missing.

    The default text is the novel in `folder`, which is fetched if it is missing. If that fails, print
    one line and use Python's language reference, which is written if it is missing. Raises OSError if
    it cannot be written.
    """
    default = os.path.realpath(os.path.join(folder, NAME))
    if path is not None and (os.path.realpath(path) != default or os.path.exists(path)):
        return path
    folder = os.path.relpath(folder)                   # for messages
    novel, reference = [os.path.join(folder, name) for name in (NAME, "python_reference.txt")]
    if os.path.exists(novel):
        return novel
    try:
        fetch_novel(novel)
        return novel
    except (OSError, ValueError) as error:
        why = error
    try:
        if not os.path.exists(reference):
            write_python_reference(reference)
    except OSError as error:
        raise OSError(f"no novel ({why}), and {error}; name a text of your own: train.py TEXT") from None
    print(f"No novel ({why}). Using Python's language reference instead, {reference}")
    return reference


def program(o):
    """Fetch the novel into this folder."""
    path = os.path.join(FOLDER, NAME)
    try:
        fetch_novel(path)
        print(f"wrote {path}")
    except FileExistsError as error:
        print(error)


if __name__ == "__main__":
    main(Parser(description=f"Fetch the default text, Pride and Prejudice, into text_input/{NAME}."), program)

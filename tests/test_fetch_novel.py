"""text_input/fetch_novel.py against a server on loopback; no test needs a network."""
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from novel import FOOTER, HEADER, NOVEL, PAGE, page_of

SCRIPT = Path(__file__).resolve().parents[1] / "text_input" / "fetch_novel.py"
spec = importlib.util.spec_from_file_location("fetch_novel", SCRIPT)
fetcher = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fetcher)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("CHARLSTM_NOVEL_URL", raising=False)


def assert_fails(folder, url, error, words, timeout=10):
    """Assert that fetch_novel raises `error` with one line that has `words`, and leaves no file."""
    with pytest.raises(error, match=words) as caught:
        fetcher.fetch_novel(folder / "novel.txt", url, timeout)
    assert "\n" not in str(caught.value) and url in str(caught.value)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("path, size", [("/novel", len(PAGE)), ("/novel", None), ("/moved", None)])
def test_novel_is_written_without_licence_mark_and_crlf(server, tmp_path, capsys, path, size):
    server.promised = size
    fetcher.fetch_novel(tmp_path / "novel.txt", server.url.replace("/novel", path))
    assert (tmp_path / "novel.txt").read_bytes() == NOVEL.encode("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["novel.txt"]
    assert server.requests == ["/moved"] * (path == "/moved") + ["/novel"]
    assert capsys.readouterr() == ("", "")  # no progress bar: stderr is not a terminal


@pytest.mark.parametrize("error, words, settings", [
    (OSError, "404", dict(status=404)),
    (OSError, f"got {len(PAGE):,} bytes, expected {len(PAGE) + 7:,}", dict(promised=len(PAGE) + 7)),
    *[(ValueError, words, dict(body=body, promised=len(body))) for body, words in (
        (b"<!DOCTYPE html>\n<html><form>Log in</form></html>", "got 48 characters beginning '<!DOC"),
        (b"", "got 0 characters"), (page_of(HEADER + NOVEL), "START and END"),
        (page_of(NOVEL + FOOTER), "START and END"),
        (page_of(HEADER + NOVEL.replace("truth", "falsehood") + FOOTER), "Pride and Prejudice"),
        (PAGE.decode("utf-8").encode("utf-16"), "utf-8"))],
], ids=["missing", "cut short", "login page", "empty", "no end", "no start", "other book", "utf-16"])
def test_answer_that_is_not_the_novel(server, tmp_path, error, words, settings):
    vars(server).update(settings)
    assert_fails(tmp_path, server.url, error, words)


def test_body_too_large_for_memory(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetcher, "MAX_BYTES", 100_000)
    assert_fails(tmp_path, server.url, ValueError, "got over 100,000 bytes")


def test_server_that_never_answers(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the backlog takes the connection
        url = "http://127.0.0.1:%d/novel" % silent.getsockname()[1]
        assert_fails(tmp_path, url, OSError, "the server sent nothing for 0.5 s", timeout=0.5)


def test_connection_refused_and_malformed_address(closed_url, tmp_path):
    assert_fails(tmp_path, closed_url, OSError, "try again later")
    assert_fails(tmp_path, "no-address", ValueError, "unknown url type")


@pytest.mark.parametrize("error", [KeyboardInterrupt, PermissionError])
def test_interrupted_write_leaves_nothing(server, tmp_path, monkeypatch, error):
    def fail(*args):
        raise error
    monkeypatch.setattr(fetcher.os, "replace", fail)
    with pytest.raises(error):
        fetcher.fetch_novel(tmp_path / "novel.txt", server.url)
    with pytest.raises(error):
        fetcher.write_python_reference(tmp_path / "reference.txt")
    assert list(tmp_path.iterdir()) == []


def test_existing_file_is_not_overwritten(server, tmp_path):
    path = tmp_path / "prideandprejudice.txt"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="exists already"):
        fetcher.fetch_novel(path, server.url)
    assert path.read_bytes() == b"mine" and server.requests == []


# ---------------------------------------------------------------- the text to learn

@pytest.fixture
def texts(server, tmp_path, monkeypatch):
    """Return a folder text_input in the current one, without the novel, which the server has."""
    monkeypatch.setenv("CHARLSTM_NOVEL_URL", server.url)
    (tmp_path / "text_input").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "text_input"


@pytest.mark.parametrize("way", [None, "./text_input/../text_input/prideandprejudice.txt", "absolute", "link"])
def test_novel_that_is_missing_is_fetched(server, texts, way):
    path = way
    if way == "absolute":
        path = str(texts / "prideandprejudice.txt")
    elif way == "link":
        (texts.parent / "linked").symlink_to(texts, target_is_directory=True)
        path = texts.parent / "linked" / "prideandprejudice.txt"
    found = fetcher.locate_text(path, str(texts))
    assert found == os.path.join("text_input", "prideandprejudice.txt")      # as a person would write it
    assert Path(found).read_bytes() == NOVEL.encode("utf-8") and server.requests == ["/novel"]
    assert fetcher.locate_text(path, str(texts)) == (found if path is None else path)
    assert server.requests == ["/novel"]


@pytest.mark.parametrize("path", [None, "text_input/prideandprejudice.txt"])
def test_python_reference_replaces_a_novel_that_cannot_be_fetched(closed_url, texts, monkeypatch, capsys, path):
    from pydoc_data.topics import topics
    monkeypatch.setenv("CHARLSTM_NOVEL_URL", closed_url)
    found = fetcher.locate_text(path, str(texts))
    assert found == os.path.join("text_input", "python_reference.txt")
    assert [entry.name for entry in texts.iterdir()] == ["python_reference.txt"]
    text = Path(found).read_bytes().decode("utf-8")
    assert text == "\n".join(topic for _, topic in sorted(topics.items())) and len(text) > 400_000
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and closed_url in out and found in out and err == ""

    Path(found).write_bytes(b"kept")
    assert fetcher.locate_text(path, str(texts)) == found and Path(found).read_bytes() == b"kept"


def test_no_text_that_can_be_written(closed_url, texts, monkeypatch, capsys):
    """As in a folder that is only read: nothing is named as a substitute that is none."""
    monkeypatch.setenv("CHARLSTM_NOVEL_URL", closed_url)
    with pytest.raises(OSError) as error:
        fetcher.locate_text(None, str(texts / "missing"))
    assert closed_url in str(error.value) and "cannot write text_input/missing/python_reference.txt" in str(error.value)
    assert str(error.value).endswith("; name a text of your own: train.py TEXT") and "\n" not in str(error.value)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("path", [
    "mine.txt", "missing.txt", "prideandprejudice.txt", "text_input", "nowhere/prideandprejudice.txt", ""])
def test_any_other_path_stays_unchanged(server, texts, path):
    """Also that of a missing file, and the novel's name in another folder: the reader then raises an error."""
    (texts.parent / "mine.txt").write_text("mine")
    for argument in (path, Path(path)):
        assert fetcher.locate_text(argument, str(texts)) == argument
    assert server.requests == [] and list(texts.iterdir()) == []


def test_default_text_is_in_the_folder_of_the_script(monkeypatch):
    paths = []
    monkeypatch.setattr(fetcher, "fetch_novel", lambda path: paths.append(os.path.abspath(path)))
    monkeypatch.setattr(fetcher, "NAME", "absent.txt")
    for folder in (SCRIPT.parent, Path(os.sep)):
        monkeypatch.chdir(folder)
        fetcher.locate_text(None)
    assert paths == [str(SCRIPT.parent / "absent.txt")] * 2


def test_script_by_itself(server, closed_url, tmp_path):
    script = tmp_path / "text_input" / SCRIPT.name  # a copy, because it writes to its own folder
    shutil.copytree(str(SCRIPT.parents[1] / "engine"), str(tmp_path / "engine"))
    script.parent.mkdir()
    script.write_bytes(SCRIPT.read_bytes())
    novel = script.parent / "prideandprejudice.txt"

    def run(url, *arguments):
        return subprocess.run([sys.executable, str(script), *arguments], universal_newlines=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=dict(os.environ, CHARLSTM_NOVEL_URL=url))

    refused = run(closed_url)
    assert refused.returncode == 2 and refused.stdout == "" and not novel.exists()
    assert refused.stderr.count("\n") == 1 and closed_url in refused.stderr

    helped = run(server.url, "--help")
    assert (helped.returncode, helped.stderr) == (0, "") and "Pride and Prejudice" in helped.stdout
    typed = run(server.url, "x")
    assert (typed.returncode, typed.stdout) == (2, "") and "fetch_novel.py: too many arguments: x" in typed.stderr
    assert server.requests == [] and not novel.exists()

    fetched = run(server.url)
    assert (fetched.returncode, fetched.stderr) == (0, "") and "wrote" in fetched.stdout
    assert novel.read_bytes() == NOVEL.encode("utf-8")

    again = run(closed_url)
    assert (again.returncode, again.stderr) == (0, "") and "exists already" in again.stdout

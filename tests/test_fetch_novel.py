"""text_input/fetch_novel.py against a server on loopback; no test needs a network."""
import os
from pathlib import Path

import pytest
from novel import FOOTER, HEADER, NOVEL, PAGE, page_of
from scripts import ROOT, run
from text_input import fetch_novel as fetcher


@pytest.fixture
def texts(server, tmp_path, monkeypatch):
    """Return a folder text_input in the current folder, without the novel, which the server sends."""
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setenv('CHARLSTM_NOVEL_URL', server.url)
    (tmp_path / 'text_input').mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'text_input'


@pytest.mark.parametrize('way', [None, './text_input/../text_input/prideandprejudice.txt', 'absolute'])
def test_novel_that_is_missing_is_fetched_once(server, texts, way):
    """Gutenberg's licence and byte order mark are removed, and lines end with LF."""
    path = str(texts / 'prideandprejudice.txt') if way == 'absolute' else way
    for _ in range(2):
        found = fetcher.locate_text(path, str(texts))
        assert os.path.realpath(found) == str(texts / 'prideandprejudice.txt')
        assert Path(found).read_bytes() == NOVEL.encode('utf-8') and server.requests == ['/novel']
    assert os.listdir(texts) == ['prideandprejudice.txt']


@pytest.mark.parametrize('settings', [
    dict(status=404), dict(promised=len(PAGE) + 7, body=PAGE[:-len(FOOTER) - 9]),
    *[dict(body=body, promised=len(body)) for body in (
        b'<!DOCTYPE html>\n<html>Log in</html>', page_of(HEADER + NOVEL),
        page_of(HEADER + NOVEL.replace('truth', 'falsehood') + FOOTER))]],
    ids=['missing', 'cut short', 'login page', 'no end', 'other book'])
def test_answer_that_is_not_the_novel(server, texts, settings, capsys):
    """Python's reference takes its place, and one line says so."""
    vars(server).update(settings)
    with pytest.raises((OSError, ValueError)):
        fetcher.fetch_novel('novel.txt')
    found = fetcher.locate_text(None, str(texts))
    assert os.listdir(texts) == ['python_reference.txt'] and os.listdir() == ['text_input']
    from pydoc_data.topics import topics
    text = Path(found).read_text(encoding='utf-8')
    assert text == '\n'.join(topic for _, topic in sorted(topics.items())) and len(text) > 400_000
    out = capsys.readouterr().out
    assert out.count('\n') == 1 and found in out
    Path(found).write_bytes(b'kept')
    assert fetcher.locate_text(None, str(texts)) == found and Path(found).read_bytes() == b'kept'


@pytest.mark.parametrize('path', ['mine.txt', 'missing.txt', 'prideandprejudice.txt', 'text_input', ''])
def test_any_other_path_stays_unchanged(server, texts, path):
    """Even that of a missing file, or the novel's name in another folder: reading it then raises an error."""
    (texts.parent / 'mine.txt').write_text('mine')
    assert fetcher.locate_text(path, str(texts)) == path
    assert server.requests == [] and os.listdir(texts) == []


def test_script_by_itself(server, closed_url, program):
    """It also runs from another folder, and does not replace an existing file."""
    script, novel = program / 'text_input' / 'fetch_novel.py', program / 'text_input' / 'prideandprejudice.txt'
    for url, status, words in ((closed_url, 1, closed_url), (server.url, 0, ''), (server.url, 1, 'exists already')):
        result = run(script, cwd=ROOT.parent, env={'CHARLSTM_NOVEL_URL': url})
        assert (result.returncode, result.stdout) == (status, '') and words in result.stderr
        assert result.stderr.count('\n') == status and novel.exists() == (url == server.url)
    assert novel.read_bytes() == NOVEL.encode('utf-8') and len(server.requests) == 1

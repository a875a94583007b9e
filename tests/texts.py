"""Texts for the tests that read texts and cut them into batches."""
from hypothesis import strategies as st

POEM = 'Zwölf Boxkämpfer jagen\nEva über den Sylter Deich.\n' * 3
CHARACTERS = st.characters(blacklist_categories=['Cs'])
TEXTS = st.one_of(st.text(CHARACTERS, min_size=2, max_size=90), st.text('ab\n\r\0é𝄞', min_size=2, max_size=400))


def as_read(text):
    """Return a text as it should be read: without byte order mark, and with line ends as LF."""
    if text.startswith('\ufeff'):
        text = text[1:]
    return text.replace('\r\n', '\n').replace('\r', '\n')


def written(folder, text):
    path = folder / 't.txt'
    path.write_bytes(text.encode('utf-8'))
    return str(path)

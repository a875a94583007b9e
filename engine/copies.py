"""Find which passages of a text, such as one that a model wrote, stand in another text."""
import sys
from typing import NamedTuple

from engine.model.files import base_name
from engine.terminal import number_of

LEAST = 31                 # characters of a passage that counts as copied
MOST_WRITTEN = 1_000_000   # characters that are compared, at most: each takes some 300 bytes
AROUND = 40                # characters before and after a passage that are shown
SHOWN = 300                # characters of a passage that are shown, at most


# ---------------------------------------------------------------- finding

class Passage(NamedTuple):
    """A passage of one text that stands in another: where it begins, its length, and where it first begins there."""
    start: int
    length: int
    at: int


def refuse_many(n):
    """Raise ValueError for more characters than are compared."""
    if n > MOST_WRITTEN:
        raise ValueError(f'{n:,} characters are to be found in another text: expected at most {MOST_WRITTEN:,}')


def _windows(text, n):
    return {text[i:i + n] for i in range(len(text) - n + 1)}


def _places(written, text, n):
    """Return the passages of n characters that both texts have, each with its first and its last place in `text`.

    Of every k positions in a row one is a multiple of k, so a passage of n >= 2k-1 characters has k characters inside
    that begin at one. Only around those are passages looked up.
    """
    k = (n + 1) // 2
    windows, parts, places, end = _windows(written, n), _windows(written, k), {}, 0
    for at in range(0, len(text), k):
        if text[at:at + k] in parts:
            for i in range(max(end, at + k - n), at + 1):
                if text[i:i + n] in windows:
                    places.setdefault(text[i:i + n], [i, i])[1] = i
            end = at + 1
    return places


def copied_passages(written, text, least=LEAST):
    """Return the passages of `written`, a string, that stand in `text`, another, in their order: a list of Passages.

    A passage has at least `least` characters, and is the longest possible: with the character before it or the one
    after it, it stands nowhere in `text`. Passages may overlap. Raises ValueError unless least is at least 1, and for
    more than MOST_WRITTEN characters of `written`.
    """
    if least < 1:
        raise ValueError(f'least is {least}: expected at least 1')
    refuse_many(len(written))
    return _passages(written, text, least)


def _passages(written, text, least=LEAST):
    """Return what copied_passages returns, without its checks."""
    def find(start, end):
        """Return where written[start:end] first stands in the text, -1: nowhere. Look where its ends do."""
        offset = end - start - least
        (first, last), (first_end, last_end) = [places.get(written[i:i + least], (0, -1)) for i in (start, end - least)]
        return text.find(written[start:end], max(first, first_end - offset), min(last, last_end - offset) + end - start)

    def more(start, end, before, after, most, step):
        """Return the largest n <= most for which written[start - n * before:end + n * after] stands in the text."""
        n = 0
        while step:
            longer = n + step
            if longer <= most and find(start - longer * before, end + longer * after) >= 0:
                n, step = longer, 2 * step
            else:
                step //= 2
        return n

    places, passages, start, end = _places(written, text, least), [], -1, 0
    for i in range(len(written) - least + 1):
        if i + least > end and written[i:i + least] in places:         # ends after the last passage
            most = i - start - 1                                       # it begins after the last one, too
            start, end = i - more(i, i + least, 1, 0, most, most), i + least
            end += more(start, end, 0, 1, len(written) - end, 1)
            passages.append(Passage(start, end - start, find(start, end)))
    return passages


def longest_passage(written, text):
    """Return the first of the longest passages of `written` that stand in `text`, a Passage; None without any."""
    least = LEAST
    while least:
        passages = _passages(written, text, least)
        if passages:
            return max(passages, key=lambda passage: passage.length)
        least = least * 3 // 4                 # in steps, since a search for shorter ones takes more time
    return None


# ---------------------------------------------------------------- telling

class Copies(NamedTuple):
    """What of written characters stands in an original text.

    written: these characters, a string; if it is of several texts, they are joined by a character that the original
    does not have. characters: their number without that. passages: those of at least LEAST characters. longest: the
    longest passage, also a shorter one; None if no character stands in the original.
    """
    original: 'Original'
    written: str
    characters: int
    passages: list
    longest: Passage

    @property
    def copied(self):
        """Return the number of characters that are in the passages, each counted once."""
        count = end = 0
        for passage in self.passages:
            count += passage.start + passage.length - max(passage.start, end)
            end = passage.start + passage.length
        return count

    @property
    def whole(self):
        """Return whether all is one passage."""
        return bool(self.passages) and self.passages[0].length == self.characters

    def places(self, passages):
        """Return passages as a list of dicts that JSON can hold: with the line, from 1, and the characters around."""
        text, lines, line, last = self.original.text, {}, 1, 0
        for at in sorted({passage.at for passage in passages}):
            line += text.count('\n', last, at)
            lines[at], last = line, at
        found = []
        for passage in passages:
            at, end = passage.at, passage.at + passage.length
            found.append(dict(passage._asdict(), line=lines[at], before=text[max(0, at - AROUND):at],
                              after=text[end:end + AROUND]))
        return found

    def fields(self):
        """Return what JSON says of the copies."""
        return dict(file=self.original.name, characters=self.characters, copied_characters=self.copied,
                    longest=self.places([self.longest])[0] if self.longest else None,
                    passages=self.places(self.passages))

    def share(self):
        """Return a line on how much stands in the original."""
        entry, verb = self.original.entry, 'stands' if self.characters == 1 else 'stand'
        return (f'{100 * self.copied / max(1, self.characters):.1f} % of {number_of(self.characters, entry)} {verb} in '
                f'{self.original.name} in passages of over {LEAST - 1} {entry}s')

    def lines(self):
        """Return lines on how much stands in the original, on the longest passage, and where that stands."""
        if not self.longest:
            return [self.share(), f'no {self.original.entry} stands in {self.original.name}']
        entry, (place,) = self.original.entry, self.places([self.longest])
        passage = self.written[self.longest.start:][:self.longest.length]
        shown = repr(passage) if len(passage) <= SHOWN else f'{passage[:SHOWN]!r} ...'
        return [self.share(), f'the longest passage has {number_of(len(passage), entry)}: {shown}',
                'it stands there at {} {:,}, line {line:,}, between {before!r} and {after!r}'.format(
                    entry, place['at'] + 1, **place)]


class Original(NamedTuple):
    """A text that another one may have copies of. name: of its file or folder. entry: 'byte' for a text of bytes."""
    text: str
    name: str
    entry: str = 'character'

    def compare(self, texts):
        """Return the Copies in texts, a list of strings. Raises ValueError for more than MOST_WRITTEN characters."""
        characters = sum(map(len, texts))
        refuse_many(characters)
        absent = next(chr(code) for code in range(sys.maxunicode, 0, -1) if chr(code) not in self.text)
        written = absent.join(texts)
        passages = _passages(written, self.text)
        longest = max(passages, key=lambda passage: passage.length) if passages else longest_passage(written, self.text)
        return Copies(self, written, characters, passages, longest)


def read(path, encoding, say):
    """Return the Original in a file or folder; say() gets a line on a folder.

    Raises OSError when it cannot be read, ValueError when it is no text, not in that encoding, or empty.
    """
    from engine.model.text import read_string          # late, so that --help does not wait for NumPy
    text = read_string(path, encoding)
    if not text:
        raise ValueError(f'{path} is empty: expected a text in which to look for copies')
    return Original(text, base_name(path))

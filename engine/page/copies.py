"""Find which passages of a text, such as one that a model wrote, stand in another text."""
import sys
from typing import NamedTuple

from engine.terminal import number_of

LEAST = 31                 # characters of a passage that counts as copied
AROUND = 40                # characters before and after a passage that are shown
SHOWN = 300                # characters of a passage that are shown, at most


class Passage(NamedTuple):
    """A passage of one text that stands in another: where it begins, its length, and where it first begins there."""
    start: int
    length: int
    at: int


def copied_passages(written, text, least=LEAST):
    """Return the Passages of the string `written` that stand in the string `text`, in their order.

    A passage has at least `least` characters and is the longest possible: with the character before it or the one
    after it, it stands nowhere in `text`. Passages may overlap.
    """
    windows, places = {written[i:i + least] for i in range(len(written) - least + 1)}, {}
    for at in range(len(text) - least + 1):
        if text[at:at + least] in windows:
            places.setdefault(text[at:at + least], [at, at])[1] = at           # its first place in the text, its last

    def find(start, end):
        """Return where written[start:end] first stands in the text, -1: nowhere. Look only where its ends stand."""
        (first, last), (first_end, last_end) = [places.get(written[i:i + least], (0, -1)) for i in (start, end - least)]
        offset = end - start - least
        return text.find(written[start:end], max(first, first_end - offset), min(last, last_end - offset) + end - start)

    def most(fits, limit, step):
        """Return the largest n <= limit for which fits(n), which is true up to there. step: the first to try."""
        n = 0
        while step:
            longer = n + step <= limit and fits(n + step)
            n, step = (n + step, 2 * step) if longer else (n, step // 2)
        return n

    passages, start, end = [], -1, 0
    for i in range(len(written) - least + 1):
        if i + least > end and written[i:i + least] in places:                 # it ends after the last passage,
            limit = i - start - 1                                              # and begins after that one, too
            start = i - most(lambda n: find(i - n, i + least) >= 0, limit, limit)
            end = i + least + most(lambda n: find(start, i + least + n) >= 0, len(written) - i - least, 1)
            passages.append(Passage(start, end - start, find(start, end)))
    return passages


class Copies(NamedTuple):
    """What of `written` stands in the text of a file: of texts, joined by a character that is not in that text."""
    name: str                          # of the file
    text: str
    written: str
    characters: int                    # of the texts
    passages: list[Passage]            # of at least LEAST characters
    longest: Passage | None            # it may be shorter; None if no character stands in the file

    @property
    def copied(self):
        """Return the number of characters that are in the passages, each counted once."""
        following = [passage.start for passage in self.passages[1:]] + [len(self.written)]
        return sum(min(length, after - start) for (start, length, _), after in zip(self.passages, following))

    @property
    def whole(self):
        """Return whether all is one passage."""
        return bool(self.passages) and self.passages[0].length == self.characters

    def places(self, passages):
        """Return passages as a list of dicts that JSON can hold: with the line, from 1, and the characters around."""
        return [dict(start=start, length=length, at=at, line=1 + self.text.count('\n', 0, at),
                     before=self.text[max(0, at - AROUND):at], after=self.text[at + length:at + length + AROUND])
                for start, length, at in passages]

    def fields(self):
        """Return what JSON says of the copies."""
        return dict(file=self.name, characters=self.characters, copied_characters=self.copied,
                    longest=self.places([self.longest])[0] if self.longest else None,
                    passages=self.places(self.passages))

    def share(self):
        """Return a line on how much stands in the file."""
        return (f'{100 * self.copied / max(1, self.characters):.1f} % of {number_of(self.characters, "character")} '
                f'stand in {self.name} in passages of over {LEAST - 1} characters')

    def description(self):
        """Return lines on how much stands in the file, on the longest passage, and where that stands."""
        if not self.longest:
            return f'{self.share()}\nno character stands in {self.name}'
        (place,), (start, length, at) = self.places([self.longest]), self.longest
        more = ' ...' if length > SHOWN else ''
        return (f'{self.share()}\nthe longest passage has {number_of(length, "character")}: '
                f'{self.written[start:start + length][:SHOWN]!r}{more}\nit stands there at character {at + 1:,}, line '
                f'{place["line"]:,}, between {place["before"]!r} and {place["after"]!r}')


def compare(texts, text, name):
    """Return the Copies in texts, a list of strings, of the text of a file of that name."""
    absent = next(chr(code) for code in range(sys.maxunicode, 0, -1) if chr(code) not in text)
    written, least = absent.join(texts), LEAST
    passages = found = copied_passages(written, text)
    while not found and least > 1:             # in steps, since a search for shorter ones takes more time
        least = least * 3 // 4
        found = copied_passages(written, text, least)
    longest = max(found, key=lambda passage: passage.length, default=None)
    return Copies(name, text, written, sum(map(len, texts)), passages, longest)

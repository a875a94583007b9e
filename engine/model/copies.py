"""Find which passages of a text, such as one that a model wrote, stand in another text."""
from typing import NamedTuple

from engine.terminal import number_of

LEAST = 31                 # characters of a passage that counts as copied
AROUND = 40                # characters before and after a passage that are shown
SHOWN = 300                # characters of a passage that are shown, at most
NO_CHARACTER = '\U0010ffff'        # stands in no text, as Unicode says


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
    places = {written[i:i + least]: [] for i in range(len(written) - least + 1)}       # in the text
    for at in range(len(text) - least + 1):
        if text[at:at + least] in places:
            places[text[at:at + least]].append(at)
    passages, end = [], 0
    for start in range(len(written) - least + 1):
        end = last = max(end, start + least - 1)           # a passage from here is new if it ends after that
        for at in places[written[start:start + least]]:
            while end < len(written) and text.startswith(written[start:end + 1], at):
                first, end = at, end + 1
        if end > last:
            passages.append(Passage(start, end - start, first))
    return passages


def compare(texts, text, name):
    """Return what of texts, a list of strings, stands in the text of a file of that name, a dict that JSON can hold.

    passages: those of at least LEAST characters, each with its line in the file, from 1, and the characters around it.
    copied_characters: how many are in passages, each counted once. longest: the longest passage, which may be shorter;
    None if no character stands in the file.
    """
    written, least = NO_CHARACTER.join(texts), LEAST
    passages = found = copied_passages(written, text)
    while not found and least > 1:             # in steps, since a search for shorter ones takes more time
        least = least * 3 // 4
        found = copied_passages(written, text, least)
    longest = max(found, key=lambda passage: passage.length, default=None)
    following = [passage.start for passage in passages[1:]] + [len(written)]
    copied = sum(min(passage.length, after - passage.start) for passage, after in zip(passages, following))

    def place(passage):
        at, end = passage.at, passage.at + passage.length
        return dict(passage._asdict(), line=1 + text.count('\n', 0, at), before=text[max(0, at - AROUND):at],
                    after=text[end:end + AROUND])

    return dict(file=name, characters=sum(map(len, texts)), copied_characters=copied,
                longest=longest and place(longest), passages=list(map(place, passages)))


def share(copies):
    """Return a line on how much stands in the file. copies: what compare() returned."""
    return (f'{100 * copies["copied_characters"] / max(1, copies["characters"]):.1f} % of '
            f'{number_of(copies["characters"], "character")} stand in {copies["file"]} in passages of over {LEAST - 1} '
            'characters')


def description(copies, text):
    """Return lines on how much stands in the file, on the longest passage, and where that stands. text: of the file."""
    longest = copies['longest']
    if not longest:
        return f'{share(copies)}\nno character stands in {copies["file"]}'
    at, length = longest['at'], longest['length']
    more = ' ...' if length > SHOWN else ''
    return (f'{share(copies)}\nthe longest passage has {number_of(length, "character")}: '
            f'{text[at:at + length][:SHOWN]!r}{more}\nit stands there at character {at + 1:,}, line '
            f'{longest["line"]:,}, between {longest["before"]!r} and {longest["after"]!r}')

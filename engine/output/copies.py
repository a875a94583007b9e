"""Find the passages of a text, such as one that a model wrote, that occur in another text."""
from engine.terminal import number_of

LEAST = 31                 # fewest characters of a passage that counts as copied
AROUND = 40                # characters shown before and after a passage
SHOWN = 300                # most characters shown of a passage
NO_CHARACTER = '\U0010ffff'        # a noncharacter of Unicode, which occurs in no text


def copied_passages(written, text, least=LEAST):
    """Return the passages of the string `written` that occur in the string `text`, in order.

    Each is a tuple: its start, its length, and its first place in `text`. It has at least `least` characters. It is
    as long as possible: with one more character on either side, it does not occur in `text`. Passages may overlap.
    """
    places = {written[i:i + least]: [] for i in range(len(written) - least + 1)}       # where each is in text
    for at in range(len(text) - least + 1):
        if text[at:at + least] in places:
            places[text[at:at + least]].append(at)
    passages, end = [], 0
    for start in range(len(written) - least + 1):
        end = last = max(end, start + least - 1)           # a passage from here is new only if it ends later
        for at in places[written[start:start + least]]:
            while end < len(written) and text.startswith(written[start:end + 1], at):
                first, end = at, end + 1
        if end > last:
            passages.append((start, end - start, first))
    return passages


def compare(texts, text, name):
    """Find the passages of some texts, a list of strings, that occur in the text of the file `name`.

    Returns a dict that JSON can hold. passages: those of at least LEAST characters, each with its line in the file,
    counted from 1, and the characters around it. copied_characters: how many are in passages, each counted once.
    longest: the longest passage, even if it is shorter than LEAST; None if no character occurs in the file.
    """
    written, least = NO_CHARACTER.join(texts), LEAST
    passages = found = copied_passages(written, text)
    while not found and least > 1:             # in steps, since shorter ones take longer to find
        least = least * 3 // 4
        found = copied_passages(written, text, least)
    longest = max(found, key=lambda passage: passage[1], default=None)
    following = [start for start, _, _ in passages[1:]] + [len(written)]
    copied = sum(min(length, after - start) for (start, length, _), after in zip(passages, following))

    def place(start, length, at):
        end = at + length
        return dict(start=start, length=length, at=at, line=1 + text.count('\n', 0, at),
                    before=text[max(0, at - AROUND):at], after=text[end:end + AROUND])

    return dict(file=name, characters=sum(map(len, texts)), copied_characters=copied,
                longest=longest and place(*longest), passages=[place(*passage) for passage in passages])


def description(copies, text):
    """Return lines on how much occurs in the file, and on the longest passage and its place. text: of the file.

    copies: the result of compare().
    """
    share = 100 * copies['copied_characters'] / max(1, copies['characters'])
    line = (f'{share:.1f} % of {number_of(copies["characters"], "character")} occur in {copies["file"]} in passages of '
            f'over {LEAST - 1} characters')
    longest = copies['longest']
    if not longest:
        return f'{line}\nno character occurs in {copies["file"]}'
    at, length = longest['at'], longest['length']
    more = ' ...' if length > SHOWN else ''
    return (f'{line}\nthe longest passage has {number_of(length, "character")}: '
            f'{text[at:at + length][:SHOWN]!r}{more}\nit occurs there at character {at + 1:,}, line '
            f'{longest["line"]:,}, between {longest["before"]!r} and {longest["after"]!r}')

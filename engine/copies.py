"""Find which passages of a text, such as one that a model wrote, stand in another text."""
import sys
from typing import NamedTuple

from engine.files import base_name

LEAST = 31                 # characters of a passage that counts as copied
MOST_WRITTEN = 1_000_000   # characters that are compared, at most: the automaton takes some 500 bytes for each
AROUND = 40                # characters before and after a passage that are shown
SHOWN = 300                # characters of a passage that are shown, at most


# ---------------------------------------------------------------- finding

class Passage(NamedTuple):
    """A passage of one text that stands in another: where it begins, its length, and where it first begins there."""
    start: int
    length: int
    at: int


def _regions(grams, k, text):
    """Yield (start, end) of the parts of a text that have all its passages of at least 2k-1 characters in common.

    grams: the passages of k characters of the other text. Of every k positions in a row one is a multiple of k, so a
    passage of 2k-1 characters has a passage of k characters inside that begins at a multiple of k.
    """
    start = end = 0
    for at in range(0, len(text), k):
        if text[at:at + k] in grams:
            if at - k + 1 > end:
                yield start, end
                start = at - k + 1
            end = min(len(text), at + 2 * k - 1)
    yield start, end


def _suffix_automaton(text):
    """Return the suffix automaton of a text (Blumer et al. 1985), which recognises all its passages in linear time.

    A state stands for the passages that end at the same places of the text; each but the longest is a suffix of the
    longest. State 0 is the empty passage. Returns, by state, the states after one more character, the state of the
    longest shorter suffix, and the length of the longest passage; then the states of text[:1], text[:2] ...
    """
    moves, links, lengths, beginnings, last = [{}], [-1], [0], [], 0
    for character in text:
        new, state = len(moves), last
        moves.append({})
        lengths.append(lengths[last] + 1)
        while state >= 0 and character not in moves[state]:
            moves[state][character] = new
            state = links[state]
        target = moves[state][character] if state >= 0 else 0
        if state >= 0 and lengths[target] > lengths[state] + 1:        # only its shorter passages end here, too
            shorter = new + 1
            moves.append(dict(moves[target]))
            lengths.append(lengths[state] + 1)
            while state >= 0 and moves[state].get(character) == target:
                moves[state][character] = shorter
                state = links[state]
            links += [shorter, links[target]]
            links[target] = shorter
        else:
            links.append(target)
        beginnings.append(new)
        last = new
    return moves, links, lengths, beginnings


def _longest_in(text, regions, moves, links, lengths):
    """Return, by state of an automaton, its longest passage in the regions of a text, and where that first ends.

    The length is 0 where there is none. Other arguments: those that _suffix_automaton returns.
    """
    longest, ends, first_ends = [0] * len(moves), [0] * len(moves), [len(text) + 1] * len(moves)
    for start, end in regions:
        state = length = 0
        for k, character in enumerate(text[start:end], start + 1):
            while state and character not in moves[state]:
                state = links[state]
                length = lengths[state]
            state = moves[state].get(character, 0)
            length = length + 1 if state else 0
            if length > longest[state]:
                if not longest[state]:
                    first_ends[state] = k
                longest[state], ends[state] = length, k
    shortest_first = sorted(range(1, len(moves)), key=lengths.__getitem__)
    for state in reversed(shortest_first):                 # where a passage is, its suffixes are
        link = links[state]
        if longest[state]:
            first_ends[link] = min(first_ends[link], first_ends[state])
            ends[link] = min(first_ends[state], ends[link] if longest[link] == lengths[link] else len(text))
            longest[link] = lengths[link]
    for state in shortest_first:                           # where none of a state is, a shorter suffix may be
        if not longest[state]:
            longest[state], ends[state] = longest[links[state]], ends[links[state]]
    return longest, ends


def refuse_many(n):
    """Raise ValueError for more characters than are compared."""
    if n > MOST_WRITTEN:
        raise ValueError(f'{n:,} characters are to be found in another text: expected at most {MOST_WRITTEN:,}')


def copied_passages(written, text, least=LEAST):
    """Return the passages of `written`, a string, that stand in `text`, another, in their order: a list of Passages.

    A passage has at least `least` characters, and is the longest possible: with the character before it or the one
    after it, it stands nowhere in `text`. Passages may overlap. It takes time in proportion to both lengths, and the
    less the larger `least` is. Raises ValueError unless least is at least 1, and for more than MOST_WRITTEN characters
    of `written`.
    """
    if least < 1:
        raise ValueError(f'least is {least}: expected at least 1')
    refuse_many(len(written))
    k = (least + 1) // 2
    regions = list(_regions({written[at:at + k] for at in range(len(written) - k + 1)}, k, text))
    *automaton, beginnings = _suffix_automaton(written)
    longest, ends = _longest_in(text, regions, *automaton)
    lengths = [longest[state] for state in beginnings] + [0]
    return [Passage(k + 1 - lengths[k], lengths[k], ends[state] - lengths[k]) for k, state in enumerate(beginnings)
            if lengths[k] >= least and lengths[k + 1] <= lengths[k]]


def longest_passage(written, text):
    """Return the first of the longest passages of `written` that stand in `text`, a Passage; None without any."""
    least = LEAST
    while least:
        passages = copied_passages(written, text, least)
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
        return (f'{100 * self.copied / max(1, self.characters):.1f} % of {self.characters:,} characters stand in '
                f'{self.original.name} in passages of over {LEAST - 1} characters')

    def lines(self):
        """Return lines on how much stands in the original, on the longest passage, and where that stands."""
        if not self.longest:
            return [self.share(), f'no character stands in {self.original.name}']
        place, = self.places([self.longest])
        passage = self.written[self.longest.start:][:self.longest.length]
        shown = repr(passage) if len(passage) <= SHOWN else f'{passage[:SHOWN]!r} ...'
        return [self.share(), f'the longest passage has {len(passage):,} characters: {shown}',
                'it stands there at character {at:,}, line {line:,}, between {before!r} and {after!r}'.format(**place)]


class Original(NamedTuple):
    """A text that another one may have copies of. name: of its file or folder."""
    text: str
    name: str

    def compare(self, texts):
        """Return the Copies in texts, a list of strings. Raises what copied_passages raises."""
        absent = next(chr(code) for code in range(sys.maxunicode, 0, -1) if chr(code) not in self.text)
        written = absent.join(texts)
        passages = copied_passages(written, self.text)
        longest = max(passages, key=lambda passage: passage.length) if passages else longest_passage(written, self.text)
        return Copies(self, written, sum(map(len, texts)), passages, longest)


def read(path, encoding, say):
    """Return the Original in a file or folder; say() gets a line on a folder.

    Raises what read_text raises, and ValueError for an empty text.
    """
    from engine.state.text import read_files, string_of      # late, so that --help does not wait for NumPy
    codes, uchar, _, files = read_files(path, encoding)
    if files:
        say(files)
    if not len(codes):
        raise ValueError(f'{path} is empty: expected a text in which to look for copies')
    return Original(string_of(codes, uchar), base_name(path))

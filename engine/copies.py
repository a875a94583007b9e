"""Is it copying? Which passages of a text, such as one that a model wrote, stand in another text."""
import sys
from typing import NamedTuple

LEAST = 31                 # characters of a passage that counts as copied
MOST_WRITTEN = 1_000_000   # characters that are compared at a time, at most: the automaton takes some 500 bytes for each
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
    longest. Returns, by state, the states after one more character; the state of the longest shorter suffix; and the
    length of the longest passage; and the states of the beginnings text[:1], text[:2] ... State 0 is the empty passage.
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
    """What of a text stands in another one, of a name: its passages of at least LEAST characters, and the longest."""
    written: str
    text: str
    name: str
    passages: list
    longest: Passage

    @property
    def copied(self):
        """The number of characters that are in the passages."""
        count = end = 0
        for passage in self.passages:
            count += passage.start + passage.length - max(passage.start, end)
            end = passage.start + passage.length
        return count

    def lines_of(self, passages):
        """Return the numbers of the lines of the text in which passages begin, by `at`."""
        numbers, number, before = {}, 1, 0
        for at in sorted({passage.at for passage in passages}):
            number += self.text.count('\n', before, at)
            numbers[at], before = number, at
        return numbers

    def fields(self, passage, number):
        """Return a passage as a dict that JSON can hold. number: of its line in the text."""
        end = passage.at + passage.length
        return dict(start=passage.start, length=passage.length, at=passage.at, line=number,
                    before=self.text[max(0, passage.at - AROUND):passage.at], after=self.text[end:end + AROUND])

    def as_json(self):
        """Return all as a dict that JSON can hold."""
        numbers = self.lines_of([*self.passages, *filter(None, [self.longest])])
        passages, longest = [[self.fields(one, numbers[one.at]) for one in some if one]
                             for some in (self.passages, [self.longest])]
        return dict(file=self.name, of_characters=len(self.written), copied_characters=self.copied,
                    longest=longest[0] if longest else None, passages=passages)

    def summary(self):
        """Return lines in words: how much was copied, the longest passage, and where that stands."""
        share = f'{100 * self.copied / max(1, len(self.written)):.1f} % of {len(self.written):,} characters'
        lines = [f'{share} stand in {self.name} in passages of over {LEAST - 1} characters']
        if self.longest:
            one = self.fields(self.longest, self.lines_of([self.longest])[self.longest.at])
            passage = self.written[one['start']:one['start'] + one['length']]
            shown = repr(passage[:SHOWN]) + ' ...' * (len(passage) > SHOWN)
            lines += [f'the longest passage has {one["length"]:,} characters: {shown}',
                      f'it stands there at character {one["at"]:,}, in line {one["line"]:,}, after {one["before"]!r}, '
                      f'before {one["after"]!r}']
        return lines


def compare(written, text, name):
    """Return the Copies of a text in another one. Raises what copied_passages raises."""
    passages = copied_passages(written, text)
    longest = max(passages, key=lambda passage: passage.length) if passages else longest_passage(written, text)
    return Copies(written, text, name, passages, longest)


def joined(texts, text):
    """Return texts as one, between which stands a character that `text` does not have: no passage is of two."""
    return next(chr(code) for code in range(sys.maxunicode, 0, -1) if chr(code) not in text).join(texts)

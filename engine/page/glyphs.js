// How single characters are shown.

const glyphs = {
  MARKS: {'\n': '\u21b5\n', '\t': '\u2192\t', '': '\xb7'},    // of characters that are invisible by themselves

  /** A character as it is shown. */
  marked: character => glyphs.MARKS[character] || format.visible(character),

  spanOf(character) {
    const span = element('span', character in glyphs.MARKS ? 'faint' : '', glyphs.marked(character));
    if (format.visible(character) !== character) span.dir = 'ltr';     // an escape, also in a line from right to left
    return span;
  },

  /** The name of a character, in bold. */
  inBold: number => element('b', '', element('bdi', '', model.vocabulary.nameOf(number))),

  /**
   * Blocks of spans, one a line, so that the browser lays out and draws only those that are seen or change. A line that
   * is longer than `most` characters is broken at its next space.
   */
  linesOf(spans, most = Infinity) {
    const lines = [];
    let line = [];
    spans.forEach((span, k) => {
      line.push(span);
      const shown = span.textContent, ends = shown.endsWith('\n') || line.length > most && shown === ' ';
      if (!ends && k < spans.length - 1) return;
      const block = element('div', 'line', ...line);
      block.style.setProperty('--length', line.length);
      lines.push(block);
      line = [];
    });
    return lines;
  },
};

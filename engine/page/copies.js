// Passages of the text that stand in another text: underlined, and described where the reader looks.

/** Underlines the passages of the text, and describes the one that the reader looks at. */
function copiedPassages(text) {
  const SHOWN_OF_PASSAGE = 12;                             // characters of its beginning and of its end
  let passage = null;                                      // the longest one that the reader looks at

  /** Sets or removes an attribute on the characters of a passage. Not a class: paint() sets the classes. */
  function markPassage({start, length}, attribute, on) {
    for (const span of text.spans.slice(start, start + length)) span.toggleAttribute(attribute, on);
  }

  /** Says where the passage stands that the reader looks at, and emphasises it in the text. */
  function showPassage() {
    const {place} = state;
    const around = data.copies.passages.filter(({start, length}) => start <= place && place < start + length);
    if (passage) markPassage(passage, 'data-looked', false);
    passage = around.reduce((best, other) => !best || other.length > best.length ? other : best, null);
    if (!passage) return byId('passage').replaceChildren();
    markPassage(passage, 'data-looked', true);
    byId('passage').replaceChildren(element('div', 'card',
      element('b', '', `${format.grouped(passage.length)} ${model.vocabulary.entryName}s`),
      ` stand in line ${format.grouped(passage.line)} of `, element('bdi', '', format.visible(data.copies.name)), ':',
      element('div', 'quoted', element('bdi', '', format.onOneLine(passage.before), element('b', '', shownPassage()),
        format.onOneLine(passage.after)))));
  }

  /** The passage as a text, or its beginning and its end. */
  function shownPassage() {
    const all = text.spelled.slice(passage.start, passage.start + passage.length);
    const some = all.length <= 2 * SHOWN_OF_PASSAGE ? all
      : [...all.slice(0, SHOWN_OF_PASSAGE), ' \u2026 ', ...all.slice(-SHOWN_OF_PASSAGE)];
    return format.onOneLine(some.join(''));
  }

  byId('copies').textContent = format.visible(data.copies.line);
  byId('copies').hidden = false;
  for (const one of data.copies.passages) markPassage(one, 'data-copied', true);
  state.follow(['place'], showPassage);
}

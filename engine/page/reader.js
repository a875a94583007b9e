// The text beside which Surprise and Cells stand: that of the page, or one of the reader's. A span a character, of which
// the reader looks at one.

const text = {
  MOST: 10_000,                                            // characters of a text of the reader's
  EXPECTED: 5,                                             // next characters that are kept of each place
  own: false,                                              // whether it is the reader's
  numbers: [], spelled: [], spans: [],
  expected: null,                                          // what the model expected: {costs, best, chances}
  reading: null,                                           // a function that returns the Reading
  page: null,                                              // numbers and expected of the page's text
  shown: null,                                             // the span that has the mark

  /** Shows a text. expected: of the page's text, from Python; without it, the reading tells, and goes on at the end. */
  show(numbers, expected) {
    const before = text.own && text.reading();
    text.page = text.page || {numbers, expected};
    text.own = !expected;
    text.numbers = numbers;
    text.reading = once(() => new Reading(model.network(), numbers, text.EXPECTED));
    if (text.own && before) text.reading().takeFrom(before);
    text.expected = expected || text.reading();
    text.spelled = Array.from(numbers, number => vocabulary.uchar[number]);
    text.spans = [...text.spelled, ...text.own ? [''] : []].map(glyphs.spanOf);
    text.spans.forEach((span, k) => { span.id = 'character-' + k; });
    byId('text').replaceChildren(...glyphs.linesOf(text.spans));
    if (text.foreign < numbers.length) text.spans[text.foreign].toggleAttribute('data-written', true);
    byId('source').hidden = text.own;
    text.mark();
    text.markCopies();
  },

  /** Takes what the reader typed or pasted; without any, the text of the page is shown again. */
  takeWords() {
    const {numbers, line} = vocabulary.taken(state.words, text.MOST);
    say('words-unknown', line);
    if (byId('words').value !== state.words) byId('words').value = state.words;
    byId('own').open = byId('own').open || state.words !== '';
    if (numbers.length) text.show(numbers);
    else if (text.own) text.show(text.page.numbers, text.page.expected);
    if (state.view) call('show');
  },

  /** How many characters of the page's text, from the first on, the model did not write; all if it wrote nearly all. */
  ofPage: () => data.written === null || data.written < 100 ? text.page.numbers.length : data.written,

  /** The same of the text that is shown. */
  get foreign() {
    return text.own ? text.numbers.length : text.ofPage();
  },

  /** The number of the character that the reader looks at; of a text of the reader's also the place after the last. */
  get place() {
    return Math.min(state.place, text.spans.length - 1);
  },

  /** Marks the character that the reader looks at. */
  mark() {
    if (text.shown) text.shown.classList.remove('here', 'pinned');
    text.shown = text.spans[text.place];
    text.shown.classList.add('here');
    text.shown.classList.toggle('pinned', state.pinned);
    text.showPassage();
  },

  /** Colours the text by level(k) for each character. */
  paint(level) {
    text.spans.forEach((span, k) => colour.tint(span, level(k)));
  },

  bringIntoSight() {
    text.spans[text.place].scrollIntoView({block: 'nearest'});
  },

  /** Makes the reader look at a character, and scrolls to it. */
  goTo(k) {
    state.change({place: Math.max(0, Math.min(text.spans.length - 1, k)), pinned: true});
    text.bringIntoSight();
  },

  /** The text before a character, on a line. */
  before: k => (k > 24 ? '\u2026' : '') + format.onOneLine(text.spelled.slice(Math.max(0, k - 24), k).join('')),

  /** The text before a character, and a mark for the character. */
  contextOf: k => element('div', 'context', element('bdi', '', text.before(k)), element('span', 'asked', '?')),

  /** A table of the characters: what row(k) returns after the number and the text of each. names: of the columns. */
  table(names, row) {
    return [['number', 'character', ...names], ...text.spelled.map((character, k) => [k, character, ...row(k)])];
  },

  /** The character that surprised most of those that are seen at first, after enough others to expect it from. */
  strikingPlace() {
    const {costs} = text.page.expected, first = costs.length < 100 ? 0 : 50;
    const seen = costs.subarray(first, Math.min(400, text.ofPage() - 1));
    return seen.length ? 1 + first + seen.indexOf(Math.max(...seen)) : 0;
  },

  /** The character on the line below (direction 1) or above (-1) that is nearest to the one looked at. */
  lineAway(direction) {
    const {spans} = text, box = k => spans[k].getClientRects()[0], {top, left} = box(text.place);
    const away = k => Math.abs(box(k).left - left);
    let k = text.place;
    while (spans[k + direction] && box(k).top === top) k += direction;
    let nearest = k;
    for (const line = box(k).top; spans[k] && box(k).top === line; k += direction) {
      if (away(k) < away(nearest)) nearest = k;
    }
    return nearest;
  },

  // ---- passages that stand in the text of --copies

  passages: () => data.copies && !text.own ? data.copies.passages : [],

  /** Underlines them. Not by a class: paint() sets the classes. */
  markCopies() {
    say('copies', data.copies && !text.own ? format.visible(data.copies.line) : '');
    for (const {start, length} of text.passages()) {
      for (const span of text.spans.slice(start, start + length)) span.toggleAttribute('data-copied', true);
    }
  },

  /** Says where the longest passage stands that the reader looks at. */
  showPassage() {
    const around = text.passages().filter(({start, length}) => start <= text.place && text.place < start + length);
    const passage = around.sort((a, b) => b.length - a.length)[0];
    byId('passage').hidden = !passage;
    if (!passage) return;
    const {start, length, line, before, after} = passage, all = text.spelled.slice(start, start + length);
    const ends = all.length <= 24 ? all : [...all.slice(0, 12), ' \u2026 ', ...all.slice(-12)];
    byId('passage').replaceChildren(element('b', '', `${format.grouped(length)} characters`),
      ` stand in line ${format.grouped(line)} of `, element('bdi', '', format.visible(data.copies.name)), ':',
      element('div', 'quoted', element('bdi', '', format.onOneLine(before),
        element('b', '', format.onOneLine(ends.join(''))), format.onOneLine(after))));
  },

  // ---- the controls

  prepare() {
    const steps = {ArrowRight: () => text.place + 1, ArrowLeft: () => text.place - 1, ArrowDown: () => text.lineAway(1),
      ArrowUp: () => text.lineAway(-1), Home: () => 0, End: () => text.spans.length - 1};
    const numberOf = span => span.id && span.id.startsWith('character-') ? Number(span.id.slice(10)) : null;
    onKeys(byId('text'), steps, text.goTo);
    onKeys(byId('text'), {Escape: () => ({pinned: false})}, state.change);
    on('text', 'pointerover', ({target}) => {
      const points = !state.pinned && (state.view !== 'surprise' || state.mode !== 'why');     // which takes too long
      if (points && numberOf(target) !== null) state.change({place: numberOf(target)});
    });
    on('text', 'click', ({target}) => {
      const place = numberOf(target);
      if (place !== null) state.change({place, pinned: !(state.pinned && place === state.place)});
    });
    on('words', 'input', () => {
      const words = byId('words').value;
      state.change({words, place: words ? Infinity : text.strikingPlace(), pinned: false});
    });
  },
};

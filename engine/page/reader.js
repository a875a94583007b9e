// The text of the views Text and Cells: the page's text or the reader's own. Each character is a span, and the reader
// looks at one of them.

const text = {
  MOST: 10_000,                                            // characters of a reader's own text, at most
  EXPECTED: 5,                                             // next characters kept for each place
  own: false,                                              // true for the reader's own text
  numbers: [], spelled: [], spans: [],
  expected: null,                                          // the model's predictions: {costs, best, chances}
  reading: null,                                           // a function that returns the Reading
  page: null,                                              // the page's text: {numbers, spelled, expected, reading}
  shown: null,                                             // the marked span

  /** Show a text. expected: Python's predictions of the page's text; the Reading predicts a reader's own text. */
  show(numbers, expected) {
    const typesOn = text.own && !expected;                 // then the beginning is mostly the same
    text.own = !expected;
    text.numbers = numbers;
    text.spelled = Array.from(numbers, number => vocabulary.uchar[number]);
    if (typesOn) text.reading().change(numbers);
    else text.reading = once(() => new Reading(model.network(), numbers, text.EXPECTED));
    text.page = text.page || {numbers, expected, spelled: text.spelled, reading: text.reading};
    if (expected) text.reading = text.page.reading;        // it may have been read before
    text.expected = expected || text.reading();
    text.showSpans(typesOn ? text.reading().done : 0);
    byId('source').textContent = text.own ? '' : format.visible(data.source);
    for (const part of document.getElementsByClassName('own')) part.hidden = !text.own;
    text.mark();
  },

  /** Show the spans of the characters. The lines before that of character `same` stay: laying out is slow. */
  showSpans(same) {
    const old = text.spans[same] && text.spans[same].parentNode, lines = byId('text');
    const first = same ? text.spans.indexOf(old.firstChild) : 0, all = [...text.spelled, ...text.own ? [''] : []];
    const made = all.slice(same).map(glyphs.spanOf), kept = text.spans.slice(0, same);
    while (same && lines.lastChild !== old) lines.lastChild.remove();
    if (same) old.remove();
    else lines.replaceChildren();
    text.spans = [...kept, ...made];
    made.forEach((span, k) => { span.id = 'character-' + (same + k); });
    lines.append(...glyphs.linesOf(text.spans.slice(first)));
  },

  /** Show what the reader typed or pasted or, if that is empty, the page's text again. */
  takeWords() {
    const {numbers, line} = vocabulary.taken(state.words, text.MOST);
    say('words-unknown', line);
    if (state.words !== byId('words').value) live.takeWords(state.words || live.line());         // by a link
    if (numbers.length) text.show([...vocabulary.lineEnd, ...numbers]);
    else if (text.own) text.show(text.page.numbers, text.page.expected);
    if (state.view) call('show');
  },

  /** Return the index of the character looked at; in the reader's own text, it may be the place after the last. */
  get place() {
    return Math.min(state.place, text.spans.length - 1);
  },

  /** Mark the character that the reader looks at. */
  mark() {
    if (text.shown) text.shown.classList.remove('here', 'pinned');
    text.shown = text.spans[text.place];
    text.shown.classList.add('here');
    text.shown.classList.toggle('pinned', state.pinned);
    byId('unpin').hidden = !state.pinned;
    byId('pin').hidden = state.pinned;
  },

  /** Colour character k by level(k). */
  paint(level) {
    text.spans.forEach((span, k) => colour.tint(span, level(k)));
  },

  bringIntoSight: (block = 'nearest') => text.spans[text.place].scrollIntoView({block}),

  /** Look at a character and scroll to it. */
  goTo(k) {
    state.change({place: Math.max(0, Math.min(text.spans.length - 1, k)), pinned: true});
    text.bringIntoSight();
  },

  /** Return an element with the text before a character on one line and a mark for the character. */
  contextOf: k => element('div', 'context', element('bdi', '', k > 24 ? '\u2026' : '',
    format.onOneLine(text.spelled.slice(Math.max(0, k - 24), k).join(''))), element('span', 'asked', '?')),

  /** Return the most surprising of the characters that are visible at first and have enough text before them. */
  strikingPlace() {
    const {costs} = text.page.expected, first = costs.length < 100 ? 0 : 50;
    const seen = costs.subarray(first, 400);
    return seen.length ? 1 + first + seen.indexOf(Math.max(...seen)) : 0;
  },

  /** Return the state or h of a unit after each character that has been read. of: as in the state. */
  valuesOf: (name, of, reading = text.reading()) => reading.valuesOf(units.placeOf(units.of(name), of)),

  prepare() {
    const numberOf = span => span.id && span.id.startsWith('character-') ? Number(span.id.slice(10)) : null;
    onKeys(byId('text'), {ArrowRight: () => text.place + 1, ArrowLeft: () => text.place - 1, Home: () => 0,
      End: () => text.spans.length - 1}, text.goTo);
    document.addEventListener('keydown', ({key}) => key === 'Escape' && state.change({pinned: false}));
    on('unpin', 'click', () => state.change({pinned: false}));
    on('text', 'pointerover', ({target}) => {
      const points = !state.pinned && !isNarrow.matches          // where the panel would cover what it explains
        && (state.view !== 'surprise' || state.mode !== 'why');            // Why takes too long
      if (points && numberOf(target) !== null) state.change({place: numberOf(target)});
    });
    on('text', 'click', ({target}) => {
      const place = numberOf(target);
      if (place === null) return;
      state.change({place, pinned: !(state.pinned && place === state.place)});
      if (isNarrow.matches && state.pinned) text.bringIntoSight();
    });
  },
};

// The text, a span a character, and the character that the reader looks at.

/** Shows the text of the page. numbers: of its characters. Returns what the views use. */
function shownText(numbers) {
  const LONGEST_LINE = 1000;                               // characters that are laid out together
  const n = numbers.length, spelled = Array.from(numbers, model.vocabulary.speller());
  const spans = spelled.map(glyphs.spanOf);
  const snapshots = array(data.snapshots.states), sizes = data.snapshots.sizes;
  let shown = null;                                        // the character that has the mark

  /** The text in one stream, with the states that the page has of it. */
  const reading = once(() => {
    const found = new Reading(model.network(1), numbers), each = sizes.reduce((a, b) => a + b);
    for (let k = 0; k < snapshots.length / each; k++) {
      let end = k * each;
      found.keep((k + 1) * data.snapshots.every, sizes.map(size => snapshots.slice(end, end += size)));
    }
    return found;
  });

  /** Colours the text by level(k) for each character. */
  function paint(level) {
    spans.forEach((span, k) => colour.tint(span, level(k)));
  }

  /** The text before a character, on a line. */
  function before(k) {
    return '\u2026' + format.onOneLine(spelled.slice(Math.max(0, k - 24), k).join(''));
  }

  /** The text before a character, and a mark for the character. */
  function contextOf(k) {
    return element('div', 'context', element('bdi', '', before(k)), element('span', 'asked', '?'));
  }

  /** Marks the character that the reader looks at. */
  function mark() {
    if (shown) shown.classList.remove('here', 'pinned');
    shown = spans[state.place];
    shown.classList.add('here');
    shown.classList.toggle('pinned', state.pinned);
  }

  /** Makes the reader look at a character, and scrolls to it. */
  function goTo(k) {
    state.change({place: Math.max(0, Math.min(n - 1, k)), pinned: true});
    spans[state.place].scrollIntoView({block: 'nearest'});
  }

  /** The character on the line below (direction 1) or above (-1) that is nearest to the one looked at. */
  function lineAway(direction) {
    const box = k => spans[k].getClientRects()[0], {top, left} = box(state.place);
    const away = k => Math.abs(box(k).left - left);
    let k = state.place;
    while (spans[k + direction] && box(k).top === top) k += direction;
    let nearest = k;
    for (const line = box(k).top; spans[k] && box(k).top === line; k += direction) {
      if (away(k) < away(nearest)) nearest = k;
    }
    return nearest;
  }

  const steps = {ArrowRight: () => state.place + 1, ArrowLeft: () => state.place - 1, ArrowDown: () => lineAway(1),
    ArrowUp: () => lineAway(-1), Home: () => 0, End: () => n - 1};
  const numberOf = new Map(spans.map((span, k) => [span, k]));
  spans.forEach((span, k) => { span.id = 'character-' + k; });
  byId('text').append(...glyphs.linesOf(spans, LONGEST_LINE));
  onKeys(byId('text'), steps, goTo);
  onKeys(byId('text'), {Escape: () => ({pinned: false})}, state.change);
  byId('text').addEventListener('pointerover', event => {
    const points = !state.pinned && state.view !== 'why';    // which takes too long to follow the mouse
    if (points && numberOf.has(event.target)) state.change({place: numberOf.get(event.target)});
  });
  byId('text').addEventListener('click', event => {
    const place = numberOf.get(event.target);
    if (place !== undefined) state.change({place, pinned: !(state.pinned && place === state.place)});
  });
  state.follow(['place', 'pinned'], mark);
  /** A table of the characters: what row(k) returns after the number and the text of each. names: of the columns. */
  function table(names, row) {
    return [['number', 'character', ...names], ...spelled.map((character, k) => [k, character, ...row(k)])];
  }

  /** The text around the character that the reader looks at, as a drawing. */
  const figure = () => saving.ofText(spans, state.place);

  return {numbers, spelled, spans, reading, paint, before, contextOf, goTo, table, figure};
}

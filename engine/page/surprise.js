// The view Surprise: each character coloured by its cost, and what was expected in its place.

/** expected: what the model of the page expected. */
function surpriseView(text, expected) {
  const SURPRISING = 4;                                    // nats: what had less than 2 %
  const {costs} = expected;

  /** Shows which characters were expected where the reader looks, and which one came. */
  function follow() {
    const {place: here} = state;
    byId('surprising-none').hidden = true;
    if (!here) return byId('where').replaceChildren(Expectations.NOTHING_BEFORE);
    byId('where').replaceChildren(text.contextOf(here), expected.bars(here),
      element('p', 'number', glyphs.inBold(text.numbers[here]), ' came, for ',
        element('b', '', costs[here - 1].toFixed(2)), ` nats (${(costs[here - 1] / Math.LN2).toFixed(2)} bits)`));
  }

  function show() {
    text.paint(k => colour.ofCost(costs, k));
    follow();
  }

  /** The next character (by: 1) or the one before (-1) that was surprising; undefined if there is none. */
  function surprising(by) {
    let k = state.place + by;
    while (k > 0 && k < text.numbers.length && costs[k - 1] < SURPRISING) k += by;
    return k > 0 && k < text.numbers.length ? k : undefined;
  }

  for (const [id, by] of [['surprising-previous', -1], ['surprising-next', 1]]) {
    byId(id).addEventListener('click', () => {
      const k = surprising(by);
      if (k === undefined) byId('surprising-none').hidden = false;
      else text.goTo(k);
    });
  }
  byId('mean').textContent = `Mean: ${format.natsAndBits(mean(costs))} a ${model.vocabulary.entryName}.`;
  const table = () => text.table(['nats'], k => [k ? costs[k - 1] : '']);
  return {title: 'Surprise', show, follow, table, figure: text.figure};
}

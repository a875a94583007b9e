// The view Surprise: each character coloured by its cost, and what was expected in its place.

const DEAREST = 6;                                         // cost in nats of the deepest colour
const NOTHING_BEFORE = 'The first character: nothing came before it to expect it from.';

/**
 * Bars of the characters that a model expected in the place of the character k, and of the one that came.
 * model: as of expectationsOf.
 */
function expectedBars(model, k) {
  const K = model.best.length / model.costs.length, first = (k - 1) * K, came = model.text[k];
  const rows = Array.from(model.best.subarray(first, first + K), (number, j) => [number, model.chances[first + j]]);
  if (!rows.some(([number]) => number === came)) rows.push([came, Math.exp(-model.costs[k - 1])]);
  return element('div', 'bars', ...rows.flatMap(([number, p]) => (
    bar(named(number, model), p, percent(p), number === came ? 'came' : ''))));
}

/** model: what the model of the page expected. */
function surpriseView(text, model) {
  const SURPRISING = 4;                                    // nats: what had less than 2 %
  const {costs} = model;

  /** Shows which characters were expected where the reader looks, and which one came. */
  function follow() {
    const {place: here} = state;
    byId('surprising-none').hidden = true;
    if (!here) return byId('where').replaceChildren(NOTHING_BEFORE);
    byId('where').replaceChildren(text.contextOf(here), expectedBars(model, here),
      element('p', 'number', inBold(text.numbers[here]), ' came, for ',
        element('b', '', costs[here - 1].toFixed(2)), ` nats (${(costs[here - 1] / Math.LN2).toFixed(2)} bits)`));
  }

  function show() {
    text.paint(k => k ? costs[k - 1] / DEAREST : 0);
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
  byId('mean').textContent = `Mean: ${natsAndBits(mean(costs))} a character.`;
  const table = () => text.table(['nats'], k => [k ? costs[k - 1] : '']);
  return {title: 'Surprise', show, follow, table, figure: text.figure};
}

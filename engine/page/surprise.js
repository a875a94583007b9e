// The view Surprise: each character coloured by its cost, and what was expected in its place.

const DEAREST = 6;                                         // cost in nats of the deepest colour
const costs = array(data.costs), best = array(data.best), chances = array(data.chances);
const thisModel = {uchar: data.uchar, bytes: data.bytes, text, costs, best, chances};
const NOTHING_BEFORE = 'The first character: nothing came before it to expect it from.';

function paintCosts() {
  paint(k => k ? costs[k - 1] / DEAREST : 0);
}

/**
 * Bars of the characters that a model expected in the place of the character k, and of the one that came.
 * model: its vocabulary uchar, whether that has bytes, and the arrays text, costs, best and chances.
 */
function expectedBars(model, k) {
  const K = model.best.length / (n - 1), first = (k - 1) * K, came = model.text[k];
  const rows = Array.from(model.best.subarray(first, first + K), (number, j) => [number, model.chances[first + j]]);
  if (!rows.some(([number]) => number === came)) rows.push([came, Math.exp(-model.costs[k - 1])]);
  return element('div', 'bars', ...rows.flatMap(([number, p]) => (
    bar(named(number, model), p, percent(p), number === came ? 'came' : ''))));
}

/** Shows which characters were expected where the reader looks, and which one came. */
function showAlternatives() {
  if (!here) return byId('where').replaceChildren(NOTHING_BEFORE);
  byId('where').replaceChildren(contextOf(here), expectedBars(thisModel, here),
    element('p', 'number', inBold(text[here]), ' came, for ',
      element('b', '', costs[here - 1].toFixed(2)), ` nats (${(costs[here - 1] / Math.LN2).toFixed(2)} bits)`));
}

function prepareSurprise() {
  byId('mean').textContent = `Mean: ${natsAndBits(mean(costs))} a character.`;
}

addView('surprise', {title: 'Surprise', prepare: prepareSurprise, show: paintCosts, follow: showAlternatives});

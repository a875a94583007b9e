// The view Surprise: each character coloured by its cost, and what was expected in its place.

const DEAREST = 6;                                         // cost in nats of the deepest colour
const costs = array(data.costs), best = array(data.best), chances = array(data.chances);

function paintCosts() {
  paint(k => k ? costs[k - 1] / DEAREST : 0);
}

/** Shows which characters were expected where the reader looks, and which one came. */
function showAlternatives() {
  const K = best.length / (n - 1), first = (here - 1) * K;
  if (!here) return byId('where').replaceChildren('The first character: nothing came before it to expect it from.');
  const rows = Array.from(best.subarray(first, first + K), (number, j) => [number, chances[first + j]]);
  if (!rows.some(([number]) => number === text[here])) rows.push([text[here], Math.exp(-costs[here - 1])]);
  const before = visible(spelled.slice(Math.max(0, here - 24), here).join('')).replace(/\n/g, '\u21b5');
  byId('where').replaceChildren(
    element('div', 'context', element('bdi', '', '\u2026' + before), element('span', 'asked', '?')),
    element('div', 'bars', ...rows.flatMap(([number, p]) => (
      bar(named(number), p, percent(p), number === text[here] ? 'came' : '')))),
    element('p', 'number', element('b', '', element('bdi', '', named(text[here]))), ' came, for ',
      element('b', '', costs[here - 1].toFixed(2)), ` nats (${(costs[here - 1] / Math.LN2).toFixed(2)} bits)`));
}

function prepareSurprise() {
  const mean = costs.reduce((sum, cost) => sum + cost, 0) / costs.length;
  byId('mean').textContent = `mean: ${natsAndBits(mean)} a character`;
}

addView('surprise', {title: 'Surprise', prepare: prepareSurprise, show: paintCosts, follow: showAlternatives});

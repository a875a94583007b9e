// The view of two models on one text: A, the model of the page, and B, of which the page has only what it expected.
// The text is coloured by which of them was less surprised.

const MOST_LISTED = 100;                                   // biggest differences in the list
const BLOCK = 100, FEWEST_BLOCKS = 5;                      // characters in a block, and blocks for a standard error
let modelB = null, differences = null, greatest = 0;       // differences: cost of A minus cost of B, in nats
let listed = [];                                           // the characters in the list

function decodeB() {
  const {text, costs, best, chances, ...names} = data.against;
  modelB = {...names, text: array(text), costs: array(costs), best: array(best), chances: array(chances)};
  differences = thisModel.costs.map((cost, k) => cost - modelB.costs[k]);
  const sizes = differences.map(Math.abs).sort();
  greatest = sizes[Math.floor(0.98 * (sizes.length - 1))] || 1;        // so that a few outliers do not decide
}

/** The standard error of the mean of numbers; null if they are too few. Neighbours depend on each other: by blocks. */
function standardError(numbers) {
  const blocks = [];
  for (let k = 0; k + BLOCK <= numbers.length; k += BLOCK) blocks.push(mean(numbers.subarray(k, k + BLOCK)));
  if (blocks.length < FEWEST_BLOCKS) return null;
  const middle = mean(blocks), squares = blocks.map(block => (block - middle) ** 2);
  return Math.sqrt(mean(squares) / (blocks.length - 1));
}

/** The model that was less surprised, by a difference of costs. */
const better = difference => difference > 0 ? 'B' : 'A';

/** A line on both models: how much less surprised the better one was, on average. */
function verdict() {
  const average = mean(differences), error = standardError(differences), size = Math.abs(average);
  if (!size) return 'Both were surprised alike.';
  const inBoth = error === null ? natsAndBits(size) :
    `${size.toFixed(3)} \xb1 ${error.toFixed(3)} nats (${(size / Math.LN2).toFixed(3)} bits)`;
  return `${better(average)} was less surprised, by ${inBoth} a character.`;
}

/** Colours the text: those that A expected better by levels above 0, those that B expected better by others. */
function paintDifferences() {
  paint(k => k ? Math.max(-1, Math.min(1, -differences[k - 1] / greatest)) : 0);
}

/** Lists the biggest differences first, of those where the chosen model was less surprised. */
function listDifferences() {
  const which = byId('better').value, all = Array.from(differences, (_, j) => j + 1);
  const kept = all.filter(k => differences[k - 1] && (!which || better(differences[k - 1]) === which));
  kept.sort((j, k) => Math.abs(differences[k - 1]) - Math.abs(differences[j - 1]));
  listed = kept.slice(0, MOST_LISTED);
  byId('differences').replaceChildren(...listed.map(k => {
    const size = Math.abs(differences[k - 1]), winner = better(differences[k - 1]);
    return listItem('difference-' + k, () => chooseDifference(k),
      element('div', 'place', element('bdi', '', before(k)), inBold(text[k])),
      element('span', 'number', `${winner} by ${size.toFixed(2)}`));
  }));
  byId('differences').removeAttribute('aria-activedescendant');
}

function chooseDifference(k) {
  lookAt(k);
  spans[k].scrollIntoView({block: 'nearest'});
}

/** Chooses the difference that is `by` places further down the list than the selected one; the first if none is. */
function stepDifferences(by) {
  const at = listed.indexOf(here), to = at < 0 ? 0 : Math.max(0, Math.min(listed.length - 1, at + by));
  if (listed.length) chooseDifference(listed[to]);
}

/** Shows what both models expected where the reader looks. */
function showBoth() {
  for (const item of byId('differences').children) item.setAttribute('aria-selected', false);
  if (listed.includes(here)) selectItem(byId('differences'), byId('difference-' + here));
  if (!here) return byId('both').replaceChildren(NOTHING_BEFORE);
  const difference = differences[here - 1], [a, b] = [thisModel, modelB].map(model => model.costs[here - 1].toFixed(2));
  const models = [['A', thisModel], ['B', modelB]];
  byId('both').replaceChildren(contextOf(here),
    element('div', 'pair', ...models.map(([name, model]) => (
      element('div', '', element('h3', '', `${name} expected`), expectedBars(model, here))))),
    element('p', 'number', inBold(text[here]), ` came, for ${a} and ${b} nats: `,
      element('b', '', difference ? `${better(difference)} was less surprised by ${Math.abs(difference).toFixed(2)}` :
        'no difference')));
}

function prepareAgainst() {
  decodeB();
  for (const [name, stored, model] of [['A', data, thisModel], ['B', data.against, modelB]]) {
    byId('models').append(element('p', 'number', element('b', name, name), ' ',
      element('bdi', '', visible(stored.name)), `: ${natsAndBits(mean(model.costs))} a character`));
  }
  byId('verdict').textContent = verdict();
  byId('model-b').textContent = visible(data.against.model);
  byId('b-end').textContent = `B by \u2265 ${greatest.toFixed(2)} nats`;
  byId('a-end').textContent = `A by \u2265 ${greatest.toFixed(2)} nats`;
  byId('better').addEventListener('change', () => {
    listDifferences();
    showBoth();
  });
  onListKeys(byId('differences'), MOST_LISTED, stepDifferences);
  listDifferences();
}

if (data.against) {
  addView('against', {title: 'Two models', prepare: prepareAgainst, show: paintDifferences, follow: showBoth});
}

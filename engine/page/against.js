// The view of two models on one text: A, the model of the page, and B, of which the page has only what it expected.
// The text is coloured by which of them was less surprised.

/** expectedA: what the model of the page expected. */
function againstView(text, expectedA) {
  const MOST_LISTED = 100;                                 // biggest differences in the list
  const BLOCK = 100, FEWEST_BLOCKS = 5;                    // characters in a block, and blocks for a standard error
  const entry = model.vocabulary.entryName;
  const expectedB = new Expectations(data.against);
  const differences = expectedA.costs.map((cost, k) => cost - expectedB.costs[k]);         // in nats
  const sizes = differences.map(Math.abs).sort();
  const greatest = sizes[Math.floor(0.98 * (sizes.length - 1))] || 1;    // so that a few outliers do not decide
  const list = new Listbox('differences', 'difference', text.goTo);      // of characters

  /** The standard error of the mean of numbers, by blocks, since neighbours depend on each other; null if too few. */
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
    const inBoth = error === null ? format.natsAndBits(size) :
      `${size.toFixed(3)} \xb1 ${error.toFixed(3)} nats (${(size / Math.LN2).toFixed(3)} bits)`;
    return `${better(average)} was less surprised, by ${inBoth} a ${entry}.`;
  }

  /** Colours the text: those that A expected better by levels above 0, those that B expected better by others. */
  function show() {
    text.paint(k => k ? Math.max(-1, Math.min(1, -differences[k - 1] / greatest)) : 0);
    follow();
  }

  /** Lists the biggest differences first, of those where the chosen model was less surprised. */
  function listDifferences() {
    const which = byId('better').value, all = Array.from(differences, (_, j) => j + 1);
    const kept = all.filter(k => differences[k - 1] && (!which || better(differences[k - 1]) === which));
    kept.sort((j, k) => Math.abs(differences[k - 1]) - Math.abs(differences[j - 1]));
    list.fill(kept.slice(0, MOST_LISTED), k => {
      const size = Math.abs(differences[k - 1]), winner = better(differences[k - 1]);
      return [element('div', 'place', element('bdi', '', text.before(k)), glyphs.inBold(text.numbers[k])),
        element('span', 'number', `${winner} by ${size.toFixed(2)}`)];
    });
  }

  /** Shows what both models expected where the reader looks. */
  function follow() {
    const {place: here} = state;
    list.select(here);
    if (!here) return byId('both').replaceChildren(Expectations.NOTHING_BEFORE);
    const difference = differences[here - 1], models = [['A', expectedA], ['B', expectedB]];
    const [a, b] = models.map(([, {costs}]) => costs[here - 1].toFixed(2));
    byId('both').replaceChildren(text.contextOf(here),
      element('div', 'pair', ...models.map(([name, expected]) => (
        element('div', '', element('h3', '', `${name} expected`), expected.bars(here))))),
      element('p', 'number', glyphs.inBold(text.numbers[here]), ` came, for ${a} and ${b} nats: `,
        element('b', '', difference ? `${better(difference)} was less surprised by ${Math.abs(difference).toFixed(2)}` :
          'no difference')));
  }

  for (const [name, stored, {costs}] of [['A', data, expectedA], ['B', data.against, expectedB]]) {
    byId('models').append(element('p', 'number', element('b', name, name), ' ',
      element('bdi', '', format.visible(stored.name)), `: ${format.natsAndBits(mean(costs))} a ${entry}`));
  }
  byId('verdict').textContent = verdict();
  byId('model-b').textContent = format.visible(data.against.model);
  byId('b-end').textContent = `B by \u2265 ${greatest.toFixed(2)} nats`;
  byId('a-end').textContent = `A by \u2265 ${greatest.toFixed(2)} nats`;
  byId('better').addEventListener('change', () => {
    listDifferences();
    follow();
  });
  listDifferences();
  const costsAt = k => k ? [expectedA.costs[k - 1], expectedB.costs[k - 1]] : ['', ''];
  const table = () => text.table(['nats of A', 'nats of B'], costsAt);
  return {title: 'Two models', show, follow, table, figure: text.figure};
}

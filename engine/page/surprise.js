// The view Surprise: the text, each character coloured by how much the model was surprised. In other modes by which of
// two models was less surprised (below), by why it expected a character (why.js), and a game (guess.js).

/** What is shown beside the text, by the name of the mode. Its parts are those of a view. */
const modesByName = once(() => ({surprise: surpriseMode(), why: whyMode(), ...data.against && {against: againstMode()},
  guess: guessMode()}));

const modes = () => Object.keys(modesByName());

function surpriseView() {
  const mode = () => modesByName()[state.mode];

  function show() {
    document.body.dataset.mode = state.mode;
    say('no-more', '');
    for (const part of document.querySelectorAll('main [data-mode]')) {
      part.hidden = !part.dataset.mode.split(' ').includes(state.mode);
    }
    for (const radio of document.querySelectorAll('[name=mode]')) {
      radio.checked = radio.value === state.mode;
      radio.disabled = text.own && ['against', 'guess'].includes(radio.value);       // what Python did not read
    }
    mode().show();
  }

  for (const radio of document.querySelectorAll('[name=mode]')) {
    radio.parentElement.hidden = !modes().includes(radio.value);
    radio.addEventListener('change', () => state.change({mode: radio.value}));
  }
  for (const [id, by] of [['previous', -1], ['next', 1]]) {
    on(id, 'click', () => {
      let k = text.place + by;
      while (k > 0 && k < text.numbers.length && !mode().isStriking(k)) k += by;
      const found = k > 0 && k < text.numbers.length;
      say('no-more', found ? '' : 'There is none on this side.');
      if (found) text.goTo(k);
    });
  }
  state.follow(['mode'], () => state.view === 'surprise' && show());
  return {show, follow: () => mode().follow(), table: () => mode().table()};
}

/**
 * Bars of the characters that a model expected in the place of the character k, and of the one that came, if one did.
 * expected: {costs, best, chances} of all characters but the first; uchar, numbers: vocabulary and text of the model.
 */
function barsOf({costs, best, chances}, k, names = vocabulary, numbers = text.numbers) {
  const most = best.length / costs.length, first = (k - 1) * most, came = numbers[k];
  const rows = Array.from(best.subarray(first, first + most), (number, j) => [number, chances[first + j]]);
  if (came !== undefined && !rows.some(([number]) => number === came)) rows.push([came, Math.exp(-costs[k - 1])]);
  return element('div', 'bars', ...rows.flatMap(([number, p]) => (
    bar(names.nameOf(number), p, format.percent(p), number === came ? 'came' : ''))));
}

const NOTHING_BEFORE = 'The first character: nothing came before it to expect it from.';

function surpriseMode() {
  const SURPRISING = 4;                                    // nats: what had less than 2 %
  const costs = () => text.expected.costs, known = () => text.own ? text.reading().done : text.numbers.length;

  /** Shows which characters were expected where the reader looks, and which one came. */
  function follow() {
    const {place: k} = text;
    say('no-more', '');
    if (!k) return byId('where').replaceChildren(NOTHING_BEFORE);
    if (k > known()) return byId('where').replaceChildren('Not read yet.');
    const cost = costs()[k - 1];
    byId('where').replaceChildren(text.contextOf(k), barsOf(text.expected, k),
      element('p', 'number', ...k === text.numbers.length ? ['What comes next.'] : [
        vocabulary.inBold(text.numbers[k]), ' came, for ', element('b', '', cost.toFixed(2)),
        ` nats (${(cost / Math.LN2).toFixed(2)} bits)`]));
  }

  function paint() {
    const n = Math.min(known(), text.numbers.length - 1);
    text.paint(k => k <= n && k < text.numbers.length ? colour.ofCost(costs(), k) : 0);
    const foreign = Math.min(n, text.foreign - 1), of = foreign < n ? ` of the first ${foreign + 1}` : '';
    byId('mean').textContent = n > 0 ?
      `Mean${of}: ${format.natsAndBits(mean(costs().subarray(0, foreign)))} a character.` : '';
    follow();
  }

  function show() {
    if (!text.own) return paint();
    work.begin(text.reading().to(text.numbers.length), paint, paint);
  }

  return {show, follow, isStriking: k => costs()[k - 1] >= SURPRISING,
    table: () => text.table(['nats'], k => [k ? costs()[k - 1] : ''])};
}

/** Two models on the page's text: A, the model of the page, and B, of which the page has only what it expected. */
function againstMode() {
  const BLOCK = 100, FEWEST_BLOCKS = 5;                    // characters in a block, and blocks for a standard error
  const APART = 2;                                         // nats of a striking difference
  const A = text.page.expected, B = expectedOf(data.against);
  const namesB = new Vocabulary(data.against.uchar), numbersB = array(data.against.text);
  const differences = A.costs.map((cost, k) => cost - B.costs[k]);     // in nats
  const sizes = differences.map(Math.abs).sort();
  const greatest = sizes[Math.floor(0.98 * (sizes.length - 1))] || 1;  // so that a few outliers do not decide
  const better = difference => difference > 0 ? 'B' : 'A', judged = differences.subarray(0, text.foreign - 1);

  /** The standard error of the mean of numbers, by blocks, since neighbours depend on each other; NaN if too few. */
  function standardError(numbers) {
    const blocks = [];
    for (let k = 0; k + BLOCK <= numbers.length; k += BLOCK) blocks.push(mean(numbers.subarray(k, k + BLOCK)));
    if (blocks.length < FEWEST_BLOCKS) return NaN;
    const middle = mean(blocks), squares = blocks.map(block => (block - middle) ** 2);
    return Math.sqrt(mean(squares) / (blocks.length - 1));
  }

  /** A line on both models: which was less surprised on average, unless that is within the error. */
  function verdict() {
    const average = mean(judged), error = standardError(judged), size = Math.abs(average);
    const amount = `${size.toFixed(3)} \xb1 ${error.toFixed(3)} nats a character`;
    if (isNaN(error)) {
      return 'Too few characters that no model wrote, to tell which one is less surprised: --score takes a text.';
    }
    return size < 2 * error ? `No winner: they differ by ${amount}.` :
      `${better(average)} was less surprised, by ${amount}.`;
  }

  function show() {
    if (text.own) return state.change({mode: 'surprise'});             // of which the page does not know what B expects
    text.paint(k => k ? Math.max(-1, Math.min(1, -differences[k - 1] / greatest)) : 0);
    follow();
  }

  /** Shows what both models expected where the reader looks. */
  function follow() {
    const {place: k} = text;
    say('no-more', '');
    if (!k) return byId('where').replaceChildren(NOTHING_BEFORE);
    const difference = differences[k - 1];
    byId('where').replaceChildren(text.contextOf(k), element('div', 'pair',
      element('div', '', element('b', 'quiet', 'A expected'), barsOf(A, k)),
      element('div', '', element('b', 'quiet', 'B expected'), barsOf(B, k, namesB, numbersB))),
    element('p', 'number', vocabulary.inBold(text.numbers[k]),
      ` came, for ${A.costs[k - 1].toFixed(2)} and ${B.costs[k - 1].toFixed(2)} nats: `,
      element('b', '', difference ? `${better(difference)} was less surprised by ${Math.abs(difference).toFixed(2)}` :
        'no difference')));
  }

  for (const [name, {name: file, model: said, read}, {costs}] of [['A', data, A], ['B', data.against, B]]) {
    const cost = format.natsAndBits(mean(costs.subarray(0, judged.length)));
    byId('models').append(element('p', 'number', element('b', name, name), ' ', element('bdi', '', format.visible(file)),
      `, ${format.visible(said)}: ${cost} a character` + (read ? '. It was trained on this text.' : '')));
  }
  byId('verdict').textContent = verdict();
  byId('b-end').textContent = `B by \u2265 ${greatest.toFixed(2)} nats`;
  byId('a-end').textContent = `A by \u2265 ${greatest.toFixed(2)} nats`;
  return {show, follow, isStriking: k => Math.abs(differences[k - 1]) >= APART,
    table: () => text.table(['nats of A', 'nats of B'], k => k ? [A.costs[k - 1], B.costs[k - 1]] : ['', ''])};
}

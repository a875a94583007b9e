// The view Surprise: the text, with each character coloured by how much it surprised the model. Other modes colour it
// by which of two models was less surprised (below) or by why one was expected (why.js).

/** The modes by name. Each has the same functions as a view. */
const modesByName = once(() => ({surprise: surpriseMode(), ...PRODUCT && {why: whyMode()},
  ...data.against && {against: againstMode()}}));

const modes = () => Object.keys(modesByName());

function surpriseView() {
  const mode = () => modesByName()[state.mode];

  function show() {
    document.body.dataset.mode = state.mode;
    for (const part of document.querySelectorAll('main [data-mode]')) {
      part.hidden = !part.dataset.mode.split(' ').includes(state.mode);
    }
    for (const radio of document.querySelectorAll('[name=mode]')) {
      radio.checked = radio.value === state.mode;
      radio.disabled = text.own && radio.value === 'against';            // it needs predictions from Python
    }
    const {title} = document.querySelector('[name=mode]:checked').dataset;
    byId('text-title').textContent = title + (text.own ? ' in your line' : '');
    mode().show();
    if (PRODUCT) live.write();
  }

  for (const radio of document.querySelectorAll('[name=mode]')) {
    radio.parentElement.hidden = !modes().includes(radio.value);
    radio.addEventListener('change', () => {
      state.change({mode: radio.value});
      if (!text.own) text.bringIntoSight();
    });
  }
  for (const [id, by] of [['previous', -1], ['next', 1]]) {
    on(id, 'click', () => {
      let k = text.place + by;
      while (k > 0 && k < text.numbers.length && !mode().isStriking(k)) k += by;
      const found = k > 0 && k < text.numbers.length;
      say('no-more', found ? '' : 'No more in this direction.');
      if (found) text.goTo(k);
    });
  }
  state.follow(['mode'], () => state.view === 'surprise' && show());
  state.follow(['place', 'mode', 'view'], () => say('no-more', ''));
  return {show, follow: () => mode().follow(), idle: () => PRODUCT && live.write(), table: () => mode().table()};
}

/**
 * Return bars of the characters that a model expected at place k, and of the actual one if it is known. First argument:
 * predictions of all characters except the first. names, numbers: the vocabulary and the text of the model.
 */
function barsOf({costs, best, chances}, k, names = vocabulary, numbers = text.numbers) {
  const most = best.length / costs.length, first = (k - 1) * most, came = numbers[k];
  const rows = Array.from(best.subarray(first, first + most), (number, j) => [number, chances[first + j]]);
  if (came !== undefined && !rows.some(([number]) => number === came)) rows.push([came, Math.exp(-costs[k - 1])]);
  return element('div', 'bars', ...rows.flatMap(([number, p]) => (
    bar(names.nameOf(number), p, format.percent(p), number === came ? 'came' : ''))));
}

const NOTHING_BEFORE = 'The first character: there is nothing before it to predict it from.';

function surpriseMode() {
  const SURPRISING = 4;                                    // nats: a probability below 2 %
  const costs = () => text.expected.costs, known = () => text.own ? text.reading().done : text.numbers.length;

  /** Show the predictions at the current character, and the actual one. */
  function follow() {
    const {place: k} = text;
    if (!k) return byId('where').replaceChildren(NOTHING_BEFORE);
    if (k > known()) return byId('where').replaceChildren('Not read yet.');
    const isNext = k === text.numbers.length;
    const line = isNext ? ["What comes next, by the network's own chances, before temperature changes them"] : [
      vocabulary.inBold(text.numbers[k]), ': chance ' + format.chanceOf(costs()[k - 1])];
    byId('where').replaceChildren(text.contextOf(k), element('p', 'number', ...line), barsOf(text.expected, k));
  }

  function paint() {
    const n = Math.min(known(), text.numbers.length - 1);
    text.paint(k => k <= n && k < text.numbers.length ? colour.ofCost(costs(), k) : 0);
    const counted = Math.min(n, text.notWritten - 1);
    const of = counted < n ? `each of the first ${counted + 1} characters` : 'each';
    byId('mean').textContent = n > 0 ?
      `It gave ${of} a typical chance of ${format.cost(mean(costs().subarray(0, counted)))}.` : '';
    follow();
  }

  function show() {
    if (!text.own) return paint();
    work.begin(text.reading().to(text.numbers.length), paint, paint);
  }

  return {show, follow, isStriking: k => costs()[k - 1] >= SURPRISING,
    table: () => text.table(['nats'], k => [k ? costs()[k - 1] : ''])};
}

/** Compare two models on the page's text: A, the model of the page, and B, of which it has only the predictions. */
function againstMode() {
  const BLOCK = 100, FEWEST_BLOCKS = 5;                    // characters per block; blocks for a standard error
  const APART = 2;                                         // a striking difference, in nats
  const A = text.page.expected, B = expectedOf(data.against);
  const namesB = new Vocabulary(data.against.uchar), numbersB = array(data.against.text);
  const differences = A.costs.map((cost, k) => cost - B.costs[k]);     // in nats
  const sizes = differences.map(Math.abs).sort();
  const greatest = sizes[Math.floor(0.98 * (sizes.length - 1))] || 1;  // so that a few outliers do not decide
  const better = difference => difference > 0 ? 'B' : 'A', judged = differences.subarray(0, text.notWritten - 1);

  /** Return the standard error of a mean, from blocks, since neighbours are correlated; NaN if there are too few. */
  function standardError(numbers) {
    const blocks = [];
    for (let k = 0; k + BLOCK <= numbers.length; k += BLOCK) blocks.push(mean(numbers.subarray(k, k + BLOCK)));
    if (blocks.length < FEWEST_BLOCKS) return NaN;
    const middle = mean(blocks), squares = blocks.map(block => (block - middle) ** 2);
    return Math.sqrt(mean(squares) / (blocks.length - 1));
  }

  /** Return a line that says which model expected more, unless the difference is within the error. */
  function verdict() {
    const average = mean(judged), error = standardError(judged), size = Math.abs(average);
    const amount = `${size.toFixed(3)} \xb1 ${error.toFixed(3)} nats a character`;
    if (isNaN(error)) {
      return 'Too little text, not counting what a model wrote, to name a winner: give a longer one with --score.';
    }
    return size <= 2 * error ? `No winner: they differ by ${amount}.` :
      `${better(average)} expected the text more, by ${amount}.`;
  }

  function show() {
    if (text.own) return state.change({mode: 'surprise'});             // B's predictions are only for the page's text
    text.paint(k => k ? Math.max(-1, Math.min(1, -differences[k - 1] / greatest)) : 0);      // blue: A was better
    follow();
  }

  /** Show the predictions of both models at the current character. */
  function follow() {
    const {place: k} = text;
    if (!k) return byId('where').replaceChildren(NOTHING_BEFORE);
    const difference = differences[k - 1], [ofA, ofB] = [A, B].map(({costs}) => format.chanceOf(costs[k - 1]));
    byId('where').replaceChildren(text.contextOf(k), element('div', 'pair',
      element('div', '', element('b', 'quiet', 'A expected'), barsOf(A, k)),
      element('div', '', element('b', 'quiet', 'B expected'), barsOf(B, k, namesB, numbersB))),
    element('p', 'number', vocabulary.inBold(text.numbers[k]),
      ` had a chance of ${ofA} in A and ${ofB} in B: `,
      element('b', '', difference ? `${better(difference)} expected it more` : 'no difference')));
  }

  for (const [name, {name: npz, model: said, read}, {costs}] of [['A', data, A], ['B', data.against, B]]) {
    const cost = format.cost(mean(costs.subarray(0, judged.length)), 3);
    byId('models').append(element('p', 'number', element('b', name, name), ' ', element('bdi', '', format.visible(npz)),
      `, ${format.visible(said.split(', validation')[0])}: each character had a chance of ${cost}`
      + (read ? '. It was trained on this text.' : '')));
  }
  byId('verdict').textContent = verdict();
  const times = format.grouped(Math.exp(greatest));
  byId('b-end').textContent = `${times} times as likely in B`;
  byId('a-end').textContent = `${times} times in A`;
  return {show, follow, isStriking: k => Math.abs(differences[k - 1]) >= APART,
    table: () => text.table(['nats of A', 'nats of B'], k => k ? [A.costs[k - 1], B.costs[k - 1]] : ['', ''])};
}

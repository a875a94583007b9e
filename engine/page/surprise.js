// The view Surprise: the text, with each character coloured by how much it surprised the model. The other mode colours
// it by why one was expected (why.js).

/** The modes by name. Each has the same functions as a view. */
const modes = once(() => ({surprise: surpriseMode(), why: whyMode()}));

function surpriseView() {
  const mode = () => modes()[state.mode];

  function show() {
    document.body.dataset.mode = state.mode;
    for (const part of document.querySelectorAll('main [data-mode]')) {
      part.hidden = !part.dataset.mode.split(' ').includes(state.mode);
    }
    for (const radio of document.querySelectorAll('[name=mode]')) radio.checked = radio.value === state.mode;
    const {title} = document.querySelector('[name=mode]:checked').dataset;
    byId('text-title').textContent = title + (text.own ? ' in your line' : '');
    mode().show();
    live.write();
  }

  for (const radio of document.querySelectorAll('[name=mode]')) {
    radio.addEventListener('change', () => {
      state.change({mode: radio.value});
      if (!text.own) text.bringIntoSight();
    });
  }
  state.follow(['mode'], () => state.view === 'surprise' && show());
  return {show, follow: () => mode().follow(), idle: live.write};
}

/**
 * Return bars of the characters that the model expected at place k, and of the actual one if it is known. First
 * argument: predictions of all characters except the first.
 */
function barsOf({costs, best, chances}, k) {
  const most = best.length / costs.length, first = (k - 1) * most, came = text.numbers[k];
  const rows = Array.from(best.subarray(first, first + most), (number, j) => [number, chances[first + j]]);
  if (came !== undefined && !rows.some(([number]) => number === came)) rows.push([came, Math.exp(-costs[k - 1])]);
  return element('div', 'bars', ...rows.flatMap(([number, p]) => (
    bar(vocabulary.nameOf(number), p, format.percent(p), number === came ? 'came' : ''))));
}

const NOTHING_BEFORE = 'The first character: there is nothing before it to predict it from.';

function surpriseMode() {
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
    byId('mean').textContent = n > 0 ?
      `It gave each letter a typical chance of ${format.cost(mean(costs().subarray(0, n)))}.` : '';
    follow();
  }

  function show() {
    if (!text.own) return paint();
    work.begin(text.reading().to(text.numbers.length), paint, paint);
  }

  return {show, follow};
}

// What the views Learning and Lab share: the text and size that are chosen, a button that trains, and curves.

/** Return new Lessons of cells, as in cell.js, on the chosen text, or null, and say why. */
function lessonsOf(cells) {
  const LEAST = 2000, MOST = 5_000_000;                    // characters of a text
  const pasted = byId('learn-text').value, name = pasted ? 'your text' : data.learner.name;
  const characters = Array.from((pasted || data.learner.text).slice(0, 2 * MOST)).slice(0, MOST);
  const count = characters.length, [layers, H] = state.size.split('x').map(Number), units = Array(layers).fill(H);
  say('learn-wrong', count >= LEAST ? '' : `The text has ${format.grouped(count)} characters: expected at least `
    + `${format.grouped(LEAST)}, ideally 100,000.`);
  return count < LEAST ? null : cells.map(cell => new Lesson(cell, {characters, name}, units, data.learner));
}

/**
 * Return a trainer: a button that starts, stops and continues a training, and what it trains (lessons, or null).
 *
 * label: of the button at first. cells: a function that returns those to train. show: called when the lessons have new
 * looks. of: a function whose value the cells depend on. With another one, text or size, the training starts over.
 * reaches: as for Lesson.look().
 */
function trainer(id, label, cells, show, of = () => label, reaches = false) {
  const settings = () => [of(), state.size, byId('learn-text').value].join('\0');
  let steps = null, trainedWith = null;                    // steps: the generator of the training
  const isCurrent = () => trainedWith === settings();
  const own = {
    lessons: null,

    /** Say what the button does next. A training with other settings stops. */
    showButton() {
      if (!isCurrent()) work.stop();
      byId(id).textContent = !isCurrent() ? label : work.isBusy() ? 'Stop training' : 'Continue training';
    },
  };

  function press() {
    const stops = isCurrent() && work.isBusy(), lessons = isCurrent() ? own.lessons : lessonsOf(cells());
    if (!lessons) return;
    if (!isCurrent()) steps = guarded(trained(lessons, show, reaches));
    [own.lessons, trainedWith] = [lessons, settings()];
    if (stops) work.stop();
    else work.begin(steps, () => {});
    window.onbeforeunload = event => event.preventDefault();           // leaving the page would lose the training
    own.showButton();
  }

  function* guarded(generator) {
    try {
      yield* generator;
    } catch (error) {
      say('learn-wrong', `${error.message} It was epoch ${own.lessons[0].epochs.toFixed(2)}.`);
      trainedWith = null;
      own.showButton();
    }
  }

  on(id, 'click', press);
  on('learn-text', 'input', own.showButton);
  state.follow(['size'], own.showButton);
  return own;
}

/** Say on how many held-out characters the costs of a Lesson are. */
const scoredOn = ({heldOut, unseen}) => [heldOut.length, unseen].map(format.grouped).join(' of ') + ' held-out letters';

/** Return two to seven round numbers from least to most. */
function ticks(least, most) {
  const rough = (most - least) / 6 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const apart = [1, 2, 5, 10].find(k => k * power >= rough) * power, first = Math.ceil(least / apart);
  const count = Math.floor(most / apart) - first + 1;
  return Array.from({length: count}, (_, k) => Number(((first + k) * apart).toPrecision(6)));
}

/**
 * Draw curves in an element. curves: each {className, hue, points}, points [x, y]; a y may be null or not finite.
 * axis: what x is. at: an x with dots. isLog: y are logarithms to the base 10, else costs.
 */
function drawCurves(id, curves, {axis, at, isLog}) {
  const W = Math.max(280, Math.min(560, byId(id).clientWidth)), H = 260;
  const [left, right, top, bottom] = [44, W - 12, 24, H - 40];
  const known = curves.map(({points}) => points.filter(([, value]) => Number.isFinite(value)));
  const times = curves.flatMap(({points}) => points.map(([time]) => time)), values = known.flat().map(([, y]) => y);
  const least = Math.min(...values), first = Math.min(...times), last = Math.max(...times);
  const begins = Math.max(...known.map(([point]) => point?.[1] ?? -Infinity));
  const most = Math.min(isLog ? Infinity : 1.1 * begins, Math.max(...values));         // a leap would flatten the rest
  const x = time => left + (time - first) / (last - first || 1) * (right - left);
  const y = value => bottom - (Math.min(value, most) - least) / (most - least || 1) * (bottom - top);
  const svg = drawn('svg', {viewBox: `0 0 ${W} ${H}`, width: W, role: 'img', 'aria-label': `Curves by ${axis}`});
  for (const value of ticks(least, most)) {
    svg.append(drawn('line', {class: 'grid', x1: left, x2: right, y1: y(value), y2: y(value)}),
      drawn('text', {x: left - 8, y: y(value) + 4, 'text-anchor': 'end'},
        isLog ? (10 ** value).toExponential(0).replace('e+0', '') : value));
  }
  for (const time of ticks(first, last)) {
    svg.append(drawn('text', {x: x(time), y: bottom + 18, 'text-anchor': 'middle'}, time));
  }
  svg.append(drawn('text', {x: (left + right) / 2, y: bottom + 36, 'text-anchor': 'middle'}, axis));
  for (const [k, {className, hue}] of curves.entries()) {
    const now = known[k].find(([time]) => time === at), points = known[k].map(([time, y_]) => `${x(time)},${y(y_)}`);
    svg.append(drawn('polyline', {class: className, style: `--hue: ${hue}`, points: points.join(' ')}));
    if (now) svg.append(drawn('circle', {class: className, r: 6, cx: x(at), cy: y(now[1])}));
  }
  byId(id).replaceChildren(svg);
}

// What the views Learning and Lab share: the text and size that are chosen, a button that trains, and curves.

/** Return new Lessons of cells, as in cell.js, on the chosen text, or null, and say why. */
async function lessonsOf(cells) {
  const LEAST = 2000, MOST = 5_000_000;                    // characters of a text
  const [file] = byId('learn-file').files, pasted = byId('learn-text').value;
  const all = pasted || (file ? (await file.text()).replace(/\r\n?/g, '\n') : data.learner.text);
  const characters = Array.from(all.slice(0, 2 * MOST)).slice(0, MOST), count = characters.length;
  const name = pasted ? 'your text' : file ? file.name : data.learner.name, H = Number(byId('learn-units').value);
  say('learn-wrong', count >= LEAST ? '' : `The text has ${format.grouped(count)} characters: expected at least `
    + `${format.grouped(LEAST)}, ideally 100,000.`);
  return count < LEAST ? null : cells.map(cell => new Lesson(cell, {characters, name, H}, data.learner));
}

/**
 * Return a trainer: a button that starts, stops and continues a training, and what it trains (lessons, or null).
 *
 * label: of the button at first. cells: a function that returns those to train. show: called when the lessons have new
 * looks. of: a function whose value the cells depend on. With another one, text or size, the training starts over.
 */
function trainer(id, label, cells, show, of = () => label) {
  const SETTINGS = ['learn-text', 'learn-file', 'learn-units'];
  const settings = () => [of(), ...SETTINGS.map(each => byId(each).value)].join('\0');
  let steps = null, trainedWith = null, starts = false;    // steps: the generator of the training
  const own = {
    lessons: null, running: false,
    isCurrent: () => trainedWith === settings(),

    async press() {
      if (starts) return;
      if (own.isCurrent()) return own.run(!own.running);
      const now = settings();
      starts = true;
      const lessons = await lessonsOf(cells()).finally(() => { starts = false; });
      if (!lessons) return;
      [own.lessons, trainedWith, steps] = [lessons, now, guarded(trained(lessons, show))];
      own.run(true);
      window.onbeforeunload = event => event.preventDefault();         // leaving the page would lose the training
    },

    /** Train or not, while the view is shown, and say what the button does next. */
    run(running) {
      if (running && byId(id).checkVisibility()) work.begin(steps, () => {});
      else if (own.running) work.stop();
      own.running = running;
      byId(id).textContent = !own.isCurrent() ? label : running ? 'Stop training' : 'Continue training';
    },

    /** Stop a training with other settings, and go on with one that was interrupted by another view. */
    resume: () => own.run(own.running && own.isCurrent()),
  };

  function* guarded(generator) {
    try {
      yield* generator;
    } catch (error) {
      say('learn-wrong', `${error.message} It was epoch ${own.lessons[0].epochs.toFixed(2)}.`);
      trainedWith = null;
      own.run(false);
    }
  }

  on(id, 'click', own.press);
  for (const each of SETTINGS) on(each, 'input', own.resume);
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
 * Draw two curves of costs in an element: one dashed, one solid. rows: [time, cost, cost] each; a cost may be null or
 * NaN. at: a time whose costs have dots. best: a time with a mark, or null.
 */
function drawCurves(id, rows, at, best = null) {
  const W = Math.max(280, Math.min(560, byId(id).clientWidth)), H = 260;
  const [left, right, top, bottom] = [44, W - 12, 24, H - 40];
  const costs = rows.flatMap(([, ...both]) => both).filter(Number.isFinite);
  const most = Math.min(1.1 * costs[0], Math.max(...costs));           // a later leap would flatten the rest
  const least = Math.min(...costs), [first] = rows[0], [last] = rows.at(-1);
  const x = time => left + (time - first) / (last - first || 1) * (right - left);
  const y = cost => bottom - (Math.min(cost, most) - least) / (most - least || 1) * (bottom - top);
  const svg = drawn('svg', {viewBox: `0 0 ${W} ${H}`, width: W, role: 'img', 'aria-label': 'Costs by epoch'});
  for (const cost of ticks(least, most)) {
    svg.append(drawn('line', {class: 'grid', x1: left, x2: right, y1: y(cost), y2: y(cost)}),
      drawn('text', {x: left - 8, y: y(cost) + 4, 'text-anchor': 'end'}, cost));
  }
  for (const time of ticks(first, last)) {
    svg.append(drawn('text', {x: x(time), y: bottom + 18, 'text-anchor': 'middle'}, time));
  }
  svg.append(drawn('text', {x: (left + right) / 2, y: bottom + 36, 'text-anchor': 'middle'}, 'epoch'));
  if (best !== null) {
    svg.append(drawn('line', {class: 'best', x1: x(best), x2: x(best), y1: top, y2: bottom}), drawn('text',
      {x: x(best), y: top - 8, 'text-anchor': x(best) > W - 40 ? 'end' : 'middle'}, 'best'));
  }
  for (const [place, name] of [[1, 'dashed'], [2, 'solid']]) {
    const known = rows.filter(row => Number.isFinite(row[place])), now = known.find(([time]) => time === at);
    svg.append(drawn('polyline', {class: name, points: known.map(row => `${x(row[0])},${y(row[place])}`).join(' ')}));
    if (now) svg.append(drawn('circle', {class: name, r: 6, cx: x(at), cy: y(now[place])}));
  }
  byId(id).replaceChildren(svg);
}

/** Offer a page of a lesson's best network, in a new tab and as a file, by two buttons. */
function offerPage(use, save, lesson) {
  const url = () => URL.createObjectURL(new Blob([pageOf(lesson())], {type: 'text/html'}));
  on(use, 'click', () => open(url()));
  on(save, 'click', () => Object.assign(element('a', ''), {href: url(), download: 'my_page.html'}).click());
}

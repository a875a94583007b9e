// The view Learning: how the model learned, from the logs of its run, or how a new one is trained here in the browser.
// It shows a curve, a passage and a sample, and a slider that goes back and forth in time.

function learningView() {
  const PACE = 500;                                        // milliseconds per look while playing
  const LEAST = 2000, MOST = 5_000_000;                    // characters of a text to train on here
  const slider = byId('when');
  let live = null;                                         // the training here: {work, running, ...history}
  let shownHistory = null, spans = [];

  /**
   * Return the history of the run: {unit, passage, about, looks}. unit: of time. about: what the passage is. looks:
   * each {time, training, valid, costs, sample}, with the costs of all characters of the passage except the first.
   */
  function ofRun() {
    const {text: part, passage, epochs, samples, costs} = data.learning, all = array(costs), each = passage.length - 1;
    const rows = new Map(data.epochs.map(row => [row[0], row]));
    return {unit: 'epoch', passage, about: `the beginning of the ${part} text`, looks: epochs.map((epoch, k) => (
      {time: epoch, training: rows.get(epoch)[1], valid: rows.get(epoch)[2], sample: samples[k],
        costs: all.subarray(k * each, (k + 1) * each)}))};
  }

  const recorded = data.learning && ofRun();
  const isHere = () => !recorded || state.source === 'here';
  const history = () => isHere() ? live : recorded;

  // ---- what is shown

  /** Show the chosen history, at its end if it is new or the slider was there. */
  function showHistory() {
    const found = history();
    for (const one of document.querySelectorAll('[name=source]')) one.checked = isHere() === (one.value === 'here');
    byId('learn-settings').hidden = !isHere();
    byId('looks').hidden = !found || !found.looks.length;
    if (byId('looks').hidden) return;
    if (found !== shownHistory) {
      spans = found.passage.map(glyphs.spanOf);
      byId('passage-learned').replaceChildren(...spans);
      slider.value = slider.max = found.looks.length - 1;
    }
    shownHistory = found;
    const atEnd = slider.value === slider.max;
    slider.max = found.looks.length - 1;
    if (atEnd) slider.value = slider.max;
    showLook();
  }

  /** Show the look that the slider is at. */
  function showLook() {
    const {looks, unit, about, summary} = history(), {time, training, valid, costs, sample} = looks[slider.value];
    const known = [['training', training], ['validation', valid]].filter(([, cost]) => cost !== null && !isNaN(cost));
    const line = known.map(([name, cost]) => `${name} ${format.natsAndBits(cost)}`).join(', ');
    const when = unit === 'epoch' ? `Epoch ${time}` : `${format.grouped(1000 * time)} characters read`;
    slider.setAttribute('aria-valuetext', `${when}, ${line}`);
    byId('when-costs').replaceChildren(element('b', '', when), line && `: ${line}`);
    spans.forEach((span, k) => colour.tint(span, colour.ofCost(costs, k)));
    byId('passage-cost').textContent = `This is ${about}, coloured by cost. Mean: `
      + `${format.natsAndBits(mean(costs))} a character.`;
    byId('sample').textContent = format.visible(sample);
    if (summary) byId('learn-status').textContent = summary();
    drawCurve(looks, unit, time);
  }

  // ---- the curve

  /** Return five to twelve round numbers from least to most. */
  function ticks(least, most) {
    const fewest = 5, power = 10 ** Math.floor(Math.log10((most - least) / fewest || 1)), found = [];
    const count = apart => Math.floor(most / apart) - Math.ceil(least / apart) + 1;
    const apart = [10, 5, 2, 1, 0.5].map(k => k * power).find(step => count(step) >= fewest) || power / 2;
    for (let k = Math.ceil(least / apart); k * apart <= most; k++) found.push(Number((k * apart).toPrecision(6)));
    return found;
  }

  /** Draw the costs against time, with a dot on each curve at time `at`. */
  function drawCurve(looks, unit, at) {
    const W = Math.max(280, Math.min(560, byId('learning-curve').clientWidth)), H = 260;
    const [left, right, top, bottom] = [44, W - 12, 12, H - 40];
    const rows = (unit === 'epoch' ? data.epochs.map(([time, training, valid]) => ({time, training, valid})) : looks);
    const costs = rows.flatMap(({training, valid}) => [training, valid]).filter(cost => cost !== null && !isNaN(cost));
    const least = Math.min(...costs), most = Math.max(...costs), first = rows[0].time, last = rows.at(-1).time;
    const x = time => left + (time - first) / (last - first || 1) * (right - left);
    const y = cost => bottom - (cost - least) / (most - least || 1) * (bottom - top);
    const svg = drawn('svg', {viewBox: `0 0 ${W} ${H}`, width: W, role: 'img', 'aria-label': `Costs by ${unit}`});
    for (const cost of ticks(least, most)) {
      svg.append(drawn('line', {class: 'grid', x1: left, x2: right, y1: y(cost), y2: y(cost)}),
        drawn('text', {x: left - 8, y: y(cost) + 4, 'text-anchor': 'end'}, cost));
    }
    for (const time of ticks(first, last).filter(Number.isInteger)) {
      svg.append(drawn('text', {x: x(time), y: bottom + 18, 'text-anchor': 'middle'}, time));
    }
    svg.append(drawn('text', {x: (left + right) / 2, y: bottom + 36, 'text-anchor': 'middle'}, unit));
    for (const [key, name] of [['training', 'training'], ['valid', 'validation']]) {
      const known = rows.filter(row => row[key] !== null && !isNaN(row[key])), now = known.find(row => row.time === at);
      svg.append(drawn('polyline', {class: name, points: known.map(row => `${x(row.time)},${y(row[key])}`).join(' ')}));
      if (now) svg.append(drawn('circle', {class: name, r: 6, cx: x(at), cy: y(now[key])}));
    }
    byId('learning-curve').replaceChildren(svg);
  }

  // ---- training here

  /** Return the characters, at most MOST, of the chosen file or of the page's training text. */
  async function chosenText() {
    const [file] = byId('learn-file').files;
    const all = file ? (await file.text()).replace(/\r\n?/g, '\n') : data.learner.text;
    const characters = Array.from(all.slice(0, 2 * MOST)).slice(0, MOST);
    if (characters.length >= LEAST) return characters;
    throw new Error(`The text has ${format.grouped(characters.length)} characters: expected at least `
      + `${format.grouped(LEAST)}, ideally 100,000.`);
  }

  /** Start over with the chosen text and units. */
  async function begin() {
    pause();
    say('learn-wrong', '');
    try {
      const characters = await chosenText(), H = Number(byId('learn-units').value), {recipe, rates} = data.learner;
      const uchar = Array.from(new Set(characters)).sort(), numbers = new Map(uchar.map((one, k) => [one, k]));
      const lesson = new Lesson(initialParameters(uchar.length, [H, H], new Random(1)),
        characters.map(one => numbers.get(one)), recipe, rates[H]);
      const spell = number => uchar[number];
      live = {unit: 'thousand characters', about: 'the beginning of the held-out last tenth of the text',
        passage: lesson.heldOut.slice(0, Lesson.PASSAGE).map(spell), looks: []};
      live.work = lesson.go(({cost, valid, costs, sample}) => {
        live.looks.push({time: lesson.characters / 1000, training: cost, valid, costs,
          sample: sample.map(spell).join('')});
        showHistory();
      });
      const begins = `Training on ${format.grouped(characters.length)} characters, ${uchar.length} distinct, with `
        + `2 layers of ${H} units. Uniform guessing costs ${format.natsAndBits(Math.log(uchar.length))}.`;
      live.summary = () => begins + (slider.value === slider.max ? '' :
        ` It has now read ${format.grouped(lesson.characters)} characters; validation `
        + `${live.looks[live.looks.length - 1].valid.toFixed(3)} nats.`);
      byId('learn-status').textContent = begins;
      resume();
    } catch (error) {
      fail(error);
    }
  }

  function fail(error) {
    say('learn-wrong', error.message);
    live = window.onbeforeunload = null;
    showButton();
    showHistory();
  }

  function* guarded(generator) {
    try {
      yield* generator;
    } catch (error) {
      fail(error);
    }
  }

  function resume() {
    slider.value = slider.max;                             // in case the reader looked back
    live.running = true;
    window.onbeforeunload = event => event.preventDefault();           // leaving the page would lose the training
    work.begin(guarded(live.work), () => {});
    showButton();
  }

  function pause() {
    work.stop();
    if (live) live.running = false;
    showButton();
  }

  function showButton() {
    byId('learn-go').textContent = !live ? 'Start' : live.running ? 'Pause' : 'Continue';
    byId('learn-anew').hidden = !live;
  }

  function show() {
    showHistory();
    if (live && live.running) resume();
  }

  // ---- the controls

  /** Show the looks one after the other from the slider's, or from the first if the slider is at the end. */
  const stopPlaying = playing('learning-play', PACE, () => {
    slider.value = Number(slider.value) + 1;
    showLook();
    if (slider.value === slider.max || state.view !== 'learning') stopPlaying();
  }, () => {
    if (slider.value === slider.max) slider.value = 0;
    showLook();
  });

  slider.addEventListener('input', () => {
    stopPlaying();
    showLook();
  });
  for (const radio of document.querySelectorAll('[name=source]')) {
    radio.disabled = radio.value === 'run' && !recorded;
    radio.addEventListener('change', () => state.change({source: radio.value}));
  }
  state.follow(['source'], () => {
    if (state.view !== 'learning') return;
    stopPlaying();
    pause();
    showHistory();
  });
  on('learn-go', 'click', () => !live ? begin() : live.running ? pause() : resume());
  on('learn-anew', 'click', () => confirm('This discards what was learned here. Start over?') && begin());
  byId('lesson-name').textContent = data.learner.name;
  for (const line of data.info) {
    const colon = line.indexOf(': ') + 1, said = format.visible(line.slice(colon).trim());
    if (colon) byId('info').append(element('dt', '', format.visible(line.slice(0, colon - 1))));
    byId('info').append(said.length < 300 ? element('dd', '', said) :
      element('dd', '', element('details', '', element('summary', '', said.slice(0, 100) + '\u2026'), said)));
  }

  /** Return the costs of the curve. */
  const table = () => [['time', 'training', 'validation'], ...(history() === recorded && recorded ? data.epochs :
    history().looks.map(({time, training, valid}) => [1000 * time, training, valid])).map(row => (
    row.map(value => value === null || isNaN(value) ? '' : value)))];

  return {show, table, figure: () => byId('learning-curve').firstChild};
}

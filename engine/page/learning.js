// The view Learning: how the model learned, from the logs of its run, or how a new one is trained here in the browser.
// It shows a curve, a passage and a sample, and a slider that goes back and forth in time.

function learningView() {
  const PACE = 500, SLOWEST = 4000;                        // milliseconds per look while playing, and for the first
  const LEAST = 2000, MOST = 5_000_000;                    // characters of a text to train on here
  const RISEN = 0.02;                                      // nats above the best validation cost: it learns by heart
  const slider = byId('when'), SETTINGS = ['learn-text', 'learn-file', 'learn-units'];
  const logged = data.epochs.map(([time, training, valid]) => ({time, training, valid}));
  let here = null;                                         // the training here: {work, running, best, ...history}
  let shownHistory = null, spans = [], timer = 0;          // of playing

  /**
   * Return the history of the run: {passage, about, looks}. about: what the passage is. looks: each {time, training,
   * valid, costs, sample}, with the time in epochs and the costs of all characters of the passage except the first.
   */
  function ofRun() {
    const {text: part, passage, epochs, samples, costs} = data.learning, all = array(costs), each = passage.length - 1;
    const looks = epochs.map((epoch, k) => ({...logged.find(({time}) => time === epoch), sample: samples[k],
      costs: all.subarray(k * each, (k + 1) * each)}));
    return {passage, about: `the beginning of the ${part} text`, looks};
  }

  const recorded = data.learning && ofRun();
  const isHere = () => !recorded || state.source === 'here';
  const history = () => isHere() ? here : recorded;
  const rows = () => isHere() ? here.looks : logged;

  // ---- what is shown

  /** Show the chosen history, at its end if it is new or the slider was there. */
  function showHistory() {
    const found = history();
    for (const one of document.querySelectorAll('[name=source]')) one.checked = isHere() === (one.value === 'here');
    byId('learn-settings').hidden = !isHere();
    byId('learn-title').textContent = found?.looks[0]?.time ? 'How its writing got better' : 'From noise to words';
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
    const {looks, about} = history(), {time, training, valid, costs, sample} = looks[slider.value];
    const known = [['training', training], ['validation', valid]].filter(([, cost]) => cost !== null && !isNaN(cost));
    const line = known.map(([name, cost]) => `${name} ${format.cost(cost, 3)}`).join(', ');
    const when = `Epoch ${Number(time.toFixed(2))}`;
    slider.setAttribute('aria-valuetext', `${when}, ${line}`);
    byId('when-costs').replaceChildren(element('b', '', when), line && `, typical chance of a letter overall: ${line}`);
    spans.forEach((span, k) => colour.tint(span, colour.ofCost(costs, k)));
    byId('passage-cost').textContent = `This is ${about}, coloured by surprise. In this passage alone, a letter had `
      + `a typical chance of ${format.cost(mean(costs))}.`;
    byId('sample').textContent = format.visible(sample);
    if (isHere()) showBest();
    drawCurve(time);
  }

  /** Say when the network trained here was best, and whether it has been learning by heart since. */
  function showBest() {
    const {best, looks} = here, {valid, training} = looks.at(-1);
    const memorises = valid > best.valid + RISEN && training < best.training;
    byId('learn-best').hidden = !best.time;
    byId('best-at').textContent = `Best after ${best.time.toFixed(2)} epochs: `
      + `${format.cost(best.valid, 3)}; this point is kept.` + (memorises ? ' Since then it memorises: its own text '
        + `surprises it less and less, and new text more (${format.cost(valid, 3)} now).` : '');
  }

  /** Return five to twelve round numbers from least to most. */
  function ticks(least, most) {
    const fewest = 5, power = 10 ** Math.floor(Math.log10((most - least) / fewest || 1)), found = [];
    const count = apart => Math.floor(most / apart) - Math.ceil(least / apart) + 1;
    const apart = [10, 5, 2, 1, 0.5].map(k => k * power).find(step => count(step) >= fewest) || power / 2;
    for (let k = Math.ceil(least / apart); k * apart <= most; k++) found.push(Number((k * apart).toPrecision(6)));
    return found;
  }

  /** Draw the costs against time, with a dot on each curve at time `at`. */
  function drawCurve(at) {
    const W = Math.max(280, Math.min(560, byId('learning-curve').clientWidth)), H = 260;
    const [left, right, top, bottom] = [44, W - 12, 12, H - 40];
    const isKnown = cost => cost !== null && !isNaN(cost), all = rows();
    const costs = all.flatMap(({training, valid}) => [training, valid]).filter(isKnown);
    const least = Math.min(...costs), most = Math.max(...costs), first = all[0].time, last = all.at(-1).time;
    const x = time => left + (time - first) / (last - first || 1) * (right - left);
    const y = cost => bottom - (cost - least) / (most - least || 1) * (bottom - top);
    const svg = drawn('svg', {viewBox: `0 0 ${W} ${H}`, width: W, role: 'img', 'aria-label': 'Costs by epoch'});
    for (const cost of ticks(least, most)) {
      svg.append(drawn('line', {class: 'grid', x1: left, x2: right, y1: y(cost), y2: y(cost)}),
        drawn('text', {x: left - 8, y: y(cost) + 4, 'text-anchor': 'end'}, cost));
    }
    for (const time of ticks(first, last)) {
      svg.append(drawn('text', {x: x(time), y: bottom + 18, 'text-anchor': 'middle'}, time));
    }
    svg.append(drawn('text', {x: (left + right) / 2, y: bottom + 36, 'text-anchor': 'middle'}, 'epoch'));
    for (const [key, name] of [['training', 'training'], ['valid', 'validation']]) {
      const known = all.filter(row => isKnown(row[key])), now = known.find(row => row.time === at);
      svg.append(drawn('polyline', {class: name, points: known.map(row => `${x(row.time)},${y(row[key])}`).join(' ')}));
      if (now) svg.append(drawn('circle', {class: name, r: 6, cx: x(at), cy: y(now[key])}));
    }
    const best = all.filter(({valid}) => isKnown(valid)).reduce((a, b) => a && a.valid <= b.valid ? a : b, null);
    const isRight = best && x(best.time) > W / 2, middle = isRight ? 6 : -6;           // of the arrow
    if (best) svg.append(drawn('text', {x: x(best.time) + middle, y: y(best.valid) - 10,
      'text-anchor': isRight ? 'end' : 'start'}, isRight ? 'best \u2193' : '\u2193 best'));
    byId('learning-curve').replaceChildren(svg);
  }

  // ---- training here

  /** Return what the chosen text is called, and its characters, at most MOST: pasted, of a file, or the page's own. */
  async function chosenText() {
    const [file] = byId('learn-file').files, pasted = byId('learn-text').value;
    const all = pasted || (file ? (await file.text()).replace(/\r\n?/g, '\n') : data.learner.text);
    return {name: pasted ? 'your text' : file ? file.name : data.learner.name,
      characters: Array.from(all.slice(0, 2 * MOST)).slice(0, MOST)};
  }

  /** Start with the chosen text and units. */
  async function begin() {
    const {name, characters} = await chosenText(), {recipe, rates} = data.learner, count = characters.length;
    say('learn-wrong', count >= LEAST ? '' : `The text has ${format.grouped(count)} characters: expected at least `
      + `${format.grouped(LEAST)}, ideally 100,000.`);
    if (count < LEAST) return;
    const H = Number(byId('learn-units').value);
    const uchar = Array.from(new Set(characters)).sort(), numbers = new Map(uchar.map((one, k) => [one, k]));
    const lesson = new Lesson(initialParameters(data.cell, uchar.length, [H, H], new Random(1)), data.cell,
      characters.map(one => numbers.get(one)), recipe, rates[H]);
    const spell = number => uchar[number];
    here = {about: 'the beginning of the held-out last tenth of the text',
      passage: lesson.heldOut.slice(0, Lesson.PASSAGE).map(spell), looks: [], best: null, lesson, uchar, H, name};
    here.work = lesson.go(found => takeLook({...found, training: found.cost, time: lesson.epochs,
      sample: found.sample.map(spell).join('')}));
    byId('learn-status').textContent = `Training on ${format.grouped(count)} characters, ${uchar.length} distinct, `
      + `with 2 layers of ${H} cells. Blind guessing: ${format.cost(Math.log(uchar.length))}.`;
    resume();
  }

  /** Keep a look at the network trained here, and its parameters if it is the best so far. */
  function takeLook(look) {
    const {network, averages} = here.lesson.learner;
    here.looks.push(look);
    if (!here.best || look.valid < here.best.valid) here.best = {...look, p: network.parameters(averages)};
    showHistory();
  }

  /** Discard what was trained here, if anything, so that another text and size can be chosen. why: an error. */
  function discard(why = '') {
    say('learn-wrong', why);
    stopPlaying();
    work.stop();
    here = window.onbeforeunload = null;
    byId('learn-status').textContent = '';
    byId('learn-best').hidden = true;
    showButton();
    showHistory();
  }

  function* guarded(generator) {
    try {
      yield* generator;
    } catch (error) {
      discard(error.message);
    }
  }

  function resume() {
    slider.value = slider.max;                             // in case the reader looked back
    here.running = true;
    window.onbeforeunload = event => event.preventDefault();           // leaving the page would lose the training
    work.begin(guarded(here.work), () => {});
    showButton();
  }

  function pause() {
    work.stop();
    if (here) here.running = false;
    showButton();
  }

  function showButton() {
    byId('learn-go').textContent = !here ? 'Start training' : here.running ? 'Stop training' : 'Continue training';
    byId('learn-anew').hidden = !here;
    for (const id of SETTINGS) byId(id).parentElement.hidden = Boolean(here);
  }

  function show() {
    const isNew = !shownHistory;
    showHistory();
    if (here && here.running) resume();
    if (isNew && !isHere() && !matchMedia('(prefers-reduced-motion)').matches) play();
  }

  /** Show the looks one after the other from the slider's, or from the first if the slider is at the end. */
  function play() {
    if (slider.value === slider.max) slider.value = 0;
    byId('learning-play').textContent = 'Pause';
    showNext(0);
  }

  /** Show the look that is `by` after the slider's, and the next one a little later: early looks differ most. */
  function showNext(by) {
    slider.value = Number(slider.value) + by;
    showLook();
    if (slider.value === slider.max || state.view !== 'learning') return stopPlaying();
    timer = setTimeout(showNext, Math.max(PACE, SLOWEST / (1 + Number(slider.value))), 1);
  }

  function stopPlaying() {
    clearTimeout(timer);
    timer = 0;
    byId('learning-play').textContent = 'Play';
  }

  on('learning-play', 'click', () => timer ? stopPlaying() : play());

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
  on('learn-go', 'click', () => !here ? begin() : here.running ? pause() : resume());
  on('learn-anew', 'click', () => confirm('This discards what was learned here. Start over?') && discard());
  on('learn-use', 'click', () => open(URL.createObjectURL(new Blob([pageOf(here)], {type: 'text/html'}))));
  on('learn-save', 'click', () => saving.save('my_page.html', 'text/html', pageOf(here)));
  byId('learn-text').placeholder = `Paste a novel, plays, poems, code ... If empty, it learns ${data.learner.name}.`;

  /** Return the costs of the curve. */
  const table = () => [['epoch', 'training', 'validation'], ...rows().map(({time, training, valid}) => (
    [time, training, valid].map(value => value === null || isNaN(value) ? '' : value)))];

  return {show, table};
}

// The view Learning: how the model learned, from the logs of its run, or how a new one is trained here in the browser.
// It shows a curve, a passage and a sample, and a slider that goes back and forth in time.

function learningView() {
  const PACE = 500, SLOWEST = 4000;                        // milliseconds per look while playing, and for the first
  const slider = byId('when');
  const here = trainer('learn-go', 'Train one now', () => [data.cell], showHistory);
  let shownHistory = null, spans = [];

  const recorded = data.learning && {...data.learning, looks: data.learning.looks.map(look => (
    {...look, costs: array(look.costs)}))};
  const lesson = () => here.lessons?.[0];
  const isHere = () => !recorded || state.source === 'here' && lesson();
  const history = () => isHere() ? lesson() : recorded;
  const rows = () => isHere() ? lesson().looks.map(({time, training, valid}) => [time, training, valid]) : data.epochs;

  /** Show the chosen history, at its end if it is new or the slider was there. */
  function showHistory() {
    const found = history();
    byId('learn-run').hidden = !recorded || !isHere();
    byId('learn-trained').hidden = isHere() || !lesson();
    byId('learn-here').hidden = !(isHere() && lesson()?.looks.length);
    byId('looks').hidden = !found || !found.looks.length;
    if (byId('looks').hidden) return;
    const atEnd = found !== shownHistory || slider.value === slider.max;
    if (found !== shownHistory) byId('passage-learned').replaceChildren(...spans = found.passage.map(glyphs.spanOf));
    shownHistory = found;
    slider.max = found.looks.length - 1;
    if (atEnd) slider.value = slider.max;
    showLook();
  }

  /** Show the look that the slider is at. */
  function showLook() {
    const {looks, about} = history(), {time, training, valid, costs, sample} = looks[slider.value];
    const known = [['training', training], ['validation', valid]].filter(([, cost]) => Number.isFinite(cost));
    const line = known.map(([name, cost]) => `${name} ${format.cost(cost, 3)}`).join(', ');
    const when = `Epoch ${Number(time.toFixed(2))}`;
    slider.setAttribute('aria-valuetext', `${when}, ${line}`);
    byId('when-costs').replaceChildren(element('b', '', when), line && `, typical chance of a letter: ${line}`);
    spans.forEach((span, k) => colour.tint(span, colour.ofCost(costs, k)));
    byId('passage-cost').textContent = `This is ${about}: the stronger the colour, the less it expected the letter. `
      + `In this passage alone, a letter had a typical chance of ${format.cost(mean(costs))}.`;
    byId('sample').textContent = format.visible(sample);
    if (isHere()) showTraining();
    const pointsOf = k => rows().map(row => [row[0], row[k]]);
    const curves = [{className: 'dashed', points: pointsOf(1)}, {className: 'solid', points: pointsOf(2)}];
    drawCurves('learning-curve', curves, {axis: 'epoch', at: time});
  }

  /** Say what is trained here, and when it was best. */
  function showTraining() {
    const {looks, count, uchar, units} = lesson();
    const best = looks.reduce((a, b) => a.valid <= b.valid ? a : b);
    byId('learn-status').textContent = `Training on ${format.grouped(count)} characters, ${uchar.length} distinct, `
      + `with layers of ${units.join(' and ')} units. Blind guessing: ${format.cost(Math.log(uchar.length))}. `
      + `Best after ${best.time.toFixed(2)} epochs: ${format.cost(best.valid, 3)} on ${scoredOn(lesson())}.`;
  }

  function show() {
    const isNew = !shownHistory;
    showHistory();
    here.showButton();
    if (isNew && !isHere() && !matchMedia('(prefers-reduced-motion)').matches) play(showNext());
  }

  /** Show the next look, after the last one the first. Returns whether more follow. */
  function showNext() {
    slider.value = slider.value === slider.max ? 0 : Number(slider.value) + 1;
    showLook();
    return slider.value !== slider.max && state.view === 'learning';
  }

  // Early looks differ most.
  const play = player('learning-play', showNext, () => Math.max(PACE, SLOWEST / (1 + Number(slider.value))));
  slider.addEventListener('input', () => {
    play(false);
    showLook();
  });
  state.follow(['source'], () => {
    if (state.view !== 'learning') return;
    play(false);
    showHistory();
  });
  on('learn-go', 'click', () => {
    slider.value = slider.max;                             // in case the reader looked back
    state.change({source: 'here'});
  });
  for (const part of document.querySelectorAll('.learner-text')) part.textContent = data.learner.name;
  on('learn-own', 'click', () => { byId('learn-options').open = true; });

  return {show};
}

// The view 'How it learned': what the model wrote, and what it expected in one passage, after each epoch of its run.

function learningView() {
  const PACE = 500;                                        // milliseconds of an epoch while it plays
  const learned = data.learning, learnedCosts = array(learned.costs), spans = learned.passage.map(glyphs.spanOf);

  /** Draws the costs of the run, with a dot on each curve, which showEpoch() moves. */
  function show() {
    const place = byId('learning-curve'), figure = curve.draw(data.epochs, Math.min(680, place.clientWidth));
    figure.querySelector('svg').append(...['training', 'validation'].map(name => drawn('circle', {class: name, r: 6})));
    for (const name of figure.querySelectorAll('figcaption span')) name.textContent = name.className;
    place.replaceChildren(figure);
    showEpoch();
  }

  /** Moves the dots to the costs of an epoch, a row of data.epochs; a cost that is not known has no dot. */
  function moveDots(row) {
    const svg = byId('learning-curve').querySelector('svg'), {width, height} = svg.viewBox.baseVal;
    const places = curve.placesOf(data.epochs, width, height);
    svg.querySelectorAll('circle').forEach((dot, k) => {
      dot.setAttribute('visibility', row[k + 1] === null ? 'hidden' : 'visible');
      dot.setAttribute('cx', places.x(row[0]));
      dot.setAttribute('cy', places.y(row[k + 1]));
    });
  }

  /** Shows the epoch that the slider is at. */
  function showEpoch() {
    const k = Number(byId('epoch').value), epoch = learned.epochs[k], each = spans.length - 1;
    const row = data.epochs.filter(([number]) => number === epoch).pop(), [, training, validation] = row;
    const then = learnedCosts.subarray(k * each, k * each + each);
    const costs = [['training', training], ['validation', validation]].filter(([, cost]) => cost !== null);
    const line = costs.map(([name, cost]) => `${name} ${format.natsAndBits(cost)}`).join(', ');
    const last = costs[costs.length - 1];
    byId('epoch').setAttribute('aria-valuetext',
      `epoch ${epoch}` + (last ? `, ${last[0]} cost ${last[1].toFixed(2)} nats` : ''));
    byId('epoch-costs').replaceChildren(element('b', '', `Epoch ${epoch}`), line && `: ${line}`);
    spans.forEach((span, place) => colour.tint(span, place ? Math.max(0, then[place - 1]) / colour.DEAREST : 0));
    byId('scored-costs').textContent = `The beginning of the ${learned.text} text, each character coloured by its cost `
      + `after this epoch. Mean: ${format.natsAndBits(mean(then))} a character.`;
    byId('sample').textContent = format.visible(learned.samples[k]);
    moveDots(row);
  }

  const slider = byId('epoch'), atEnd = () => slider.value === slider.max;

  /** Shows one epoch after the other from the slider's on, or from the first if that is the last. */
  const stopPlaying = playing(byId('play'), PACE, () => {
    slider.value = Number(slider.value) + 1;
    showEpoch();
    if (atEnd()) stopPlaying();
  }, () => {
    if (atEnd()) slider.value = 0;
    showEpoch();
  });

  const many = learned.epochs.length;
  if (learned.logged > many) {
    byId('learning-chosen').textContent = `It has ${many} of the ${format.grouped(learned.logged)} epochs with a `
      + 'sample, evenly chosen.';
  }
  byId('scored').append(...spans);
  byId('epoch').max = many - 1;
  byId('epoch').value = many - 1;
  byId('epoch').addEventListener('input', () => {
    stopPlaying();
    showEpoch();
  });
  return {title: 'How it learned', show, leave: stopPlaying, ...curve.saved('learning-curve')};
}

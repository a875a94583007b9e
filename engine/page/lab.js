// The view Lab: the formula of a cell is a text that the reader edits. Two networks are trained side by side, an LSTM
// and one of this cell, on the same text, batches and steps.

function labView() {
  const formulas = {...data.learner.formulas, ...data.cell.source && {"this page's": data.cell.source}};     // by name
  const formula = byId('formula'), sources = () => [...new Set([formulas.LSTM, state.formula])];
  const both = trainer('lab-go', 'Train', () => sources().map(cellOf), showLooks, () => state.formula, true);
  const hues = {};                                         // of the curves, by label
  let tried = [], own = 0;                                 // lessons on one text, those in training first; a number

  /** Show the formula, and what is wrong with it. A training of another formula stops. */
  function showFormula() {
    const source = state.formula;
    let error = null;
    try {
      cellOf(source);
    } catch (found) {
      error = found;
    }
    const before = source.slice(0, error?.token.at).split('\n');
    if (formula.value !== source) formula.value = source;
    formula.rows = source.split('\n').length + 1;
    say('formula-wrong', error ? `Line ${before.length}, column ${before.at(-1).length + 1}: ${error.message}.` : '');
    byId('lab-go').disabled = byId('lab-copy').disabled = Boolean(error);
    byId('lab-class').hidden = true;
    say('learn-wrong', '');
    for (const chip of byId('chips').children) chip.setAttribute('aria-pressed', chip.value === source);
    both.showButton();
  }

  /** Label a lesson by its formula and sizes, at first sight. */
  function label(lesson) {
    const {cell: {source}, units} = lesson;
    const name = Object.keys(formulas).find(each => formulas[each] === source) || `yours ${++own}`;
    formulas[name] = source;
    lesson.label = `${name}, ${units.length}x${units[0]}`;
    hues[lesson.label] ??= 208 + 137 * Object.keys(hues).length;
  }

  /** Return the row of the table about a lesson. */
  function rowOf({label: name, cell, size, epochs, looks, seconds}) {
    const numbers = [format.grouped(size), epochs.toFixed(2), Math.min(...looks.map(({valid}) => valid)).toFixed(3),
      (seconds / epochs || 0).toFixed(1)];
    const row = element('tr', '', element('th', '', button('quiet link', [name], () => (
      state.change({formula: cell.source})))), ...numbers.map(number => element('td', 'number', number)));
    row.style.setProperty('--hue', hues[name]);
    return row;
  }

  /** Show the curves and numbers of all that was tried on this text, and the last samples of both in training. */
  function showLooks() {
    const now = both.lessons, standard = now[0], rival = now.at(-1), begins = !rival.label;
    byId('lab-looks').hidden = false;
    byId('rival').hidden = now.length === 1;
    now.filter(lesson => !lesson.label).forEach(label);
    tried = [...now, ...tried.filter(old => now.every(({label: name}) => name !== old.label)
      && old.name === rival.name && old.count === rival.count)];
    drawCurves('lab-curve', tried.map(({label: of, looks}) => (
      {className: 'rival', hue: hues[of], points: looks.map(({time, valid}) => [time, valid])})), {axis: 'epoch'});
    drawCurves('lab-reach', tried.flatMap(({label: of, reach}) => Object.keys(reach[0]).map(name => (
      {className: name === 'h' ? 'rival' : 'rival dashed', hue: hues[of],
        points: reach.map((sizes, k) => [k, Math.log10(sizes[name])])}))),
    {axis: 'letters before', isLog: true});
    byId('lab-tried').replaceChildren(...tried.map(rowOf));
    byId('lstm-sample').textContent = format.visible(standard.looks.at(-1).sample);
    byId('own-sample').textContent = format.visible(rival.looks.at(-1).sample);
    byId('own-name').textContent = rival.label;
    byId('lab-when').textContent = `Costs of ${scoredOn(rival)}, in nats: lower is better.`;
    byId('lab-places').textContent = format.grouped(rival.learner.B);
    byId('lab-clear').hidden = tried.length === now.length;
    if (begins && isNarrow.matches) byId('lab-looks').scrollIntoView();
  }

  for (const [name, source] of Object.entries(formulas)) {
    const chip = button('button', [name], () => state.change({formula: source}));
    chip.value = source;
    byId('chips').append(chip);
  }
  formula.addEventListener('input', () => state.change({formula: formula.value}));
  on('lab-copy', 'click', () => {
    byId('lab-class').hidden = false;
    byId('lab-python').textContent = classOf(state.formula);
    navigator.clipboard?.writeText(byId('lab-python').textContent).then(() => say('lab-copied', 'Copied.'), () => {});
  });
  on('lab-clear', 'click', () => {
    tried = [];
    showLooks();
  });
  on('learn-size', 'change', () => state.change({size: byId('learn-size').value}));
  state.follow(['size'], () => { byId('learn-size').value = state.size; });
  state.follow(['formula'], () => state.view === 'lab' && showFormula());

  return {show: showFormula};
}

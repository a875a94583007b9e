// The view Lab: the formula of a cell is a text that the reader edits. Two networks are trained side by side, an LSTM
// and one of this cell, on the same text, batches and steps.

function labView() {
  const LSTM = data.learner.formulas.LSTM, formula = byId('formula');
  const both = trainer('lab-go', 'Train both', () => [LSTM, state.formula].map(cellOf), showLooks, () => state.formula);
  let seen = null, error = null;                           // the lessons that are shown; what is wrong in the formula

  /** Show the formula, and what is wrong with it. A training of another formula stops. */
  function showFormula() {
    const source = state.formula;
    error = null;
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
    both.resume();
  }

  /** Show both curves, the last samples and how many parameters each has. */
  function showLooks() {
    const [standard, own] = seen = both.lessons, {formulas} = data.learner;
    const isFirst = byId('lab-looks').hidden;
    byId('lab-looks').hidden = false;
    byId('own-name').textContent = Object.keys(formulas).find(name => formulas[name] === own.cell.source) || 'yours';
    drawCurves('lab-curve', own.looks.map(({time, valid}, k) => [time, standard.looks[k].valid, valid]),
      own.looks.at(-1).time);
    for (const [id, {looks, size}] of [['lstm', standard], ['own', own]]) {
      const {valid, sample} = looks.at(-1);
      byId(id + '-cost').textContent = `${format.grouped(size)} parameters, typical chance of a letter `
        + format.cost(valid, 3);
      byId(id + '-sample').textContent = format.visible(sample);
    }
    byId('lab-when').textContent = `After ${own.epochs.toFixed(2)} epochs, readings of the text. Costs of `
      + `${scoredOn(own)}, in nats: lower is better.`;
    if (isFirst) byId('lab-looks').scrollIntoView({block: isNarrow.matches ? 'start' : 'nearest'});
  }

  for (const [name, source] of Object.entries(data.learner.formulas)) {
    const chip = button('button', [name], () => state.change({formula: source}));
    chip.value = source;
    byId('chips').append(chip);
  }
  formula.addEventListener('input', () => state.change({formula: formula.value}));
  on('formula-wrong', 'click', () => {
    const {at, text: {length}} = error.token;
    formula.focus();
    formula.setSelectionRange(at, at + length);
  });
  on('lab-go', 'click', () => { byId('lab-class').hidden = true; });
  on('lab-copy', 'click', () => {
    byId('lab-class').hidden = false;
    byId('lab-python').textContent = classOf(state.formula);
    navigator.clipboard?.writeText(byId('lab-python').textContent).catch(() => {});        // it can be selected, too
  });
  offerPage('lab-use', 'lab-save-page', () => seen[1]);
  state.follow(['formula'], () => state.view === 'lab' && showFormula());

  return {show: showFormula};
}

// The view Cells: a gallery of cells with names (gallery.js), and the text coloured by C, h or a gate of one cell.
// Reading the text gives the values.

function cellsView() {
  let order = [];                                          // names of units, the best followers of the feature first
  let matches = new Map();                                 // of units with the feature, or with a phrase, by name
  let values = [];                                         // of the chosen unit at each character, once read

  const names = units.all(), feature = () => state.feature || gallery.features()[0]?.feature;
  const unit = () => state.unit || gallery.features().find(each => each.feature === feature())?.name || order[0];
  const valueName = name => units.nameOf({...units.of(name), ...state.of !== 'C' && {state: state.of}});

  /** List all units, those that match a phrase, as from search(), or else the chosen feature, best first. */
  function listUnits(phrase = null) {
    const correlations = data.correlations[feature()] || [];
    matches = new Map(names.map((name, k) => [name, phrase ? contrast(name, phrase) : correlations[k] || 0]));
    say('phrase', phrase ? `the phrase \u201c${phrase.said}\u201d` : '');
    byId('feature').value = phrase ? '' : feature() || '';
    order = [...names].sort((a, b) => Math.abs(matches.get(b)) - Math.abs(matches.get(a)));
    byId('units').replaceChildren(...order.map(name => new Option(`${name.padEnd(7, '\xa0')} `
      + `${Math.abs(matches.get(name)).toFixed(2)} ${matches.get(name) < 0 ? 'low\xa0' : 'high'} `
      + '\u25a0'.repeat(Math.min(12, Math.round(12 * Math.abs(matches.get(name))))), name)));
    byId('units').value = unit();
  }

  /** Return the mean of a unit in a phrase, minus that around it, by the unit's range. */
  function contrast(name, {inside, around}) {
    const place = units.placeOf(units.of(name), 'C'), [low, high] = units.rangeOf(name);
    const meanOf = letters => mean(letters.map(k => text.reading().states(k)[place]));
    return (meanOf(inside) - meanOf(around)) / (high - low) || 0;
  }

  /** List the units by the phrase that is selected, and choose the first. */
  function search() {
    const AROUND = 30, selection = getSelection(), letters = [...values.keys()];
    const inside = letters.filter(k => !selection.isCollapsed && selection.containsNode(text.spans[k], true));
    const around = letters.filter(k => k >= inside[0] - AROUND && k <= inside.at(-1) + AROUND && !inside.includes(k));
    const said = format.onOneLine(inside.map(k => text.spelled[k]).join(''));
    listUnits(inside.length ? {inside, around, said} : null);
    if (inside.length) state.change({unit: order[0], of: 'C'});
    show();                                                // since the same unit may now be dark where it was pale
  }

  function show() {
    byId('of').value = state.of;
    byId('units').value = unit();
    gallery.hold(byId('hold'), unit(), matches.get(unit()));
    byId('text-title').textContent = `${text.own ? 'Your line' : 'The text'} in the colours of ${valueName(unit())}`;
    values = [];
    if (units.rows[state.of] || text.reading().done < text.numbers.length) {           // then it takes a while
      text.paint(() => 0);
      byId('pale').textContent = byId('deep').textContent = '\u2026';
    }
    work.begin(read(), share => {
      byId('value').textContent = `Reading the text: ${Math.round(100 * share)} %.`;
      gallery.show();
    }, paint);
  }

  /** Read the page's text, from which the colours and the names of cells are, and the shown one. Returns the values. */
  function* read() {
    const row = units.rows[state.of];
    yield* text.page.reading().to(text.page.numbers.length);
    yield* text.reading().to(text.numbers.length);
    return row ? yield* text.reading().valuesInside(units.of(unit()), row.value) : text.valuesOf(unit(), state.of);
  }

  function paint(found) {
    const row = units.rows[state.of], ofPage = () => text.valuesOf(unit(), state.of, text.page.reading());
    const [pale, deep] = !row ? colour.ends(ofPage(), matches.get(unit()) < 0) : row.ends || colour.ends(found);
    values = found;
    const [below, above] = row?.ends ? ['', ''] : pale > deep ? [' or more', ' or less'] : [' or less', ' or more'];
    byId('pale').textContent = `value ${format.signed(pale)}${below}`;
    byId('deep').textContent = format.signed(deep) + above;
    text.paint(k => k < values.length ? colour.between(values[k], pale, deep) : 0);
    gallery.show();
    follow();
  }

  function follow() {
    const place = Math.min(text.place, text.numbers.length - 1), value = values[place];
    byId('value').replaceChildren(...value === undefined ? [] : [`Value of ${valueName(unit())} `,
      units.rows[state.of] ? 'as it reads ' : 'after ', vocabulary.inBold(text.numbers[place]),
      ': ' + format.signed(value)]);
  }

  const shown = () => state.view === 'cells';
  for (const {feature: name, match} of gallery.features()) {
    byId('feature').append(new Option(`${name} (match ${Math.abs(match).toFixed(2)} of 1)`, name));
  }
  for (const [name, {code}] of Object.entries(units.rows)) {
    byId('of').append(new Option(code ? `${name} = ${code}` : name, name));
  }
  on('feature', 'change', () => {
    state.change({feature: byId('feature').value, unit: null});
    listUnits();                                           // in case a phrase was searched for
  });
  on('units', 'change', () => state.change({unit: byId('units').value}));
  on('of', 'change', () => state.change({of: byId('of').value}));
  listUnits();
  on('text', 'pointerup', () => shown() && search());
  state.follow(['feature'], () => listUnits());
  state.follow(['feature', 'unit', 'of'], () => shown() && show());

  return {show, follow};
}

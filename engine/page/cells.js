// The view Cells: the text coloured by the cell state of one unit, the units that follow a feature, and those that are
// held while the view Writing writes.

/** How deep a value is coloured, from 0 to 1, if `pale` gets the palest colour and `deep` the deepest. */
function levelBetween(value, pale, deep) {
  return Math.max(0, Math.min(1, (value - pale) / (deep - pale || 1)));
}

/** Units are numbers of data.units here. */
function cellsView(text) {
  const n = text.numbers.length, states = array(data.states), features = Object.keys(data.correlations);
  let order = [];                                          // the units, those first that follow the feature best

  const shown = () => state.view === 'cells';
  const feature = () => state.feature === null ? features[0] : state.feature;
  const correlation = u => data.correlations[feature()][u];

  /** The unit that colours the text: the first of the list where none was chosen that the page has the states of. */
  function unit() {
    const chosen = units.numberOf(state.unit);
    return chosen < 0 ? order[0] : chosen;
  }

  /** Lists the units: those that follow the chosen feature best come first. */
  function listUnits() {
    byId('feature').value = feature();
    order = data.units.map((_, u) => u).sort((a, b) => Math.abs(correlation(b)) - Math.abs(correlation(a)));
    byId('units').replaceChildren(...order.map(u => {
      const r = correlation(u);
      return listItem('unit-' + u, () => chooseUnit(u), ...bar(units.nameOf(u), Math.abs(r), signed(r), ''));
    }));
  }

  const chooseUnit = u => change({unit: units.nameOf(u)});

  /** Shows the chosen unit in the list and by the colours of the text. */
  function showUnit() {
    selectItem(byId('units'), byId('unit-' + unit()));
    [byId('pale').textContent, byId('deep').textContent] = ends().map(byte => 'C ' + valueOf(byte));
    showHold(ends()[1]);                                   // at first where the colour is deepest
    if (shown()) show();
  }

  /** The bytes that get the palest and the deepest colour: not the extremes, so that a few outliers do not decide. */
  function ends(u = unit(), r = correlation(u)) {
    const sorted = states.slice(u * n, u * n + n).sort();
    const low = sorted[Math.floor(0.02 * n)], high = sorted[Math.floor(0.98 * (n - 1))];
    return r < 0 ? [high, low] : [low, high];
  }

  function show() {
    const [pale, deep] = ends(), first = unit() * n;
    text.paint(k => levelBetween(states[first + k], pale, deep));
    follow();
  }

  /** The C that get the palest and the deepest colour; r: the correlation of the unit with a feature. */
  const endsOfC = (u, r) => ends(u, r).map(byte => units.cellState(u, byte));

  const valueOf = (byte, u = unit()) => twoDigits(units.cellState(u, byte));

  function follow() {
    const value = valueOf(states[unit() * n + state.place]);
    byId('value').replaceChildren('at ', element('bdi', '', named(text.numbers[state.place])), ': ' + value);
  }

  /** Chooses the unit that is `by` places further down the list. */
  function stepUnits(by) {
    chooseUnit(order[Math.max(0, Math.min(order.length - 1, order.indexOf(unit()) + by))]);
  }

  /** The units that are held, as Network.hold takes them, each with a text that says so. */
  function heldUnits() {
    return Array.from(state.held, ([u, byte]) => ({layer: data.units[u].layer, number: data.units[u].number, u, byte,
      value: units.cellState(u, byte), description: descriptionOf(u, byte)}));
  }

  const descriptionOf = (u, byte) => `${units.nameOf(u)} at ${valueOf(byte, u)}`;

  /** Holds a unit at the value that a byte stands for. Returns a text that says so. */
  function holdAt(u, byte) {
    change({held: new Map([...state.held, [u, byte]])});
    return descriptionOf(u, byte);
  }

  /** Holds the unit at the slider's value, or not. */
  function holdUnit(on) {
    if (on) holdAt(unit(), Number(byId('hold-at').value));
    else change({held: new Map(Array.from(state.held).filter(([u]) => u !== unit()))});
  }

  /** Shows which units are held, and the byte of the slider where the unit is not. */
  function showHold(free) {
    const {held} = state, u = unit(), byte = held.has(u) ? held.get(u) : free;
    for (const item of byId('units').children) item.classList.toggle('held', held.has(Number(item.id.slice(5))));
    byId('hold').checked = held.has(u);
    byId('hold-at').dir = correlation(u) < 0 ? 'rtl' : 'ltr';            // as the scale of the colours
    byId('hold-at').value = byte;
    byId('hold-value').value = valueOf(byte);
    byId('hold-at').setAttribute('aria-valuetext', byId('hold-value').value);
  }

  const strongest = name => Math.max(...data.correlations[name].map(Math.abs));
  features.sort((a, b) => strongest(b) - strongest(a));
  for (const name of features) {
    byId('feature').append(selectOption(name, `${name} (best ${strongest(name).toFixed(2)})`));
  }
  byId('feature').addEventListener('change', event => change({feature: event.target.value, unit: null}));
  byId('hold').addEventListener('change', event => holdUnit(event.target.checked));
  byId('hold-at').addEventListener('input', () => holdUnit(true));
  byId('previous').addEventListener('click', () => stepUnits(-1));
  byId('next').addEventListener('click', () => stepUnits(1));
  onListKeys(byId('units'), data.units.length, stepUnits);
  for (const id of ['text', 'units']) onKeys(byId(id), {j: () => 1, k: () => -1}, stepUnits, shown);
  listUnits();
  follows(['feature'], listUnits);
  follows(['feature', 'unit'], showUnit);
  follows(['held'], () => showHold(Number(byId('hold-at').value)));
  showUnit();
  return {title: 'Cells', show, follow, endsOfC, heldUnits, holdAt, holdNone: () => change({held: new Map()})};
}

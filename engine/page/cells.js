// The view Cells: the text coloured by the cell state of one unit, the units that follow a feature, and those that are
// held while the view Writing writes.

/** How deep a value is coloured, from 0 to 1, if `pale` gets the palest colour and `deep` the deepest. */
function levelBetween(value, pale, deep) {
  return Math.max(0, Math.min(1, (value - pale) / (deep - pale || 1)));
}

/** Units are numbers of data.units here. */
function cellsView(text) {
  const n = text.numbers.length, states = array(data.states), features = Object.keys(data.correlations);
  const heldBytes = new Map();                             // from units that are held to bytes of C
  let unit = 0;                                            // the one that colours the text

  const shown = () => shownView() === 'cells';
  const correlation = u => data.correlations[byId('feature').value][u];

  /** The name of a unit, as --hold takes it. */
  const nameOf = u => `C${data.units[u].layer}:${data.units[u].number}`;

  /** Lists the units: those that follow the chosen feature best come first. */
  function listUnits() {
    const order = data.units.map((_, u) => u).sort((a, b) => Math.abs(correlation(b)) - Math.abs(correlation(a)));
    byId('units').replaceChildren(...order.map(u => {
      const r = correlation(u);
      const item = listItem('unit-' + u, () => chooseUnit(u), ...bar(nameOf(u), Math.abs(r), signed(r), ''));
      item.classList.toggle('held', heldBytes.has(u));
      return item;
    }));
    chooseUnit(order[0]);
  }

  /** Colours the text by a unit. */
  function chooseUnit(u) {
    unit = u;
    selectItem(byId('units'), byId('unit-' + u));
    [byId('pale').textContent, byId('deep').textContent] = ends().map(byte => 'C ' + valueOf(byte));
    follow();
    showHold();
    if (shown()) show();
  }

  /** The bytes that get the palest and the deepest colour: not the extremes, so that a few outliers do not decide. */
  function ends(u = unit, r = correlation(u)) {
    const sorted = states.slice(u * n, u * n + n).sort();
    const low = sorted[Math.floor(0.02 * n)], high = sorted[Math.floor(0.98 * (n - 1))];
    return r < 0 ? [high, low] : [low, high];
  }

  function show() {
    const [pale, deep] = ends();
    text.paint(k => levelBetween(states[unit * n + k], pale, deep));
  }

  /** The C that a byte of a unit's states stands for. */
  function cellState(u, byte) {
    const {least, most} = data.units[u];
    return least + (most - least) * byte / 255;
  }

  /** The C that get the palest and the deepest colour; r: the correlation of the unit with a feature. */
  const endsOfC = (u, r) => ends(u, r).map(byte => cellState(u, byte));

  const valueOf = (byte, u = unit) => twoDigits(cellState(u, byte));

  function follow() {
    const {here} = text;
    const value = valueOf(states[unit * n + here]);
    byId('value').replaceChildren('at ', element('bdi', '', named(text.numbers[here])), ': ' + value);
  }

  /** Chooses the unit that is `by` places further down the list. */
  function stepUnits(by) {
    const items = Array.from(byId('units').children), at = items.findIndex(item => item.id === 'unit-' + unit);
    chooseUnit(Number(items[Math.max(0, Math.min(items.length - 1, at + by))].id.slice('unit-'.length)));
  }

  /** The units that are held, as Network.hold takes them, each with a text that says so. */
  function heldUnits() {
    return Array.from(heldBytes, ([u, byte]) => ({layer: data.units[u].layer, number: data.units[u].number,
      value: cellState(u, byte), description: `${nameOf(u)} at ${valueOf(byte, u)}`, u, byte}));
  }

  /** Holds a unit at the value that a byte stands for. Returns a text that says so. */
  function holdAt(u, byte) {
    heldBytes.set(u, byte);
    if (u === unit) showHold();
    return heldUnits().find(held => held.u === u).description;
  }

  /** Holds the unit at the slider's value, or not. */
  function holdUnit(on) {
    if (on) heldBytes.set(unit, Number(byId('hold-at').value));
    else heldBytes.delete(unit);
    byId('unit-' + unit).classList.toggle('held', on);
    showHold(Number(byId('hold-at').value));
  }

  /** Shows whether the unit is held, and the byte of the slider: at first where the colour is deepest. */
  function showHold(byte = heldBytes.has(unit) ? heldBytes.get(unit) : ends()[1]) {
    byId('hold').checked = heldBytes.has(unit);
    byId('hold-at').dir = correlation(unit) < 0 ? 'rtl' : 'ltr';         // as the scale of the colours
    byId('hold-at').value = byte;
    byId('hold-value').value = valueOf(byte);
    byId('hold-at').setAttribute('aria-valuetext', byId('hold-value').value);
  }

  function holdNone() {
    heldBytes.clear();
    for (const item of byId('units').children) item.classList.remove('held');
    showHold();
  }

  const strongest = name => Math.max(...data.correlations[name].map(Math.abs));
  features.sort((a, b) => strongest(b) - strongest(a));
  for (const name of features) {
    byId('feature').append(selectOption(name, `${name} (best ${strongest(name).toFixed(2)})`));
  }
  byId('feature').addEventListener('change', listUnits);
  byId('hold').addEventListener('change', event => holdUnit(event.target.checked));
  byId('hold-at').addEventListener('input', () => holdUnit(true));
  byId('previous').addEventListener('click', () => stepUnits(-1));
  byId('next').addEventListener('click', () => stepUnits(1));
  onListKeys(byId('units'), data.units.length, stepUnits);
  onKeys(document.body, {j: () => 1, k: () => -1}, stepUnits, shown);
  listUnits();
  return {title: 'Cells', show, follow, nameOf, endsOfC, heldUnits, holdAt, holdNone};
}

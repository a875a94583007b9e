// The view Cells: the text coloured by the cell state of one unit, and the units that follow a feature.

const states = array(data.states), features = Object.keys(data.correlations);
let unit = 0;                                              // of data.units, the one that colours the text

const correlation = u => data.correlations[byId('feature').value][u];

/** Lists the units: those that follow the chosen feature best come first. */
function listUnits() {
  const order = data.units.map((_, u) => u).sort((a, b) => Math.abs(correlation(b)) - Math.abs(correlation(a)));
  byId('units').replaceChildren(...order.map(u => {
    const {layer, number} = data.units[u], r = correlation(u);
    const item = element('li', '', ...bar(`layer ${layer}, unit ${number}`, Math.abs(r), signed(r), ''));
    item.id = 'unit-' + u;
    item.setAttribute('role', 'option');
    item.addEventListener('click', () => chooseUnit(u));
    return item;
  }));
  chooseUnit(order[0]);
}

/** Colours the text by a unit of data.units. */
function chooseUnit(u) {
  unit = u;
  selectItem(byId('units'), byId('unit-' + u));
  [byId('pale').textContent, byId('deep').textContent] = ends().map(byte => 'C ' + valueOf(byte));
  showValue();
  if (view() === 'cells') paintUnit();
}

/** The bytes that get the palest and the deepest colour: not the extremes, so that a few outliers do not decide. */
function ends(u = unit, r = correlation(u)) {
  const sorted = states.slice(u * n, u * n + n).sort();
  const low = sorted[Math.floor(0.02 * n)], high = sorted[Math.floor(0.98 * (n - 1))];
  return r < 0 ? [high, low] : [low, high];
}

function paintUnit() {
  const [pale, deep] = ends();
  paint(k => Math.max(0, Math.min(1, (states[unit * n + k] - pale) / (deep - pale || 1))));
}

/** The C that a byte of the unit's states stands for, as a text. */
function valueOf(byte) {
  const {least, most} = data.units[unit];
  return (least + (most - least) * byte / 255).toFixed(2).replace('-', '\u2212');
}

function showValue() {
  byId('value').replaceChildren('at ', element('bdi', '', named(text[here])), ': ' + valueOf(states[unit * n + here]));
}

/** Chooses the unit that is `by` places further down the list. */
function stepUnits(by) {
  const items = Array.from(byId('units').children), at = items.findIndex(item => item.id === 'unit-' + unit);
  chooseUnit(Number(items[Math.max(0, Math.min(items.length - 1, at + by))].id.slice('unit-'.length)));
}

function prepareCells() {
  const strongest = name => Math.max(...data.correlations[name].map(Math.abs));
  features.sort((a, b) => strongest(b) - strongest(a));
  for (const name of features) {
    const option = element('option', '', `${name} (best ${strongest(name).toFixed(2)})`);
    option.value = name;
    byId('feature').append(option);
  }
  byId('feature').addEventListener('change', listUnits);
  byId('previous').addEventListener('click', () => stepUnits(-1));
  byId('next').addEventListener('click', () => stepUnits(1));
  onKeys(byId('units'), {ArrowDown: () => 1, ArrowUp: () => -1, PageDown: () => 8, PageUp: () => -8,
    Home: () => -data.units.length, End: () => data.units.length}, stepUnits);
  onKeys(document.body, {j: () => 1, k: () => -1}, stepUnits, () => view() === 'cells');
  listUnits();
}

addView('cells', {title: 'Cells', prepare: prepareCells, show: paintUnit, follow: showValue});

// The view Cells: the text coloured by C or h of one unit, the units that follow a feature, several of them side by
// side, and those that are held while the view Writing writes.

/** Units are numbers of data.units here. */
function cellsView(text) {
  const n = text.numbers.length, states = array(data.states), features = Object.keys(data.correlations);
  const MULTIPLES = 8;                                     // units side by side,
  const WIDE = matchMedia('(max-width: 56rem)').matches ? 32 : 64;       // and characters of each
  const SCALES = ['A row has its own scale: low is pale, high deep,',
    'reversed where its correlation is negative.'];
  const EXTREMES = 4, APART = 30;                          // places of the highest C; characters between two of them
  let order = [];                                          // the units, those first that follow the feature best
  let h = null;                                            // of the units after each character, once it is read
  let stop = null;                                         // ends the reading for h; null if nothing is read
  const list = new Listbox('units', 'unit', u => state.change({unit: units.nameOf(u)}));

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
    list.fill(order, u => bar(units.nameOf(u), Math.abs(correlation(u)), format.signed(correlation(u)), ''));
  }

  /** Shows the chosen unit in the list and by the colours of the text. */
  function showUnit() {
    list.select(unit());
    showHold(ends(unit(), correlation(unit()))[1]);        // at first where the colour is deepest
    if (shown()) show();
  }

  /** Which number of a unit is shown: C until h is read. */
  const of = () => h ? state.of : 'C';

  /** C of a unit after a character, or h where the reader chose that. */
  function valueAt(u, k) {
    return of() === 'h' ? h[u * n + k] : units.cellState(u, states[u * n + k]);
  }

  /** The values that get the palest and the deepest colour. */
  function endsOfValues(u) {
    if (of() === 'C') return endsOfC(u, correlation(u));
    return colour.ends(h.subarray(u * n, u * n + n), correlation(u) < 0);
  }

  /** The bytes of C that get the palest and the deepest colour. r: the correlation of the unit with a feature. */
  const ends = (u, r) => colour.ends(states.subarray(u * n, u * n + n), r < 0);

  function show() {
    byId('of').value = state.of;
    byId('multiples').hidden = false;
    const u = unit(), [pale, deep] = endsOfValues(u);
    for (const [id, value] of [['pale', pale], ['deep', deep]]) {
      byId(id).textContent = `${of()} ${format.twoDigits(value)}`;
    }
    text.paint(k => colour.between(valueAt(u, k), pale, deep));
    follow();
    if (byId('extremes').open) listExtremes();
    if (state.of === of()) endReading();
    else if (!stop) readH();
  }

  /** Reads the text in slices for h of all units, which the page does not have. */
  function readH() {
    stop = inSlices(reading(), share => {
      byId('value').textContent = `Reading the text: ${Math.round(100 * share)} %.` + model.slowness();
    });
  }

  function endReading() {
    if (stop) stop();
    stop = null;
  }

  function* reading() {
    const found = new Float32Array(data.units.length * n);
    for (let k = 0; k < n; k++) {
      yield k / n;
      yield* text.reading().to(k + 1, k / n);
      const after = text.reading().network.states(0);
      data.units.forEach(({layer, number}, u) => { found[u * n + k] = after[2 * layer - 2][number]; });
    }
    h = found;
    show();
  }

  /** Lists the places where the value of the unit is highest and lowest, not two of one passage. */
  function listExtremes() {
    const u = unit(), values = Array.from({length: n}, (_, k) => valueAt(u, k));
    for (const [id, sign] of [['highest', 1], ['lowest', -1]]) {
      const best = values.map((_, k) => k).sort((a, b) => sign * (values[b] - values[a])), found = [];
      for (const k of best) if (found.length < EXTREMES && found.every(j => Math.abs(j - k) >= APART)) found.push(k);
      byId(id).replaceChildren(...found.map(k => {
        const place = element('button', 'place', element('bdi', '', text.before(k)), glyphs.inBold(text.numbers[k]));
        place.type = 'button';
        place.addEventListener('click', () => text.goTo(k));
        return element('li', '', place, element('span', 'number', format.twoDigits(values[k])));
      }));
    }
  }

  /** The first units of the list, and the chosen one. */
  const compared = () => Array.from(new Set([unit(), ...order])).slice(0, MULTIPLES);

  /** Draws several units side by side, in the characters around the one that the reader looks at. */
  function drawMultiples() {
    const W = 9, H = 16, LEFT = 64, first = Math.max(0, Math.min(n - WIDE, state.place - WIDE / 2));
    const count = Math.min(WIDE, n), svg = drawn('svg', {viewBox: `0 0 ${LEFT + WIDE * W} ${(MULTIPLES + 3) * H}`,
      role: 'img', 'aria-label': `${of()} of several units around the character. ${SCALES.join(' ')}`});
    for (let j = 0; j < count; j++) {
      const here = first + j === state.place ? 'at' : '';
      svg.append(drawn('text', {x: LEFT + (j + 0.5) * W, y: 12, 'text-anchor': 'middle', class: here},
        format.onOneLine(text.spelled[first + j])));
    }
    compared().forEach((u, row) => {
      const y = (row + 1) * H, [pale, deep] = endsOfValues(u);
      svg.append(drawn('text', {x: LEFT - 6, y: y + 12, 'text-anchor': 'end'}, units.nameOf(u)));
      for (let j = 0; j < count; j++) {
        const square = drawn('rect', {x: LEFT + j * W, y, width: W, height: H - 2});
        colour.tint(square, colour.between(valueAt(u, first + j), pale, deep));
        svg.append(square);
      }
    });
    SCALES.forEach((line, k) => svg.append(drawn('text', {x: 0, y: (MULTIPLES + 2 + k) * H - 2}, line)));
    byId('multiples-figure').replaceChildren(svg);
  }

  /** The C that get the palest and the deepest colour; r: as of ends. */
  const endsOfC = (u, r) => ends(u, r).map(byte => units.cellState(u, byte));

  const valueOf = (byte, u = unit()) => format.twoDigits(units.cellState(u, byte));

  function follow() {
    const {place} = state, name = model.vocabulary.nameOf(text.numbers[place]);
    if (state.of === of()) {                               // otherwise it says how much is read
      byId('value').replaceChildren('at ', element('bdi', '', name), ': ' + format.twoDigits(valueAt(unit(), place)));
    }
    if (byId('multiples').open) drawMultiples();
  }

  function leave() {
    endReading();
    byId('multiples').hidden = true;
  }

  /** The numbers of the compared units. The columns are called as in the class: C2:7, or h2:7. */
  function table() {
    const columns = compared();
    return text.table(columns.map(u => of() + units.nameOf(u).slice(1)), k => columns.map(u => valueAt(u, k)));
  }

  /** The units side by side if they are open; otherwise the text. */
  const figure = () => byId('multiples').open ? saving.styled(byId('multiples-figure').firstChild) : text.figure();

  /** The units that are held, as Network.hold takes them, each with a text that says so. */
  function heldUnits() {
    return Array.from(state.held, ([u, byte]) => ({layer: data.units[u].layer, number: data.units[u].number, u, byte,
      value: units.cellState(u, byte), description: descriptionOf(u, byte)}));
  }

  const descriptionOf = (u, byte) => `${units.nameOf(u)} at ${valueOf(byte, u)}`;

  const holdAt = (u, byte) => state.change({held: new Map([...state.held, [u, byte]])});

  /**
   * Makes an element a slider that holds a unit, in the direction of the colours. unitOf(): the unit at the time.
   * Returns a function that shows a byte.
   */
  function holdSlider(slider, unitOf) {
    const showByte = byte => {
      slider.dir = correlation(unitOf()) < 0 ? 'rtl' : 'ltr';
      slider.value = byte;
      slider.setAttribute('aria-valuetext', valueOf(byte, unitOf()));
    };
    Object.assign(slider, {type: 'range', min: 0, max: 255});
    slider.addEventListener('input', () => {
      holdAt(unitOf(), Number(slider.value));
      showByte(slider.value);
    });
    return showByte;
  }

  const showByte = holdSlider(byId('hold-at'), unit);

  /** Holds the unit at the slider's value, or not. */
  function holdUnit(on) {
    if (on) holdAt(unit(), Number(byId('hold-at').value));
    else state.change({held: new Map(Array.from(state.held).filter(([u]) => u !== unit()))});
  }

  /** Shows which units are held, and the byte of the slider where the unit is not. */
  function showHold(free) {
    const {held} = state, u = unit(), byte = held.has(u) ? held.get(u) : free;
    for (const item of byId('units').children) item.classList.toggle('held', held.has(Number(item.id.slice(5))));
    byId('hold').checked = held.has(u);
    showByte(byte);
    byId('hold-value').value = valueOf(byte);
  }

  const strongest = name => Math.max(...data.correlations[name].map(Math.abs));
  features.sort((a, b) => strongest(b) - strongest(a));
  for (const name of features) {
    byId('feature').append(new Option(`${name} (best ${strongest(name).toFixed(2)})`, name));
  }
  byId('feature').addEventListener('change', event => state.change({feature: event.target.value, unit: null}));
  byId('hold').addEventListener('change', event => holdUnit(event.target.checked));
  byId('previous').addEventListener('click', () => list.step(-1));
  byId('next').addEventListener('click', () => list.step(1));
  for (const id of ['text', 'units']) onKeys(byId(id), {j: () => 1, k: () => -1}, by => list.step(by), shown);
  listUnits();
  state.follow(['feature'], listUnits);
  state.follow(['feature', 'unit'], showUnit);
  byId('of').addEventListener('change', event => state.change({of: event.target.value}));
  for (const id of ['multiples', 'extremes']) byId(id).addEventListener('toggle', () => shown() && show());
  state.follow(['of'], () => shown() && show());
  state.follow(['note'], () => {
    for (const place of document.querySelectorAll('.hold-note')) {
      place.textContent = state.note;
      place.hidden = !state.note;
    }
  });
  state.follow(['held'], () => showHold(Number(byId('hold-at').value)));
  showUnit();
  const holdNone = () => state.change({held: new Map()});
  const shownUnit = () => units.nameOf(unit());
  return {title: 'Cells', show, follow, leave, table, figure, shownUnit, endsOfC, heldUnits, holdSlider, holdNone};
}

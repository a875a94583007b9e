// The view Cells: the text coloured by C or h of one unit, a list of the units that follow a feature, and several units
// side by side. Reading the text in the browser gives the values.

function cellsView() {
  const MULTIPLES = 8;                                     // units side by side
  const WIDE = isNarrow.matches ? 32 : 64;                 // characters shown of each
  const LISTED = 100;                                      // units in the list
  const EXTREMES = 4, APART = 30;                          // extreme places listed; least distance of two of them
  const strongest = name => Math.max(...data.correlations[name].map(Math.abs));
  const features = Object.keys(data.correlations).sort((a, b) => strongest(b) - strongest(a));
  let order = [];                                          // names of units, the best followers of the feature first
  let compared = [];                                       // the units side by side, by unitsBeside()

  const correlation = name => data.correlations[state.feature || features[0]][units.numberOf(units.of(name))];
  const unit = () => state.unit || order[0];

  const valueName = name => units.valueOf(units.of(name), state.of);

  /** Return the state or h of a unit after each character. */
  function valuesOf(name) {
    const reading = text.reading(), place = units.placeOf(units.of(name), state.of);
    return Float32Array.from(text.numbers, (_, k) => reading.allStates[k * reading.width + place]);
  }

  /** List the units that follow the chosen feature best, the best first. */
  function listUnits() {
    byId('feature').value = state.feature || features[0];
    const all = data.correlations[byId('feature').value].map((r, u) => ({r, name: units.nameOf(units.numbered(u))}));
    all.sort((a, b) => Math.abs(b.r) - Math.abs(a.r));
    order = all.slice(0, LISTED).map(({name}) => name);
    byId('units').replaceChildren(...all.slice(0, LISTED).map(({r, name}) => (
      new Option(`${name.padEnd(7, '\xa0')} ${format.signed(r)} ${'\u25a0'.repeat(Math.round(12 * Math.abs(r)))}`,
        name))));
    byId('units').value = unit();
  }

  function show() {
    byId('of').value = state.of;
    byId('units').value = unit();
    byId('hold').textContent = `Hold ${unit()} in Writing`;
    if (text.reading().done === text.numbers.length) return paint();
    compared = [];                                         // until the text has been read
    text.paint(() => 0);
    work.begin(text.reading().to(text.numbers.length), share => {
      byId('value').textContent = `Reading the text: ${Math.round(100 * share)} %.`;
    }, paint);
  }

  function paint() {
    compared = unitsBeside();
    const [{values, ends: [pale, deep]}] = compared;
    const [low, high] = [pale, deep].map(value => `${valueName(unit()).split(/\d+:/)[0]} ${format.twoDigits(value)}`);
    byId('pale').textContent = `${low} or ${pale > deep ? 'more' : 'less'}`;
    byId('deep').textContent = `${high} or ${pale > deep ? 'less' : 'more'}`;
    text.paint(k => k < values.length ? colour.between(values[k], pale, deep) : 0);
    listExtremes(values);
    follow();
  }

  /** List the places where the value of the unit is highest and lowest, at most one per passage. */
  function listExtremes(values) {
    for (const [id, sign] of [['highest', 1], ['lowest', -1]]) {
      const best = Array.from(values.keys()).sort((a, b) => sign * (values[b] - values[a])), found = [];
      for (const k of best) {
        if (found.length < EXTREMES && found.every(j => Math.abs(j - k) >= APART)) found.push(k);
      }
      byId(id).replaceChildren(...found.map(k => {
        const link = element('button', 'place', element('bdi', '', text.before(k)), vocabulary.inBold(text.numbers[k]));
        link.type = 'button';
        link.addEventListener('click', () => text.goTo(k));
        return element('li', '', link, element('span', 'number', format.twoDigits(values[k])));
      }));
    }
  }

  /** Return the chosen unit and the first ones of the list, each {name, values, ends}. ends: as of colour.ends(). */
  const unitsBeside = () => Array.from(new Set([unit(), ...order])).slice(0, MULTIPLES).map(name => {
    const values = valuesOf(name);
    return {name, values, ends: colour.ends(values, correlation(name) < 0)};
  });

  /** Draw several units side by side, at the characters around the one that the reader looks at. */
  function drawMultiples() {
    const W = 9, H = 16, LEFT = 64, n = text.numbers.length, count = Math.min(WIDE, n), {place} = text;
    const first = Math.max(0, Math.min(n - WIDE, place - WIDE / 2));
    const svg = drawn('svg', {viewBox: `0 0 ${LEFT + WIDE * W} ${(compared.length + 1) * H}`, role: 'img',
      'aria-label': `${state.of === 'h' ? 'h' : 'State'} of several units around the character`});
    for (let j = 0; j < count; j++) {
      svg.append(drawn('text', {x: LEFT + (j + 0.5) * W, y: 12, 'text-anchor': 'middle',
        class: first + j === place ? 'at' : ''}, format.onOneLine(text.spelled[first + j])));
    }
    compared.forEach(({name, values, ends: [pale, deep]}, row) => {
      const y = (row + 1) * H;
      svg.append(drawn('text', {x: LEFT - 6, y: y + 12, 'text-anchor': 'end'}, name));
      for (let j = 0; j < count; j++) {
        const square = drawn('rect', {x: LEFT + j * W, y, width: W, height: H - 2});
        colour.tint(square, colour.between(values[first + j], pale, deep));
        svg.append(square);
      }
    });
    byId('multiples-figure').replaceChildren(svg);
  }

  function follow() {
    if (!compared.length) return;
    const {place} = text, after = text.numbers[place];
    byId('value').replaceChildren(...after === undefined ? [] : [`${valueName(unit())} after `,
      vocabulary.inBold(after), ': ' + format.twoDigits(compared[0].values[place])]);
    if (byId('multiples').open) drawMultiples();
  }

  /** Go to the unit that is `by` places further down the list. */
  function step(by) {
    const at = order.indexOf(unit()) + by;
    state.change({unit: order[Math.max(0, Math.min(order.length - 1, at))]});
  }

  const shown = () => state.view === 'cells';
  for (const name of features) {
    byId('feature').append(new Option(`${name} (best ${strongest(name).toFixed(2)})`, name));
  }
  on('feature', 'change', () => state.change({feature: byId('feature').value, unit: null}));
  on('units', 'change', () => state.change({unit: byId('units').value}));
  on('of', 'change', () => state.change({of: byId('of').value}));
  on('multiples', 'toggle', () => shown() && follow());
  on('hold', 'click', () => state.change({view: 'writing', hold: {unit: unit(),
    value: units.range(units.of(unit()))[correlation(unit()) < 0 ? 0 : 1]}}));
  onKeys(byId('text'), {j: () => 1, k: () => -1}, step, shown);
  listUnits();
  state.follow(['feature'], listUnits);
  state.follow(['feature', 'unit', 'of'], () => shown() && show());

  /** Return the values of the compared units. The column names are as in the class: C2:7 or h2:7. */
  const table = () => text.table(compared.map(({name}) => valueName(name)),
    k => compared.map(({values}) => values[k]));

  return {show, follow, table, figure: () => byId('multiples-figure').firstChild};
}

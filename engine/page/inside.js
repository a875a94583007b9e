// The view Inside: one step of the network, at the character that the reader looks at. It shows all units of both
// layers, the formula of one of them with its values, and what the network expects next.

function insideView() {
  const BEFORE = 40, AFTER = 24;                           // characters shown around the current one
  const DEEPEST = 2;                                       // |C| with the deepest colour
  const squares = once(makeDrawing), {cell} = data;
  const own = Object.keys(cell.own), read = [...cell.states.map(name => name + '_prev'), ...own];

  const unit = () => units.of(state.unit || byId('units').value);
  const place = () => Math.min(text.place, text.numbers.length - 1);

  /** Compute the step at the character that the reader looks at, and draw it. */
  function follow() {
    showStrip();
    work.begin(text.reading().to(place() + 1), share => {
      byId('inside-status').textContent = `Reading the text up to here: ${Math.round(100 * share)} %.`;
    }, showStep);
  }

  function show() {
    byId('inside-unit').value = units.nameOf(unit());
    follow();
  }

  /** Return h or another state of a layer, (H), before (0) or after (1) the step. */
  function states(of, layer, after) {
    const from = units.placeOf({state: of, layer, number: 0}, of);
    return text.reading().states(place() - 1 + after).subarray(from, from + units.sizes[layer - 1]);
  }

  /**
   * Return the terms of a pre-activation and their sum: from the character or the layer below, from h of its own layer
   * before the step, and the bias. A row that does not read one of these has null. k: the number of the row.
   */
  function sumsOf(k) {
    const {layer, number} = unit(), p = model.parameters(), H = units.sizes[layer - 1], row = k * H + number;
    const ofW = row - (cell.rows - cell.ofW) * H;
    const dot = (matrix, r, vector) => vector.reduce((sum, value, j) => sum + matrix[r * vector.length + j] * value, 0);
    const below = () => layer === 1 ? p.U1[row * data.uchar.length + text.numbers[place()]] :
      dot(p[`U${layer}`], row, states('h', layer - 1, 1));
    const sums = [k < cell.ofU ? below() : null, ofW >= 0 ? dot(p[`W${layer}`], ofW, states('h', layer, 0)) : null,
      p[`b${layer}`][row]];
    return [...sums, sums.reduce((a, b) => a + b)];
  }

  /** Return the values in the formula by name. The cell is computed again, for all units, as it may have sums. */
  function namedValues() {
    const {layer, number} = unit(), network = model.network();
    network.setStates(0, text.reading().states(place() - 1));
    network.read(text.numbers[place()]);
    const {a, H} = network.layers[layer - 1];
    const inputs = [...cell.names.map((_, k) => network.numbers.subarray(a.at + k * H, a.at + (k + 1) * H)),
      ...cell.states.map(name => states(name, layer, 0)),
      ...[...own, ...cell.matrices].map(name => model.parameters()[name + layer])];
    const valueOf = valuesOf(cell.forward, inputs, number);
    return Object.fromEntries([...[...cell.names, ...read].map((name, k) => [name, inputs[k][number]]),
      ...cell.formula.map(([name, , of]) => [name, valueOf(of)])]);
  }

  /** Return an expression of the formula with values in place of names. */
  function inNumbers(expression, values) {
    return expression.replace(/(?<![\w.])[A-Za-z_]\w*(?!\w*\()/g,
      name => name in values ? format.fourDigits(values[name]) : name);
  }

  function showStep() {
    const k = place(), chosen = unit(), sums = cell.names.map((_, row) => sumsOf(row));
    const values = namedValues();
    const {best, chances, most} = text.reading(), came = text.numbers[k + 1], first = k * most;
    byId('inside-status').replaceChildren('It read ', vocabulary.inBold(text.numbers[k]), ' and expects ',
      vocabulary.inBold(best[first]), ` next, with a probability of ${format.percent(chances[first])}.`,
      ...came === undefined ? [] : [' The actual next one is ', vocabulary.inBold(came), '.']);
    byId('inside-below').textContent = chosen.layer === 1 ? 'x, the character' : `x, h of layer ${chosen.layer - 1}`;
    byId('inside-sums').replaceChildren(...cell.names.map((name, j) => element('tr', '', element('th', '', name),
      ...sums[j].map(number => element('td', 'number', number === null ? '' : format.fourDigits(number))))));
    const inputs = read.map(name => [name, format.fourDigits(values[name])]);
    byId('inside-formula').replaceChildren(
      ...inputs.flatMap(([name, x]) => [element('dt', '', name), element('dd', 'number', '= ', element('b', '', x))]),
      ...cell.formula.flatMap(([name, code]) => {
        const expression = code.replace(/ \* /g, ' \xd7 ').replace(/(?<!\w)-/g, '\u2212');
        const value = element('b', '', format.fourDigits(values[name]));
        return [element('dt', '', `${name} = ${expression}`),
          element('dd', 'number', `= ${inNumbers(expression, values)} = `, value)];
      }));
    byId('inside-next').replaceChildren(barsOf(text.reading(), k + 1));
    byId('inside-next-step').textContent = came === undefined ? 'Begin again' : 'Next step';
    squares().forEach((ofLayer, k) => ofLayer.forEach((square, number) => {
      const layer = k + 1, C = states(chosen.state, layer, 1)[number];
      colour.tint(square, Math.max(-1, Math.min(1, C / DEEPEST)));
      square.classList.toggle('chosen', layer === chosen.layer && number === chosen.number);
    }));
  }

  /** Draw a square for each unit. Returns one list of squares per layer. */
  function makeDrawing() {
    const SIDE = 10, APART = 40, width = H => Math.ceil(Math.sqrt(H)) * SIDE;
    const widths = units.sizes.map(width), svg = byId('inside-units');
    const leftOf = k => widths.slice(0, k).reduce((left, each) => left + each + APART, 0);
    svg.setAttribute('viewBox', `-1 -1 ${leftOf(widths.length) - APART + 2} ${Math.max(...widths) + 2}`);
    return units.sizes.map((H, k) => Array.from({length: H}, (_, number) => {
      const layer = k + 1, columns = widths[k] / SIDE, left = leftOf(k);
      const square = drawn('rect', {x: left + number % columns * SIDE, y: Math.floor(number / columns) * SIDE,
        width: SIDE - 1, height: SIDE - 1}), name = () => units.nameOf({...unit(), layer, number});
      square.append(drawn('title', {}, name()));
      square.addEventListener('click', () => state.change({unit: name()}));
      svg.append(square);
      return square;
    }));
  }

  /** Show the text around the current character. */
  function showStrip() {
    const k = place(), from = Math.max(0, k - BEFORE), strip = byId('inside-strip');
    const letters = text.spelled.slice(from, k + AFTER).map((character, j) => {
      const letter = element('span', from + j > k ? 'quiet' : '', format.onOneLine(character));
      letter.addEventListener('click', () => text.goTo(from + j));
      return letter;
    });
    const asked = letters[k - from];
    asked.className = 'asked';
    strip.replaceChildren(...letters);
    strip.scrollLeft = asked.offsetLeft - strip.offsetLeft - strip.clientWidth / 2;        // scrolls in a narrow window
  }

  on('inside-unit', 'change', () => {
    const typed = units.of(byId('inside-unit').value);
    if (typed) state.change({unit: units.nameOf(typed)});
    show();
  });
  onKeys(byId('inside-strip'), {ArrowRight: () => place() + 1, ArrowLeft: () => place() - 1}, text.goTo);
  on('inside-next-step', 'click', () => text.goTo((place() + 1) % text.numbers.length));
  byId('inside-standard').hidden = !cell.standard;
  byId('inside-own').hidden = cell.standard;
  byId('inside-sizes').textContent = data.layers;
  state.follow(['unit', 'feature'], () => state.view === 'inside' && show());

  /** Return the states and h of all units after the step. */
  const table = () => {
    const names = [...cell.states, 'h'];
    return [['layer', 'unit', ...names], ...units.sizes.flatMap((H, k) => Array.from({length: H},
      (_, number) => [k + 1, number, ...names.map(name => states(name, k + 1, 1)[number])]))];
  };

  return {show, follow, table};
}

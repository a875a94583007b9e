// The view Inside: one step of the network, at the character that the reader looks at. It draws the character, all
// units of the layers, and what the network expects next, and shows the formula of a chosen unit with its values.

function insideView() {
  const BEFORE = 40, AFTER = 24;                           // characters shown around the current one
  const DEEPEST = 2;                                       // |C| with the deepest colour
  const PACE = 700;                                        // milliseconds per step while playing
  const squares = once(makeDrawing), {cell} = data;
  const cell_p = Object.keys(cell.cell_p), read = [...cell.states.map(name => name + '_prev'), ...cell_p];

  const unit = () => units.of(state.unit);                 // or null
  const shownState = () => unit()?.state || cell.states[0];            // whose values the squares have
  const place = () => Math.min(text.place, text.numbers.length - 1);

  /** Compute the step at the character that the reader looks at, and draw it. */
  function follow() {
    showStrip();
    work.begin(text.reading().to(place() + 1), share => {
      byId('inside-status').textContent = `Reading the text up to here: ${Math.round(100 * share)} %.`;
    }, showStep);
  }

  function show() {
    byId('inside-one').hidden = !state.unit;
    follow();
  }

  /** Return h or another state of a layer, (H), before (0) or after (1) the step. */
  function states(of, layer, after) {
    const from = units.placeOf({state: of, layer, number: 0}, of);
    return text.reading().states(place() - 1 + after).subarray(from, from + units.sizes[layer - 1]);
  }

  /**
   * Return the terms of a pre-activation: from the character or the layer below, from h of its own layer before the
   * step, and the bias. A row that does not read one of these has null. k: the number of the row.
   */
  function termsOf(k) {
    const {layer, number} = unit(), p = model.parameters(), H = units.sizes[layer - 1], row = k * H + number;
    const ofW = row - (cell.rows - cell.ofW) * H;
    const dot = (matrix, r, vector) => vector.reduce((sum, value, j) => sum + matrix[r * vector.length + j] * value, 0);
    const below = () => layer === 1 ? p.U1[row * data.uchar.length + text.numbers[place()]] :
      dot(p[`U${layer}`], row, states('h', layer - 1, 1));
    return [k < cell.ofU ? below() : null, ofW >= 0 ? dot(p[`W${layer}`], ofW, states('h', layer, 0)) : null,
      p[`b${layer}`][row]];
  }

  /** Return the values in the formula by name. */
  function namedValues() {
    const {layer, number} = unit(), network = model.network(), {forward} = network.layers[layer - 1];
    network.setStates(0, text.reading().states(place() - 1));
    network.step([text.numbers[place()]]);
    const named = [...cell.names, ...read].map((name, k) => [name, cell.forward.inputs[k]]);
    return Object.fromEntries([...named, ...cell.formula.map(([name, , of]) => [name, of])].map(([name, of]) => (
      [name, forward.valueOf(of, number)])));
  }

  /** Return an expression of the formula with values in place of names; negative operands have brackets. */
  function inNumbers(expression, values) {
    return expression.replace(/(?<![\w.])[A-Za-z_]\w*(?! *\w*\()/g, (name, at) => {
      if (!(name in values)) return name;
      const isOperand = /[^(,\s] *$/.test(expression.slice(0, at)), number = format.signed(values[name], 4);
      return isOperand && values[name] < 0 ? `(${number})` : number;
    });
  }

  function showStep() {
    const k = place(), {best, chances, most} = text.reading(), came = text.numbers[k + 1], chosen = unit();
    byId('inside-status').replaceChildren('It read ', vocabulary.inBold(text.numbers[k]), ' and expects ',
      vocabulary.inBold(best[k * most]), ` next, with a chance of ${format.percent(chances[k * most])}.`,
      ...came === undefined ? [] : [' The actual next one is ', vocabulary.inBold(came), '.']);
    byId('inside-state').textContent = shownState();
    byId('inside-letter').textContent = vocabulary.nameOf(text.numbers[k]);
    byId('inside-next').replaceChildren(barsOf(text.reading(), k + 1));
    squares().forEach((ofLayer, j) => {
      const values = states(shownState(), j + 1, 1);
      ofLayer.forEach((square, number) => {
        colour.tint(square, Math.max(-1, Math.min(1, values[number] / DEEPEST)));
        square.classList.toggle('chosen', j + 1 === chosen?.layer && number === chosen.number);
      });
    });
    if (chosen) showUnit();
  }

  /** Say what a standard cell does, and which of the three terms of a_f makes f so. */
  function conclusionOf([terms], {C_prev, f, i, g, o}) {
    const [first, second] = mostProbable(terms.map(term => f < 0.5 ? -term : term), 2);
    const of = [byId('inside-below').textContent, 'h_prev of its layer', 'its bias'][first];
    const why = Math.abs(terms[first]) < 1.5 * Math.abs(terms[second]) ? ''
      : `, above all because of ${of}, which adds ${format.signed(terms[first])} to a_f`;
    return `It keeps ${format.signed(100 * f, 1)} % of what it remembered, ${format.signed(C_prev, 4)}${why}. `
      + `i \xd7 g adds ${format.signed(i * g, 4)}. It shows ${format.percent(o)} of tanh(C) to other units.`;
  }

  /** Show the sums and the formula of the chosen unit in this step. */
  function showUnit() {
    const {layer} = unit(), terms = cell.names.map((_, row) => termsOf(row)), values = namedValues();
    const name = units.nameOf(unit()), known = gallery.good().find(each => each.name === name);
    byId('inside-name').textContent = name + (known ? `, which ${data.followers[known.feature][0]},` : '');
    byId('inside-below').textContent = layer === 1 ? 'x, the character' : `x, h of layer ${layer - 1}`;
    byId('inside-sums').replaceChildren(...cell.names.map((sum, j) => element('tr', '', element('th', '', sum),
      ...[...terms[j], values[sum]].map(number => (
        element('td', 'number', number === null ? '' : format.signed(number, 4)))))));
    if (cell.standard) byId('inside-conclusion').textContent = conclusionOf(terms, values);
    const inputs = read.map(name => [name, format.signed(values[name], 4)]);
    byId('inside-formula').replaceChildren(
      ...inputs.flatMap(([name, x]) => [element('dt', '', name), element('dd', 'number', '= ', element('b', '', x))]),
      ...cell.formula.flatMap(([name, code]) => {
        const expression = code.replace(/ ?(?<!\*)\*(?!\*) ?/g, ' \xd7 ').replace(/(?<!\w)-/g, '\u2212');
        const number = format.signed(values[name], 4), numbers = inNumbers(expression, values);
        return [element('dt', '', `${name} = ${expression}`),
          element('dd', 'number', numbers === number ? '= ' : `= ${numbers} = `, element('b', '', number))];
      }));
  }

  /** Draw each layer: a square for each unit, and the arrow to its next step. Returns a list of squares per layer. */
  function makeDrawing() {
    const SIDE = 10, LEFT = 30, TOP = 18, LEAST = 160, carried = ['h', ...cell.states].join(', ') + ' to the next step';
    return units.sizes.map((H, k) => {
      const columns = Math.ceil(Math.sqrt(H)), W = Math.max(LEAST, columns * SIDE), layer = k + 1;
      const height = Math.ceil(H / columns) * SIDE, middle = TOP + height / 2, right = LEFT + W;
      const svg = drawn('svg', {viewBox: `0 0 ${W + 2 * LEFT} ${TOP + height + 2}`, role: 'img',
        'aria-label': `Layer ${layer}`});
      svg.append(drawn('path', {class: 'loop', d: `M${right + 4} ${middle}h14V4H12V${middle}h14m-6 -5l6 5l-6 5`}));
      const all = Array.from({length: H}, (_, number) => {
        const row = Math.floor(number / columns), x = LEFT + (W - columns * SIDE) / 2 + number % columns * SIDE;
        const square = drawn('rect', {x, y: TOP + row * SIDE, width: SIDE - 1, height: SIDE - 1});
        square.append(drawn('title', {}, `${layer}:${number}`));
        square.addEventListener('click', () => (
          state.change({unit: units.nameOf({state: shownState(), layer, number})})));
        return square;
      });
      svg.append(...all);
      const caption = element('figcaption', '', `layer ${layer}: ${H} units`);
      byId('inside-chances').before(element('figure', '', element('figcaption', '', carried), svg, caption));
      return all;
    });
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

  onKeys(byId('inside-strip'), {ArrowRight: () => place() + 1, ArrowLeft: () => place() - 1}, text.goTo);
  on('inside-next-step', 'click', () => text.goTo((place() + 1) % text.numbers.length));
  player('inside-play', () => {
    if (state.view === 'inside') text.goTo((place() + 1) % text.numbers.length);
    return state.view === 'inside' && place() < text.numbers.length - 1;
  }, () => PACE);
  state.follow(['unit'], () => {
    if (state.view !== 'inside') return;
    show();
    if (isNarrow.matches && state.unit) byId('inside-one').scrollIntoView();
  });

  return {show, follow};
}

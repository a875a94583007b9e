// The view Inside: one step of the network, for the character that the reader looks at: all units of both layers, the
// formula of one of them with the numbers of this step, and what the network expects next.

/** text: as of shownText. cells: the view Cells, whose unit is shown where no other one was chosen. */
function insideView(text, cells) {
  const {vocabulary} = model;
  const PACE = 600;                                        // milliseconds of a step while it plays
  const BEFORE = 40, AFTER = 24;                           // characters that are shown around the one that is read
  const NEXT = 6;                                          // most probable next characters that are shown
  const DEEPEST = 2;                                       // C of the deepest colour
  const typing = once(() => new Reading(model.network(1)));   // what the reader types
  const sizes = [1, 2].map(layer => data.snapshots.sizes[2 * layer - 1]);              // units of the layers
  const squares = once(makeDrawing);
  let stop = () => {};                                     // what reads up to the character
  let step = null;                                         // of the character: what the network computed, see take()

  const shown = () => state.view === 'inside';
  const typed = () => state.inside === 'words';

  // ---- the character and the unit

  /** The unit, {layer, number}. */
  function unit() {
    const [layer, number] = (state.unit || cells.shownUnit()).slice(1).split(':');
    return {layer: Number(layer), number: Number(number)};
  }

  const nameOf = ({layer, number}) => `C${layer}:${number}`;

  /** What is read of a text that is typed, as of charactersOf. */
  const charactersIn = string => vocabulary.charactersOf(state.cut(string).characters.join(''));

  /** What is read: a Reading, and how many of its characters, the last of which the step is of. */
  function place() {
    if (!typed()) return {reading: text.reading(), count: state.place + 1};
    const words = byId('inside-words'), before = words.value.slice(0, words.selectionStart);
    const numbersIn = string => charactersIn(string).flatMap(({numbers}) => numbers || []);
    typing().replace(numbersIn(words.value));
    return {reading: typing(), count: numbersIn(before).length};
  }

  /** Takes the step of the character that the reader looks at, and draws it. */
  function follow() {
    stop();
    showStrip();
    const {reading, count} = place();
    if (!count) return showNothing();
    stop = inSlices(take(reading, count), share => {
      byId('inside-status').textContent =
        `Reading the text up to here: ${Math.round(100 * share)} %.` + model.slowness();
    });
  }

  function* take(reading, count) {
    yield* reading.to(count - 1);
    const before = reading.network.states(0);
    yield* reading.to(count);
    step = {x: reading.numbers[count - 1], came: reading.numbers[count], before, after: reading.network.states(0),
      p: Array.from(reading.network.logs(0), Math.exp)};
    showStep();
  }

  function showNothing() {
    step = null;
    byId('inside-status').textContent = 'Type a character: the network reads it.';
    for (const id of ['reads', 'sums', 'formula', 'next']) byId('inside-' + id).replaceChildren();
    for (const square of squares().flat()) colour.tint(square, 0);
  }

  // ---- what the step computed

  /**
   * What a gate of the unit adds up: from the character or the layer below, from h of its own layer before the step,
   * and the bias. gate: 0 to 3, of f, i, o, g.
   */
  function sumsOf(gate) {
    const {layer, number} = unit(), p = model.parameters(), H = sizes[layer - 1], row = gate * H + number;
    const dot = (matrix, vector) => vector.reduce((sum, value, k) => sum + matrix[row * vector.length + k] * value, 0);
    const below = layer === 1 ? p.U1[row * data.uchar.length + step.x] : dot(p.U2, step.after[0]);
    const sums = [below, dot(p[`W${layer}`], step.before[2 * layer - 2]), p[`b${layer}`][row]];
    return [...sums, sums.reduce((a, b) => a + b)];
  }

  /** The numbers of the formula, by name. */
  function valuesOf(a) {
    const {layer, number} = unit(), C_prev = step.before[2 * layer - 1][number];
    const own = cellFormula.own.map(name => model.parameters()[name + layer][number]);
    return {a_f: a[0], a_i: a[1], a_o: a[2], a_g: a[3], C_prev, ...cellValues(...a, C_prev, own),
      ...Object.fromEntries(cellFormula.own.map((name, k) => [name, own[k]]))};
  }

  /** An expression of the formula with numbers in place of names. */
  function inNumbers(expression, values) {
    return expression.replace(/(?<![\w.])[A-Za-z_]\w*(?!\w*\()/g,
      name => name in values ? format.twoDigits(values[name]) : name);
  }

  const asRead = expression => expression.replace(/ \* /g, ' \xd7 ').replace(/(?<!\w)-/g, '\u2212');

  /** The lines of the formula: each reads what stands above it. Those of the standard cell are in the usual order. */
  function lines() {
    const order = ['f', 'i', 'g', 'C', 'o', 'h'];
    if (!cellFormula.standard) return cellFormula.lines;
    return [...cellFormula.lines].sort(([a], [b]) => order.indexOf(a) - order.indexOf(b));
  }

  // ---- the drawing

  function showStep() {
    const {x, came, p, after} = step, chosen = unit(), sums = [0, 1, 2, 3].map(sumsOf);
    const values = valuesOf(sums.map(parts => parts[3])), best = p.map((_, k) => k).sort((a, b) => p[b] - p[a]);
    const listed = best.slice(0, NEXT);
    if (came !== undefined && !listed.includes(came)) listed.push(came);
    byId('inside-status').replaceChildren('It read ', glyphs.inBold(x), ' and expects ', glyphs.inBold(best[0]),
      ` next, with a probability of ${format.percent(p[best[0]])}.`,
      ...came === undefined ? [] : [' Next comes ', glyphs.inBold(came), '.']);
    byId('inside-below').textContent = chosen.layer === 1 ? 'the character' : 'layer 1';
    byId('inside-sums').replaceChildren(...['f', 'i', 'o', 'g'].map((gate, k) => element('tr', '',
      element('th', '', 'a_' + gate), ...sums[k].map(number => element('td', 'number', format.twoDigits(number))))));
    byId('inside-formula').replaceChildren(...lines().flatMap(([name, code]) => {
      const expression = asRead(code), value = element('b', '', format.twoDigits(values[name]));
      return [element('dt', '', `${name} = ${expression}`),
        element('dd', 'number', `= ${inNumbers(expression, values)} = `, value)];
    }));
    byId('inside-next').replaceChildren(...listed.flatMap(number => (
      bar(vocabulary.nameOf(number), p[number], format.percent(p[number]), number === came ? 'came' : ''))));
    byId('inside-reads').textContent = vocabulary.nameOf(x);
    [1, 2].forEach(layer => squares()[layer - 1].forEach((square, number) => {
      const C = after[2 * layer - 1][number];
      colour.tint(square, Math.max(-1, Math.min(1, C / DEEPEST)));
      square.classList.toggle('chosen', layer === chosen.layer && number === chosen.number);
    }));
  }

  /** Draws a square for each unit. Returns the lists of them. */
  function makeDrawing() {
    return [1, 2].map(layer => {
      const H = sizes[layer - 1], columns = Math.ceil(Math.sqrt(H)), side = 10;
      const size = `${columns * side + 2} ${Math.ceil(H / columns) * side + 2}`;
      const svg = drawn('svg', {viewBox: '-1 -1 ' + size, role: 'img',
        'aria-label': `C of the ${H} units of layer ${layer}; the field Unit chooses one`});
      const made = Array.from({length: H}, (_, k) => drawn('rect', {x: k % columns * side,
        y: Math.floor(k / columns) * side, width: side - 1, height: side - 1}));
      made.forEach((square, number) => {
        square.addEventListener('click', () => choose({layer, number}));
        square.append(drawn('title', {}, nameOf({layer, number})));
      });
      svg.append(...made);
      byId('inside-layer' + layer).append(svg);
      return made;
    });
  }

  /** Shows the text around the character that is read, or the box for typing. */
  function showStrip() {
    const k = state.place, part = (from, to) => format.onOneLine(text.spelled.slice(Math.max(0, from), to).join(''));
    byId('inside-strip').hidden = byId('inside-play').hidden = typed();
    byId('inside-typed').hidden = !typed();
    const strip = byId('inside-strip');
    const asked = element('span', 'asked', format.onOneLine(text.spelled[k] || glyphs.MARKS['']));
    const before = element('bdi', '', part(k - BEFORE, k)), after = element('bdi', 'quiet', part(k + 1, k + AFTER));
    strip.replaceChildren(before, asked, after);
    strip.scrollLeft = asked.offsetLeft - strip.offsetLeft - strip.clientWidth / 2;        // in a narrow window
  }

  // ---- the controls

  /** Goes on by one character; stops playing at the end of the text. */
  function goOn() {
    if (state.place < text.numbers.length - 1) return state.change({place: state.place + 1, pinned: true});
    stopPlaying();
  }

  const stopPlaying = playing(byId('inside-play'), PACE, goOn);

  function leave() {
    stop();
    stopPlaying();
  }

  function choose(unit) {
    state.change({unit: nameOf(unit)});
    showUnit();
  }

  /** Puts the unit into its field, in place of what was typed. */
  function showUnit() {
    byId('inside-unit').value = nameOf(unit());
    byId('inside-wrong').hidden = true;
  }

  /** Takes the unit that was typed into its field. */
  function takeUnit() {
    form.attempt(() => {
      const [, layer, number] = /^\s*C?([12]):(\d+)\s*$/i.exec(byId('inside-unit').value) || [];
      if (!(Number(number) < sizes[layer - 1])) {
        throw new Error(`Unit: expected one from C1:0 to C1:${sizes[0] - 1} or from C2:0 to C2:${sizes[1] - 1}`);
      }
      choose({layer, number: Number(number)});
    }, byId('inside-wrong'));
  }

  function show() {
    const words = state.words || '';
    byId('inside-text').value = state.inside;
    if (byId('inside-words').value !== words) byId('inside-words').value = words;
    const read = typed() ? words : '';
    form.sayUnknown(byId('inside-unknown'), charactersIn(read), state.cut(read).rest);
    showUnit();
    follow();
  }

  const edited = ['input', 'keyup', 'click', 'select'];
  for (const kind of edited) {
    byId('inside-words').addEventListener(kind, () => {
      if (kind === 'input') state.change({words: byId('inside-words').value});
      else follow();
    });
  }
  byId('inside-text').addEventListener('change', () => {
    stopPlaying();
    state.change({inside: byId('inside-text').value});
    if (typed()) byId('inside-words').focus();
  });
  byId('inside-unit').addEventListener('change', takeUnit);
  onKeys(byId('inside-strip'), {ArrowRight: () => state.place + 1, ArrowLeft: () => state.place - 1, Home: () => 0,
    End: () => text.numbers.length - 1}, text.goTo);
  onKeys(byId('inside-strip'), {Escape: () => ({pinned: false})}, state.change);
  byId('inside-lstm').hidden = byId('inside-standard').hidden = !cellFormula.standard;
  byId('inside-own').hidden = cellFormula.standard;
  for (const size of document.querySelectorAll('.units-of-1')) size.textContent = format.grouped(sizes[0]);
  for (const size of document.querySelectorAll('.units-of-2')) size.textContent = format.grouped(sizes[1]);
  state.follow(['inside', 'words'], () => shown() && show());
  state.follow(['unit', 'feature'], () => {
    if (!shown()) return;
    showUnit();
    if (step) showStep();
  });
  /** C and h of all units after the step. */
  function table() {
    const rows = step ? [1, 2].flatMap(layer => Array.from(step.after[2 * layer - 1], (C, number) => (
      [layer, number, C, step.after[2 * layer - 2][number]]))) : [];
    return [['layer', 'unit', 'C', 'h'], ...rows];
  }

  /** Both layers, side by side. */
  function figure() {
    const svg = drawn('svg', {viewBox: '0 0 620 300'});
    svg.append(...[1, 2].map(layer => {
      const one = saving.styled(byId('inside-layer' + layer).querySelector('svg'));
      one.setAttribute('x', 320 * (layer - 1));
      for (const name of ['width', 'height']) one.setAttribute(name, 300);
      return one;
    }));
    return svg;
  }

  return {title: 'Inside', show, follow, leave, table, figure};
}

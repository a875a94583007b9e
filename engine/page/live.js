// The line of the view Text, which can be typed over: the next letters, and how the network would continue it.

const live = {
  CHOICES: 6,                                              // next letters shown
  COLOURED: 200,                                           // letters: more would be slow
  LENGTH: 200,                                             // letters written
  network: once(() => new Network(model.parameters(), data.cell)),         // writes, and may have a held cell
  readings: {},                                            // of lines that are not the reader's own

  /** The line at first: a known one, or the beginning of a line of the page's text. */
  line: once(() => data.line || openingOf(text.page.spelled.join(''))),

  /** The cell that counts the letters of a line, {feature, name, match}, or undefined. */
  counter: once(() => gallery.good().find(({feature}) => feature === 'position in the line')),

  /** Return the cell of the slider: the held one, by default the counter, or undefined. A match may be missing. */
  cell: () => state.hold ? gallery.good().find(({name}) => name === state.hold.unit) || {name: state.hold.unit} :
    live.counter(),

  /** Return a unit's values at both ends of the slider. */
  endsOf: ({name, match = 1}) => units.rangeOf(name).toSorted((a, b) => match * (a - b)),

  reading() {
    if (text.own) return text.reading();
    const line = byId('words').value === live.line() ? live.line() : '', {numbers} = vocabulary.taken(line, text.MOST);
    return live.readings[line] ||= new Reading(model.network(), [...vocabulary.lineEnd, ...numbers], 1);
  },

  /** Show the next letters and how the network goes on, once the line has been read. */
  write() {
    const reading = live.reading(), n = reading.numbers.length;
    if (work.isBusy()) return;                             // then this is called again
    if (reading.done < n) return work.begin(reading.to(n), () => {});       // then this is called again
    writing.stop();
    live.showCell(reading);
    const show = ghost => { byId('ghost').textContent = ghost || byId('ghost').textContent; };
    writing.begin(live.ghost(reading), show, show);
  },

  /** Yield how the network goes on, with one character more each time. With a held cell, it reads the line anew. */
  *ghost(reading) {
    const {hold} = state, network = live.network();
    network.hold(hold ? [{...units.of(hold.unit), value: hold.value}] : []);
    network.reset();
    if (hold) for (const x of reading.numbers) yield network.read(x);
    else network.setStates(0, reading.states(reading.numbers.length - 1));
    network.expect(0, 0);
    live.showChoices(network.logs());
    const characters = continued(network, new Random(state.seed), state);
    let shown = '';
    for (let k = 0; k < live.LENGTH; k++) yield shown += glyphs.shown(vocabulary.uchar[characters.next().value]);
    return shown;
  },

  /** Show the slider, at the value of its cell after the line, or that at which the cell is held. Colours the line. */
  showCell(reading) {
    const cell = live.cell(), {hold} = state;
    byId('holding').hidden = !cell;
    if (!cell) return;
    const ends = live.endsOf(cell), place = units.placeOf(units.of(cell.name), 'C'), last = reading.numbers.length - 1;
    const valueAfter = k => hold ? hold.value : reading.states(k)[place], value = valueAfter(last);
    live.paint(last, k => colour.between(valueAfter(k), ...ends));
    const [does, ...words] = data.followers[cell.feature] || ['', ...ends.map(end => format.signed(end))];
    byId('held-name').textContent = does ? `One of ${format.grouped(units.all().length)} numbers ${does}` :
      `Unit ${cell.name} is held`;
    byId('untold').hidden = !does;
    ['low', 'high'].forEach((end, k) => { byId('held-' + end).textContent = words[k]; });
    byId('held-at').value = (value - ends[0]) / (ends[1] - ends[0]);
    say('let-go', hold ? 'Held: let it go' : '');
  },

  /** Colour the line's letters by level(k), at most COLOURED at its end. last: the k of the last one. */
  paint(last, level) {
    const {value} = byId('words'), letters = Array.from(value).slice(-live.COLOURED), spans = [];
    for (let j = letters.length - 1, k = last; j >= 0; j--) {
      const span = element('span', '', letters[j]);
      if (vocabulary.taken(letters[j], 1).numbers.length) colour.tint(span, level(k--));       // others were not read
      spans.unshift(span);
    }
    byId('typed').replaceChildren(value.slice(0, value.length - letters.join('').length), ...spans);
  },

  /** Show the most probable next letters, which a click types. Their bars show the temperature at work. */
  showChoices(logs) {
    const p = tempered(logs, state.temperature), total = p.reduce((a, b) => a + b, 0);
    const most = mostProbable(logs, Math.min(live.CHOICES, logs.length));
    byId('choices').replaceChildren(...most.flatMap(number => (
      bar(vocabulary.nameOf(number), p[number] / total, format.percent(p[number] / total), '',
        () => live.type(byId('words').value + vocabulary.uchar[number])))));
  },

  /** Read a text that the reader typed: no more than is shown, and one character that tells so. line: to be shown. */
  type(typed, line) {
    const words = Array.from(typed.slice(0, 2 * text.MOST)).slice(0, text.MOST + 1).join('');
    byId('words').focus({preventScroll: true});
    const known = vocabulary.taken(words, text.MOST).numbers.length;
    state.change({words, place: known ? Infinity : text.strikingPlace(), pinned: false});
    live.takeWords(line ?? words);
    live.write();
  },

  /** Show the line. */
  takeWords(words) {
    const field = byId('words');
    if (field.value !== words) field.value = words;
    byId('typed').textContent = field.value;               // the ghost goes on where it ends
    byId('words-none').hidden = field.value === live.line();
  },

  showSettings() {
    byId('temperature').value = state.temperature;
    byId('another').disabled = !state.temperature;         // then it writes the same again
    byId('next-letter').textContent = `The next letter, at temperature ${state.temperature.toFixed(2)}`;
    if (state.view === 'surprise') live.write();
  },

  prepare() {
    live.takeWords(live.line());
    on('held-at', 'input', () => {
      const cell = live.cell(), [low, high] = live.endsOf(cell);
      state.change({hold: {unit: cell.name, value: low + byId('held-at').valueAsNumber * (high - low)}});
    });
    on('let-go', 'click', () => state.change({hold: null}));
    on('words', 'input', () => live.type(byId('words').value));
    on('words-none', 'click', () => live.type('', live.line()));
    on('another', 'click', () => state.change({seed: (state.seed + 1) % 2 ** 32}));
    on('temperature', 'input', () => state.change({temperature: byId('temperature').valueAsNumber}));
    state.follow(['hold'], () => state.view === 'surprise' && live.write());
    state.follow(['hold'], () => { byId('unheld').hidden = !state.hold; });
    state.follow(['temperature', 'seed'], live.showSettings);
    live.showSettings();
  },
};

// The line of the view Text, which can be typed over: the next letters, and how the network would continue it.

const live = {
  CHOICES: 6,                                              // next letters shown
  network: once(() => new Network(model.parameters(), data.cell)),
  readings: {},                                            // of lines that are not the reader's own

  /** The line at first: a known one, or the beginning of a line of the page's text. */
  line: once(() => data.line || openingOf(text.page.spelled.join(''))),

  /** The cell that counts the letters of a line, {name, match}, or undefined, and its values for none and for many. */
  counter: once(() => gallery.good().find(({feature}) => feature === 'position in the line')),
  ends: () => units.rangeOf(live.counter().name).toSorted((a, b) => live.counter().match * (a - b)),

  /** Return the Reading of the line. Below: the counter, if it is held. */
  reading() {
    if (text.own) return text.reading();
    const line = byId('words').value === live.line() ? live.line() : '', {numbers} = vocabulary.taken(line, text.MOST);
    return live.readings[line] ||= new Reading(live.network(), [...vocabulary.lineEnd, ...numbers], 1);
  },

  held: () => state.hold && state.hold.unit === live.counter()?.name ? state.hold : null,

  /** Show the next letters and how the network goes on, once the line has been read. */
  write() {
    const reading = live.reading(), n = reading.numbers.length;
    if (work.isBusy()) return;                             // then this is called again
    if (reading.done < n) return work.begin(reading.to(n), () => {});       // then this is called again
    writing.stop();
    if (live.counter()) live.showCounter(reading.states(n - 1));
    const show = ghost => { byId('ghost').textContent = ghost || byId('ghost').textContent; };
    writing.begin(live.ghost(reading, numberIn('length')), show, show);
  },

  /** Yield how the network goes on, with one character more each time. With a held cell, it reads the line anew. */
  *ghost(reading, length) {
    const held = live.held(), network = held ? freezing.networkWith(held) : live.network();
    if (held) for (const x of reading.numbers) yield network.read(x);
    else network.setStates(0, reading.states(reading.numbers.length - 1));
    network.expect(0, 0);
    live.showChoices(network.logs());
    const characters = continued(network, new Random(state.seed), state);
    let shown = '';
    for (let k = 0; k < length; k++) yield shown += glyphs.shown(vocabulary.uchar[characters.next().value]);
    return shown;
  },

  /** Show the counter's value after the line, or that at which it is held. */
  showCounter(states) {
    const {name} = live.counter(), [none, many] = live.ends(), held = live.held();
    const value = held ? held.value : states[units.placeOf(units.of(name), 'C')];
    byId('count').value = (value - none) / (many - none);
    byId('count-on').hidden = !held;
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
    byId('next-letter').textContent = `The next letter, at temperature ${state.temperature.toFixed(2)}`;
    byId('seed').value = state.seed;
    if (state.view === 'surprise') live.write();
  },

  prepare() {
    live.takeWords(live.line());
    byId('counter').hidden = !live.counter();
    byId('counter-of').textContent = format.grouped(units.all().length);
    on('count', 'input', () => {
      const {name} = live.counter(), [none, many] = live.ends();
      state.change({hold: {unit: name, value: none + byId('count').valueAsNumber * (many - none)}});
    });
    on('count-on', 'click', () => state.change({hold: null}));
    on('words', 'input', () => live.type(byId('words').value));
    on('words-none', 'click', () => live.type('', live.line()));
    on('another', 'click', () => state.change({seed: (state.seed + 1) % 2 ** 32}));
    on('temperature', 'input', () => state.change({temperature: byId('temperature').valueAsNumber}));
    on('seed', 'change', () => state.change({seed: numberIn('seed')}));
    on('length', 'input', live.write);
    state.follow(['hold'], () => state.view === 'surprise' && live.write());
    state.follow(['temperature', 'seed'], live.showSettings);
    live.showSettings();
  },
};

// The line of the view Text, which can be typed over: the next letters, and how the network would continue it.

const live = {
  CHOICES: 6,                                              // next letters shown
  network: once(() => new Network(model.parameters(), data.cell)),
  opening: once(() => new Reading(live.network(), vocabulary.taken(data.line, text.MOST).numbers, 1)),

  /** Return the Reading of the line, or null if there is nothing to read. Below: its numbers, how to write. */
  reading() {
    if (text.own) return text.reading();
    return byId('words').value === data.line && data.line ? live.opening() : null;
  },

  numbers: () => live.reading() ? live.reading().numbers : [],
  choice: () => ({temperature: state.temperature, seed: state.seed}),

  /** Show the next letters and how the network goes on, once the line has been read. */
  write() {
    const reading = live.reading(), n = live.numbers().length;
    if (reading && reading.done < n) return work.begin(reading.to(n), () => {});       // then this is called again
    writing.stop();
    if (!reading) return [byId('ghost'), byId('choices')].forEach(part => part.replaceChildren());
    const network = live.network(), choice = live.choice();
    network.setStates(0, reading.states(n - 1));
    network.expect(0, 0);
    live.showChoices(network.logs(), choice);
    const show = ghost => { byId('ghost').textContent = ghost; };
    writing.begin(live.ghost(continued(network, new Random(choice.seed), choice), numberIn('length')), show, show);
  },

  /** Yield how the network goes on, with one character more each time. */
  *ghost(characters, length) {
    let shown = '';
    for (let k = 0; k < length; k++) yield shown += format.visible(vocabulary.uchar[characters.next().value]);
    return shown;
  },

  /** Show the most probable next letters, which a click types. Their bars show the temperature at work. */
  showChoices(logs, {temperature}) {
    const p = tempered(logs, temperature), total = p.reduce((a, b) => a + b, 0);
    const most = mostProbable(logs, Math.min(live.CHOICES, logs.length));
    byId('choices').replaceChildren(...most.flatMap(number => (
      bar(vocabulary.nameOf(number), p[number] / total, format.percent(p[number] / total), '',
        () => live.type(byId('words').value + vocabulary.uchar[number])))));
  },

  /** Read a text that the reader typed: no more than is shown, and one character that tells so. */
  type(typed) {
    const words = Array.from(typed.slice(0, 2 * text.MOST)).slice(0, text.MOST + 1).join('');
    byId('words').focus({preventScroll: true});
    state.change({words, place: words ? Infinity : text.strikingPlace(), pinned: false});
    live.takeWords(words);
  },

  /** Show the line. */
  takeWords(words) {
    const field = byId('words');
    if (field.value !== words) field.value = words;
    byId('typed').textContent = field.value;               // the ghost goes on where it ends
    byId('words-none').hidden = field.value === data.line;
  },

  showSettings() {
    byId('temperature').value = state.temperature;
    byId('next-letter').textContent = `The next letter, at temperature ${state.temperature.toFixed(2)}`;
    byId('seed').value = state.seed;
    if (state.view === 'surprise' && !work.isBusy()) live.write();
  },

  prepare() {
    live.takeWords(data.line);
    on('words', 'input', () => live.type(byId('words').value));
    on('words-none', 'click', () => {
      live.type('');
      live.takeWords(data.line);
      live.write();
    });
    on('another', 'click', () => state.change({seed: (state.seed + 1) % 2 ** 32}));
    on('temperature', 'input', () => state.change({temperature: byId('temperature').valueAsNumber}));
    on('seed', 'change', () => state.change({seed: numberIn('seed')}));
    on('length', 'input', live.write);
    state.follow(['temperature', 'seed'], live.showSettings);
    live.showSettings();
  },
};

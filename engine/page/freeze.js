// A frozen cell in Cells: how the network continues the line with one cell held at a value, and without that, from
// the same random numbers.

const freezing = {
  LENGTH: 500,                                             // characters written
  network: once(() => new Network(model.parameters(), data.cell)),

  /** Return the network without memory and with a frozen unit. */
  networkWith({unit, value}) {
    const network = freezing.network();
    network.hold([{...units.of(unit), value}]);
    network.reset();
    return network;
  },

  /** Return the entry of the state that freezes a cell where it is deepest in colour. match: with its feature. */
  holdOf: (name, match) => ({unit: name, value: units.rangeOf(name)[match < 0 ? 0 : 1]}),

  /** Return what to look for if a cell with a name is frozen near an end of its range. */
  hint({unit, value}, low, high) {
    const named = gallery.good().find(({name}) => name === unit), place = (value - low) / (high - low);
    if (!named || Math.abs(place - 0.5) < 0.2) return '';
    const [, asLow, asHigh] = data.followers[named.feature];
    return `This is ${(place > 0.5) === (named.match > 0) ? asHigh : asLow}`;
  },

  /** Show the frozen cell and both texts, if there is one. */
  show() {
    const {hold} = state;
    byId('frozen').hidden = !hold;
    byId('freeze').textContent = hold?.unit === byId('units').value ? 'Unfreeze this cell' :
      'Freeze this cell and let it write';
    writing.stop();
    if (!hold) return;
    const [least, most] = units.rangeOf(hold.unit), [words] = byId('frozen-range').children, slider = byId('frozen-at');
    slider.min = Math.min(least, hold.value);          // an address may hold any value
    slider.max = Math.max(most, hold.value);
    slider.value = hold.value;
    byId('frozen-name').textContent = `Cell ${hold.unit} frozen at ${format.signed(hold.value)}`;
    say('frozen-hint', freezing.hint(hold, least, most));
    byId('frozen-temperature').textContent = state.temperature.toFixed(2);
    words.textContent = `Its value, mostly from ${format.signed(least)} to ${format.signed(most)}`;
    const {numbers} = live.reading();
    const panes = [['normal', live.network()], ['frozen-text', freezing.networkWith(hold)]].map(([id, network]) => {
      const prime = element('span', 'prime', ''), rest = element('span', '', '');
      byId(id).replaceChildren(prime, rest);
      return {prime, rest, characters: written(network, numbers, state)};
    });
    writing.begin(freezing.writeCharacters(panes, numbers.length || 1), () => {});
  },

  /** Write both texts at once. first: how many characters the network does not draw. */
  *writeCharacters(panes, first) {
    for (let k = 0; k < first + freezing.LENGTH; k++, yield) {
      for (const {prime, rest, characters} of panes) {
        (k < first ? prime : rest).lastChild.appendData(glyphs.shown(vocabulary.uchar[characters.next().value]));
      }
    }
  },

  prepare() {
    on('frozen-at', 'input', () => state.change({hold: {...state.hold, value: byId('frozen-at').valueAsNumber}}));
    on('unfreeze', 'click', () => state.change({hold: null}));
    state.follow(['hold'], () => {
      if (state.view !== 'cells') return;
      const wasHidden = byId('frozen').hidden;
      freezing.show();
      if (wasHidden && state.hold) byId('frozen').scrollIntoView();
    });
  },
};

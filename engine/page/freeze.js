// A frozen cell in Cells: how the network goes on from the line with one cell held at a value, and without that, from
// the same random numbers.

const freezing = {
  LENGTH: 500,                                             // characters written
  free: once(() => new Network(model.parameters())),
  frozen: once(() => new Network(model.parameters())),

  /** Return the entry of the state that freezes a cell where it is deepest in colour. match: with its feature. */
  holdOf(name, match) {
    const [least, most] = text.rangeOf(name);
    return {unit: name, value: Number((match < 0 ? least : most).toFixed(2))};
  },

  /** Show the frozen cell and both texts, if there is one. */
  show() {
    const {hold} = state;
    byId('frozen').hidden = !hold;
    writing.stop();
    if (!hold) return;
    const [least, most] = text.rangeOf(hold.unit), [words] = byId('frozen-range').children, slider = byId('frozen-at');
    slider.min = Math.floor(100 * Math.min(least, hold.value)) / 100;
    slider.max = Math.ceil(100 * Math.max(most, hold.value)) / 100;
    slider.value = hold.value;
    byId('frozen-name').textContent = `${hold.unit} frozen at ${format.twoDigits(hold.value)}`;
    words.textContent = `Its value; in the text it goes from ${format.twoDigits(least)} to `
      + format.twoDigits(most);
    freezing.frozen().hold([{...units.of(hold.unit), value: hold.value}]);
    const choice = live.choice(), numbers = live.numbers();
    const panes = [['normal', freezing.free()], ['frozen-text', freezing.frozen()]].map(([id, network]) => {
      const prime = element('span', 'prime', ''), rest = element('span', '', '');
      byId(id).replaceChildren(prime, rest);
      return {prime, rest, characters: written(network, numbers, choice)};
    });
    writing.begin(freezing.writeCharacters(panes, numbers.length || 1), () => {});
  },

  /** Write both texts at once. first: how many characters the network does not draw. */
  *writeCharacters(panes, first) {
    for (let k = 0; k < first + freezing.LENGTH; k++, yield) {
      for (const {prime, rest, characters} of panes) {
        const character = format.visible(vocabulary.uchar[characters.next().value]);
        (k < first ? prime : rest).lastChild.appendData(glyphs.MARKS[character] || character);
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
      if (wasHidden && state.hold) byId('frozen').scrollIntoView({block: 'nearest'});
    });
  },
};

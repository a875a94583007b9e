// The gallery of Cells: the cells that follow something in the text, each with a strip of it.

const gallery = {
  GOOD: 0.8,                                               // least match of a cell that does what its card says
  FEWEST: 1000,                                            // characters for a match: in few, anything that grows fits
  LINES: 3,                                                // of a strip
  WITHIN: 4000,                                            // characters to read before the strips are shown
  hasStrips: null,                                         // whether the shown cards have them; null without cards

  /** Features of the text with the cells whose first state follows them best: each {feature, name, match}, in order. */
  features: once(() => Object.entries(data.correlations).map(([feature, r]) => {
    const all = units.all().map((name, k) => ({feature, name, match: r[k]}));
    return all.filter(({name}) => units.of(name).state === data.cell.states[0])
      .reduce((best, each) => Math.abs(each.match) > Math.abs(best.match) ? each : best);
  }).sort((a, b) => Math.abs(b.match) - Math.abs(a.match))),

  /** Those that follow one well. A cell is named once. */
  good: () => gallery.features().filter(({match, name}, k, all) => Math.abs(match) >= gallery.GOOD
    && text.page.numbers.length >= gallery.FEWEST && all.findIndex(each => each.name === name) === k),

  /** Show the cards, and their strips once the beginning of the page's text has been read. */
  show() {
    const {reading, numbers} = text.page, isRead = reading().done >= Math.min(gallery.WITHIN, numbers.length);
    if (gallery.hasStrips === isRead) return;
    const good = gallery.good();
    gallery.hasStrips = isRead;
    byId('gallery').replaceChildren(...good.map(gallery.card));
    byId('gallery-none').hidden = good.length > 0;
    byId('gallery-how').hidden = !good.length;
  },

  /** Return a card of a cell: what it does, a strip, and how to colour the text by it and to hold it. */
  card({feature, name, match}) {
    const values = text.valuesOf(name, 'C', text.page.reading());
    const href = `#cells&feature=${encodeURIComponent(feature)}&unit=${name}&of=C`;
    return element('article', 'card', element('h2', '', data.followers[feature][0]),
      gallery.hasStrips ? gallery.strip(values, match) : element('div', 'strip', 'Reading the text\u2026'),
      element('p', '', data.without[feature] || ''),
      element('p', 'row', element('span', 'quiet number', `Unit ${name}, match ${Math.abs(match).toFixed(2)} of 1`),
        Object.assign(element('a', 'quiet link', 'Colour the text'), {href}),
        gallery.hold(element('a', 'quiet link', 'Hold it'), name, match)));
  },

  /** Return a link, made one to the line with a cell held where it is deepest in colour. match: with its feature. */
  hold: (link, name, match) => Object.assign(link,
    {href: `#surprise&temperature=${DEFAULTS.temperature}&hold=${name}=${units.rangeOf(name)[match < 0 ? 0 : 1]}`}),

  /** Return the lines in which the values of a cell vary most, in their colours. */
  strip(values, match) {
    const ends = colour.ends(values, match < 0), begins = [0], {spelled} = text.page;
    const level = k => colour.between(values[k], ...ends);
    for (let k = 1; k < values.length; k++) if (spelled[k - 1] === '\n') begins.push(k);
    const passages = begins.slice(0, Math.max(1, begins.length - gallery.LINES)).map((from, j) => (
      [from, begins[j + gallery.LINES] || Math.min(values.length, from + 200)]));
    if (passages.length > 1) passages.shift();             // whose first line was read with an empty memory
    const variation = ([from, to]) => {
      const levels = Array.from({length: to - from}, (_, j) => level(from + j)), middle = mean(levels);
      return levels.reduce((sum, each) => sum + (each - middle) ** 2, 0);
    };
    const [from, to] = passages.reduce((best, each) => variation(each) > variation(best) ? each : best);
    const spans = spelled.slice(from, to).map(glyphs.spanOf);
    spans.forEach((span, j) => colour.tint(span, level(from + j)));
    return element('div', 'strip tinted', ...spans);
  },
};

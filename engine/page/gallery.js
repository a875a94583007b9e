// The gallery of Cells: the cells that follow something in the text, each with a strip of it, and the cells that are on
// in a passage that the reader selects.

const gallery = {
  GOOD: 0.8,                                               // least match of a cell that does what its card says
  FEWEST: 1000,                                            // characters for a match: in few, anything that grows fits
  LINES: 3,                                                // of a strip
  AROUND: 30, LISTED: 6,                                   // characters compared with a passage; cells listed for it
  WITHIN: 4000,                                            // characters to read before the strips are shown
  hasStrips: null,                                         // whether the shown cards have them; null without cards

  /** The features of the text with the cells that follow them best: each {feature, name, match}, the best first. */
  features: once(() => Object.entries(data.correlations).map(([feature, r]) => {
    const u = r.reduce((best, value, k) => Math.abs(value) > Math.abs(r[best]) ? k : best, 0);
    return {feature, name: units.all()[u], match: r[u]};
  }).sort((a, b) => Math.abs(b.match) - Math.abs(a.match))),

  good: () => gallery.features().filter(({match}) => (
    Math.abs(match) >= gallery.GOOD && text.page.numbers.length >= gallery.FEWEST)),

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

  /** Return a card of a cell: what it does, a strip, and buttons that colour the text by it and freeze it. */
  card({feature, name, match}) {
    const chosen = {feature, unit: name, of: 'C'}, values = text.valuesInPage(name, 'C');
    return element('article', 'card', element('h2', '', data.followers[feature][0]),
      gallery.hasStrips ? gallery.strip(values, feature, match) : element('div', 'strip', 'Reading the text\u2026'),
      element('p', 'row', element('span', 'quiet number', `Cell ${name}, match ${Math.abs(match).toFixed(2)} of 1`),
        button('quiet link', ['Colour the text'], () => {
          state.change(chosen);
          byId('reading').scrollIntoView();
        }), button('quiet link', ['Freeze'], () => state.change({...chosen, hold: freezing.holdOf(name, match)}))));
  },

  /** Return the lines in which the values of a cell follow a feature most clearly, in their colours. */
  strip(values, feature, match) {
    const ends = colour.ends(values, match < 0), begins = [0], {spelled} = text.page;
    const wanted = featuresOf(spelled)[feature], level = k => colour.between(values[k], ...ends);
    for (let k = 1; k < values.length; k++) if (spelled[k - 1] === '\n') begins.push(k);
    const passages = begins.slice(0, Math.max(1, begins.length - gallery.LINES)).map((from, j) => (
      [from, begins[j + gallery.LINES] || Math.min(values.length, from + 200)]));
    const covariance = ([from, to]) => {
      const middle = mean(wanted.slice(from, to));
      return wanted.slice(from, to).reduce((sum, value, j) => sum + (value - middle) * level(from + j), 0);
    };
    const [from, to] = passages.reduce((best, each) => covariance(each) > covariance(best) ? each : best);
    return stripOf(spelled, values, ends, from, to);
  },

  /** Return the cells whose values in a passage and around it differ most: each {name, difference}, as a share. */
  onIn(from, to) {
    const {AROUND} = gallery;
    return units.all().map(name => {
      const values = text.valuesOf(name, 'C'), [least, most] = text.rangeOf(name);
      const around = [...values.subarray(Math.max(0, from - AROUND), from), ...values.subarray(to, to + AROUND)];
      return {name, difference: (mean(values.subarray(from, to)) - mean(around)) / (most - least || 1)};
    }).sort((a, b) => Math.abs(b.difference) - Math.abs(a.difference)).slice(0, gallery.LISTED);
  },

  /** List the cells that are on in the selected passage. */
  showSelected() {
    const {numbers: {length: n}, spans} = text, chosen = getSelection();
    if (state.view !== 'cells' || text.reading().done < n || chosen.isCollapsed) return;
    const inside = Array.from(spans.keys()).filter(k => chosen.containsNode(spans[k], true));
    const from = inside[0], to = inside.at(-1) + 1;
    if (!inside.length || to - from >= n) return;          // nothing of the text, or nothing around it
    const most = from + 40, rest = to > most ? '\u2026' : '';
    const quoted = format.onOneLine(text.spelled.slice(from, Math.min(to, most)).join('')) + rest;
    const found = gallery.onIn(from, to), barOf = ({name, difference}) => bar(name, Math.abs(difference),
      format.percent(Math.abs(difference)), '', () => state.change({unit: name, of: 'C'}));
    const listed = (name, list) => list.length ?
      [element('p', '', name), element('div', 'bars', ...list.flatMap(barOf))] : [];
    byId('selected').hidden = false;
    byId('selected').replaceChildren('In \u201c', element('bdi', '', quoted),
      '\u201d, compared with around it and as a share of their range, these cells are',
      ...listed('higher:', found.filter(({difference}) => difference > 0)),
      ...listed('lower:', found.filter(({difference}) => difference <= 0)));
  },

  prepare() {
    let timer = 0, anchor = 0;
    on('text', 'keydown', ({key, shiftKey}) => {           // the key has moved the place
      if (key === 'Shift') anchor = text.place;
      else if (shiftKey) getSelection().setBaseAndExtent(text.spans[anchor], 0, text.spans[text.place], 1);
    });
    document.addEventListener('selectionchange', () => {   // comes many times while the reader drags
      clearTimeout(timer);
      timer = setTimeout(gallery.showSelected, 200);
    });
  },
};

/** Return characters of a text from one index to another, coloured by values between two ends. */
function stripOf(spelled, values, ends, from, to) {
  const spans = spelled.slice(from, to).map(glyphs.spanOf);
  spans.forEach((span, j) => colour.tint(span, colour.between(values[from + j], ...ends)));
  return element('div', 'strip tinted', ...spans);
}

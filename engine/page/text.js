// The data of the page, from engine/page/page.py, and the names and colours of numbers, characters and units.

const byId = id => document.getElementById(id);
const data = JSON.parse(byId('data').textContent);

/** Return the typed array that engine/page/page.py stored in base64; for float16, a Float32Array. */
function array({type, base64}) {
  const kinds = {uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float16: Uint16Array,
    float32: Float32Array};
  const numbers = new kinds[type](bytesOf(base64).buffer);
  if (type !== 'float16') return numbers;
  const found = new Float32Array(numbers.length), bits = new Uint32Array(found.buffer);
  for (let k = 0; k < found.length; k++) {                 // 1 bit of sign, 5 of exponent with another offset, fraction
    bits[k] = (numbers[k] & 0x8000) << 16 | (numbers[k] & 0x7fff) << 13;
    found[k] *= 2 ** 112;
  }
  return found;
}

/** Return a function that calls make() on its first call, and always returns that result. */
function once(make) {
  let made;
  return () => made = made || make();
}

/** The model of the page. */
const model = {
  /** The parameters by name, each a Float32Array. */
  parameters: once(() => Object.fromEntries(Object.entries(data.parameters).map(([name, p]) => [name, array(p)]))),

  /** The network that reads the shown text, one character at a time. */
  network: once(() => new Network(model.parameters(), data.cell)),
};

/** The characters of a model, by number. */
class Vocabulary {
  static LIKE = {'\u201c': '"', '\u201d': '"', '\u2018': "'", '\u2019': "'"};         // read as these if unknown

  constructor(uchar) {
    this.uchar = uchar;
    this.numbers = new Map(uchar.map((character, number) => [character, number]));
    this.lineEnd = this.numbers.has('\n') ? [this.numbers.get('\n')] : [];         // read before a reader's line
  }

  /** Return the name of a character in a list. */
  static named(character) {
    const names = {' ': 'space', '\n': 'line end', '\t': 'tab', '\xa0': 'no-break space'};
    return names[character] || (/\p{M}/u.test(character) ? '\u25cc' : '') + format.visible(character);
  }

  nameOf(number) {
    return Vocabulary.named(this.uchar[number]);
  }

  /** Return the name of a character in bold. */
  inBold(number) {
    return element('b', '', element('bdi', '', this.nameOf(number)));
  }

  /** Return the numbers of the known ones of the first `most` characters, and a line about those left out, or ''. */
  taken(text, most) {
    const like = one => !this.numbers.has(one) && this.numbers.has(Vocabulary.LIKE[one]) ? Vocabulary.LIKE[one] : one;
    const all = Array.from(text.slice(0, 2 * most + 2), like);
    const characters = all.slice(0, most), LISTED = 10;
    const unknown = Array.from(new Set(characters.filter(character => !this.numbers.has(character))));
    const names = unknown.slice(0, LISTED).map(Vocabulary.named).join(' ');
    const line = (unknown.length ? `Left out, since the model never saw them: ${names}. ` : '') +
      (all.length > most ? `Only the first ${format.grouped(most)} characters are read.` : '');
    return {numbers: characters.map(one => this.numbers.get(one)).filter(number => number !== undefined), line};
  }
}

const vocabulary = new Vocabulary(data.uchar);

/** Return the beginning of a line, if possible a long one, to be typed over: about 30 characters, in whole words. */
function openingOf(spelled) {
  const [, line] = /\n\s*(\S.{30,})/.exec(spelled) || /\n\s*(\S.*)/.exec(spelled) || ['', spelled.trimStart()];
  return line.length > 30 ? line.slice(0, 30).replace(/(?<=\s)\S*$/, '') : line;
}

const format = {
  /** Return a cost as the probability that it stands for, which most readers know, and in nats. */
  cost: (cost, digits = 2) => `${format.chanceOf(cost)} (${cost.toFixed(digits)} nats)`,
  chanceOf: cost => format.chance(Math.exp(-cost)),
  chance: p => p < 1e-6 ? 'under 1 in a million' : p < 0.1 ? `1 in ${format.grouped(1 / p)}` : format.percent(p),
  signed: (number, digits = 2) => number.toFixed(digits).replace('-', '\u2212'),
  grouped: n => Math.round(n).toLocaleString('en'),
  percent(p) {
    const digits = !p || p >= 0.1 ? 0 : p >= 0.01 ? 1 : p >= 0.001 ? 2 : 3;            // two figures of small ones
    return p && p < 5e-6 ? 'under 0.001 %' : (100 * p).toFixed(digits) + ' %';
  },

  /**
   * Return a text with Python's escapes for control characters, lone surrogates, characters that are invisible or
   * change the direction, and U+FFFE and U+FFFF, which XML does not allow.
   */
  visible(text) {
    const hidden =
      /[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffe\uffff]|\p{Cs}/gu;
    return text.replace(hidden, character => {
      const code = character.codePointAt(0).toString(16);
      return code.length < 3 ? '\\x' + code.padStart(2, '0') : '\\u' + code.padStart(4, '0');
    });
  },

  /** Return a text on one line, with a mark for each line end. */
  onOneLine: text => format.visible(text).replace(/\n/g, '\u21b5'),
};

/** How single characters are shown. */
const glyphs = {
  MARKS: {'\n': '\u21b5\n', '\t': '\u2192\t', '': '\xb7'},    // for otherwise invisible characters

  shown: character => glyphs.MARKS[character] || format.visible(character),

  spanOf(character) {
    const span = element('span', character in glyphs.MARKS ? 'faint' : '', glyphs.shown(character));
    if (format.visible(character) !== character) span.dir = 'ltr';     // escapes are left to right in any line
    return span;
  },

  /**
   * Return one block of spans per line, so that the browser lays out and draws only those that are visible or change.
   * A line of more than LONGEST characters is broken at the next space.
   */
  linesOf(spans) {
    const LONGEST = 1000, lines = [];
    let line = [];
    spans.forEach((span, k) => {
      line.push(span);
      const shown = span.textContent, ends = shown.endsWith('\n') || line.length > LONGEST && shown === ' ';
      if (!ends && k < spans.length - 1) return;
      const block = element('div', 'line', ...line);
      block.style.setProperty('--length', line.length);
      lines.push(block);
      line = [];
    });
    return lines;
  },
};

/** The units of the network by the names of their states, such as C2:7, and their places in those of a Reading. */
const units = {
  sizes: data.sizes,                                       // of each layer

  /** Return the unit of a name, {state, layer, number}, or null if the network has no such unit. */
  of(name) {
    const [, state, layer, number] = /^(\w+)([1-9]):(\d+)$/.exec(name) || [];
    const exists = data.cell.states.includes(state) && Number(number) < units.sizes[layer - 1];
    return exists ? {state, layer: Number(layer), number: Number(number)} : null;
  },

  /** The cell's rows, after their functions if they have any, by name: formula, value in cell.forward, range. */
  rows: Object.fromEntries(data.cell.names.map((row, k) => {
    const [name, code, value] = data.cell.formula.find(([of]) => of === row.slice(2)) || [row, '', `a[${k}]`];
    const [, operation] = data.cell.forward.lines.find(([of]) => of === value) || [];
    return [name, {code, value, ends: {ScalarSigmoid: [0, 1], Tanh: [-1, 1]}[operation]}];
  }).filter(([name]) => !['h', ...data.cell.states].includes(name))),

  nameOf: ({state, layer, number}) => `${state}${layer}:${number}`,

  /** Return the lowest and the highest value of a unit's state in the page's text. */
  rangeOf: name => data.ranges[units.all().indexOf(name)],

  /** Return the place of the state or h of a unit in the states of a Reading: h and all others of each layer. */
  placeOf: ({state, layer, number}, of) => number
    + (of === 'h' ? 0 : 1 + data.cell.states.indexOf(state)) * units.sizes[layer - 1]
    + (1 + data.cell.states.length) * units.sizes.slice(0, layer - 1).reduce((a, b) => a + b, 0),

  /** Return the names of all units: those of layer 1 come first, and within a layer those of the first state. */
  all: () => units.sizes.flatMap((H, k) => data.cell.states.flatMap(state => (
    Array.from({length: H}, (_, number) => units.nameOf({state, layer: k + 1, number}))))),
};

/** Colours of characters and units: levels from 0 to 1, and from 0 to -1 in another colour. */
const colour = {
  LEVELS: 16,                                              // shades of a colour
  DEAREST: 6,                                              // cost in nats with the deepest shade

  /** Return the level of character k. costs: of all characters except the first. */
  ofCost: (costs, k) => k ? costs[k - 1] / colour.DEAREST : 0,

  /** Return the values with the palest and the deepest colour: not the extremes, since these may be outliers. */
  ends(values, reversed) {
    const sorted = Float64Array.from(values).sort(), last = sorted.length - 1;
    const ends = [sorted[Math.floor(0.02 * sorted.length)], sorted[Math.floor(0.98 * last)]];
    return reversed ? ends.reverse() : ends;
  },

  /** Return the level of a value if `pale` has the palest colour and `deep` the deepest. */
  between: (value, pale, deep) => Math.max(0, Math.min(1, (value - pale) / (deep - pale || 1))),

  /** Colour an element by a level from -1 to 1. 0 has no colour; levels below 0 have another hue. */
  tint(made, level) {
    if (made.level === level) return;                      // setting a class is slow
    made.level = level;
    const kept = ['faint', 'here', 'pinned'].filter(name => made.classList.contains(name));
    const shade = Math.min(colour.LEVELS - 1, Math.floor(Math.abs(level || 0) * colour.LEVELS));
    made.setAttribute('class', [...kept, 'v' + shade, ...level < 0 ? ['negative'] : []].join(' '));
  },
};

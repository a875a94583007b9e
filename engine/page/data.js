// The data of the page, which engine/page/page.py writes: its arrays, its characters and numbers as text.

const byId = id => document.getElementById(id);
const data = JSON.parse(byId('data').textContent);

/** The typed array that engine/page/page.py stored in base64; of float16, a Float32Array. */
function array(stored) {
  const characters = atob(stored.base64), bytes = new Uint8Array(characters.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = characters.charCodeAt(k);
  const kinds = {uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float16: Uint16Array,
    float32: Float32Array};
  const numbers = new kinds[stored.type](bytes.buffer);
  if (stored.type !== 'float16') return numbers;
  const half = bits => {                                   // 1 bit of sign, 5 of exponent, 10 of fraction
    const sign = bits >> 15 ? -1 : 1, exponent = bits >> 10 & 31, fraction = (bits & 1023) / 1024;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
  };
  const table = Float32Array.from({length: 65536}, (_, bits) => half(bits));
  return Float32Array.from(numbers, bits => table[bits]);
}

/** What a model expected in the text: its vocabulary, the text, and arrays on all characters but the first. */
function expectationsOf({uchar, bytes, text, costs, best, chances}) {
  return {uchar, bytes, text: array(text), costs: array(costs), best: array(best), chances: array(chances)};
}

/** Units of data.units, whose C the page has: their names as --hold takes them, and what their bytes of C stand for. */
const units = {
  nameOf: u => `C${data.units[u].layer}:${data.units[u].number}`,

  /** The number in data.units of the unit of a name, -1 if it is not one of them. */
  numberOf: name => data.units.findIndex((_, u) => units.nameOf(u) === name),

  /** The C that a byte stands for. */
  cellState(u, byte) {
    const {least, most} = data.units[u];
    return least + (most - least) * byte / 255;
  },

  /** The byte that stands for the C that is nearest to a value. */
  byteOf(u, value) {
    const {least, most} = data.units[u];
    return Math.max(0, Math.min(255, Math.round((value - least) / (most - least || 1) * 255)));
  },
};

/** A function that returns what make() returns, and calls that when it is needed for the first time. */
function once(make) {
  let made;
  return () => made = made || make();
}

/** The parameters of the model by name, each a Float32Array. */
const parameters = once(() => (
  Object.fromEntries(Object.entries(data.parameters).map(([name, p]) => [name, array(p)]))));

const MOST_STREAMS = 101;
const products = once(() => new Products(parameters(), MOST_STREAMS));

/** A network of the model in so many streams, at most MOST_STREAMS. */
const newNetwork = count => new Network(parameters(), count, products());

/** What to say of the time that products take: nothing, or why it is long. */
const slowness = (memory = products().memory) => memory.run ? '' :
  ' This browser runs no WebAssembly, without which that takes many times as long.';

/**
 * A text with escapes, as in Python, for controls, halves of pairs, marks that are invisible or reverse others, and
 * U+FFFE and U+FFFF, which XML does not allow.
 */
function visible(text) {
  const hidden =
    /[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffe\uffff]|\p{Cs}/gu;
  return text.replace(hidden, character => {
    const code = character.codePointAt(0).toString(16);
    return code.length < 3 ? '\\x' + code.padStart(2, '0') : '\\u' + code.padStart(4, '0');
  });
}

/** A text on one line, with a mark for each line end. */
const onOneLine = text => visible(text).replace(/\n/g, '\u21b5');

/** The byte that an entry of the vocabulary stands for, where the model learned bytes. */
const byteOf = entry => entry.charCodeAt(0) & 255;

/** The name of a character in a list; number: of the character in the vocabulary of a model, this page's or another. */
function named(number, model = data) {
  const entry = model.uchar[number];
  return model.bytes && entry > '\x7f' ? '\\x' + byteOf(entry).toString(16) : nameOfCharacter(entry);
}

function nameOfCharacter(character) {
  const names = {' ': 'space', '\n': 'line end', '\t': 'tab', '\xa0': 'no-break space'};
  return names[character] || (/\p{M}/u.test(character) ? '\u25cc' : '') + visible(character);
}

/** A function that takes numbers of characters, one at a time, and returns what each adds to a text. Joins bytes. */
function speller({uchar, bytes} = data) {
  if (!bytes) return number => uchar[number];
  const decoder = new TextDecoder();
  return number => decoder.decode(Uint8Array.of(byteOf(uchar[number])), {stream: true});
}

/** The entries of a vocabulary that a character is: itself or, in one of bytes, each of its bytes. */
function entriesOf(character, bytes) {
  const asByte = byte => String.fromCharCode(byte > 127 ? 0xdc00 + byte : byte);
  return bytes ? Array.from(new TextEncoder().encode(character), asByte) : [character];
}

/**
 * The characters of a text, each {character, numbers}: one number, or several where the model learned bytes, or null
 * where the model does not have the character.
 */
function charactersOf(text, {uchar, bytes} = data) {
  const ofEntry = new Map(uchar.map((entry, number) => [entry, number]));
  return Array.from(text, character => {
    const numbers = entriesOf(character, bytes).map(entry => ofEntry.get(entry));
    return {character, numbers: numbers.includes(undefined) ? null : numbers};
  });
}

/** The names of the characters that the model does not have, '' if it has all. characters: as of charactersOf. */
function unknownOf(characters) {
  const unknown = characters.filter(({numbers}) => !numbers).map(({character}) => nameOfCharacter(character));
  return Array.from(new Set(unknown)).join(' ');
}

/** Says in an element, hidden otherwise, which characters the model does not have, and more. */
function sayUnknown(place, characters, more = '') {
  const unknown = unknownOf(characters);
  const lines = [unknown ? `The model never saw ${unknown}: it reads the text without.` : '', more];
  place.textContent = lines.join(' ').trim();
  place.hidden = !lines.join('');
}

/** A text as numbers of characters. Throws an Error that names the characters that the model does not have. */
function numbersOf(text) {
  const characters = charactersOf(text), unknown = unknownOf(characters);
  if (unknown) throw new Error(`The model never saw ${unknown}: leave that out.`);
  return characters.flatMap(({numbers}) => numbers);
}

const mean = numbers => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
const natsAndBits = cost => `${cost.toFixed(3)} nats (${(cost / Math.LN2).toFixed(3)} bits)`;
const twoDigits = number => number.toFixed(2).replace('-', '\u2212');
const signed = number => (number < 0 ? '' : '+') + twoDigits(number);
const grouped = n => Math.round(n).toLocaleString('en');
function percent(p) {
  return p < 5e-6 ? 'under 0.001 %' : (100 * p).toFixed(p < 0.001 ? 3 : p < 0.1 ? 1 : 0) + ' %';
}

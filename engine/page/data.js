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

/** A function that returns what make() returns, and calls that when it is needed for the first time. */
function once(make) {
  let made;
  return () => made = made || make();
}

/** The model of the page. */
const model = {
  MOST_STREAMS: 101,
  vocabulary: new Vocabulary(data),

  /** The parameters by name, each a Float32Array. */
  parameters: once(() => Object.fromEntries(Object.entries(data.parameters).map(([name, p]) => [name, array(p)]))),

  products: once(() => new Products(model.parameters(), model.MOST_STREAMS)),

  /** A network in so many streams, at most MOST_STREAMS. */
  network: count => new Network(model.parameters(), count, model.products()),

  /** What to say of the time that products take: nothing, or why it is long. */
  slowness: (memory = model.products().memory) => memory.run ? '' :
    ' This browser runs no WebAssembly, without which that takes many times as long.',
};

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

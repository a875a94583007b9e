// Checkpoints as npz files, which produce_text.py reads: a zip file, not compressed, of arrays in the format of NumPy
// (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, and APPNOTE.TXT of PKWARE for zip).

/** The bytes of numbers of so many bytes each, the lowest byte first. pairs: [number, bytes], one after another. */
function littleEndian(...pairs) {
  return Uint8Array.from(pairs.flatMap(([number, bytes]) => (
    Array.from({length: bytes}, (_, k) => Math.floor(number / 256 ** k) % 256))));
}

/** Arrays of bytes as one. */
function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** An array in the format of NumPy, in bytes. type: such as '<f4'; shape: a list; bytes: of the numbers. */
function npy(type, shape, bytes) {
  const tuple = `(${shape.map(size => size + ',').join(' ')})`;
  const header = `{'descr': '${type}', 'fortran_order': False, 'shape': ${tuple}, }`;
  const padded = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + '\n';        // 10 bytes come before
  const encode = text => new TextEncoder().encode(text), version = littleEndian([1, 1], [0, 1], [padded.length, 2]);
  return joined(Uint8Array.of(0x93), encode('NUMPY'), version, encode(padded), bytes);
}

/** The checksum of bytes that zip files have. */
function crc32(bytes) {
  const table = Uint32Array.from({length: 256}, (_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? n >>> 1 ^ 0xedb88320 : n >>> 1;
    return n;
  });
  let crc = 0xffffffff;
  for (const byte of bytes) crc = crc >>> 8 ^ table[(crc ^ byte) & 255];
  return (crc ^ 0xffffffff) >>> 0;
}

/** A zip file of files, a dict of names, in ASCII, to bytes. */
function zip(files) {
  const MADE_1980 = 33, locals = [], directory = [];       // the first day that the format knows
  let at = 0;
  for (const [name, bytes] of Object.entries(files)) {
    const encoded = new TextEncoder().encode(name), {length} = bytes;
    const common = [[20, 2], [0, 2], [0, 2], [0, 2], [MADE_1980, 2], [crc32(bytes), 4], [length, 4], [length, 4],
      [encoded.length, 2], [0, 2]];
    directory.push(littleEndian([0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [at, 4]), encoded);
    const local = joined(littleEndian([0x04034b50, 4], ...common), encoded, bytes);
    locals.push(local);
    at += local.length;
  }
  const count = directory.length / 2, size = directory.reduce((sum, part) => sum + part.length, 0);
  return joined(...locals, ...directory,
    littleEndian([0x06054b50, 4], [0, 2], [0, 2], [count, 2], [count, 2], [size, 4], [at, 4], [0, 2]));
}

/** Strings of ASCII or single characters as an array of NumPy's. shape: [] for one string, else [n]. */
function npyOfStrings(strings, shape) {
  const codes = strings.map(string => Array.from(string, character => character.codePointAt(0)));
  const length = Math.max(1, ...codes.map(list => list.length)), numbers = new Uint32Array(strings.length * length);
  codes.forEach((list, k) => numbers.set(list, k * length));
  return npy('<U' + length, shape, littleEndian(...Array.from(numbers, number => [number, 4])));
}

/**
 * A checkpoint, in bytes. p: the parameters by name, as for Network. uchar: the vocabulary; ofBytes: whether it is one
 * of bytes. about: the metadata, but for the names of the arrays.
 */
function checkpointOf(p, uchar, ofBytes, about) {
  const H1 = p.b1.length / 4, H2 = p.b2.length / 4, V = uchar.length, shapes = {
    U1: [4, H1, V], W1: [4, H1, H1], b1: [4, H1], U2: [4, H2, H1], W2: [4, H2, H2], b2: [4, H2], V: [V, H2], c: [V]};
  const bytesOf = array => {
    const view = new DataView(new ArrayBuffer(4 * array.length));
    array.forEach((number, k) => view.setFloat32(4 * k, number, true));
    return new Uint8Array(view.buffer);
  };
  const metadata = JSON.stringify({...about, arrays: [...Object.keys(p), 'uchar'].sort()});
  return zip({
    'about.npy': npyOfStrings([metadata], []),
    'uchar.npy': ofBytes ? npy('|S1', [V], Uint8Array.from(uchar, byteOf)) : npyOfStrings(uchar, [V]),
    ...Object.fromEntries(Object.entries(p).map(([name, array]) => (
      [name + '.npy', npy('<f4', shapes[name] || [array.length], bytesOf(array))]))),
  });
}

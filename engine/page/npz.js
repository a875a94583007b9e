// Checkpoints as npz files, which produce_text.py reads: a zip file, not compressed, of arrays in the format of NumPy
// (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, and APPNOTE.TXT of PKWARE for zip).

const npz = {
  /** The bytes of numbers of so many bytes each, the lowest byte first. pairs: [number, bytes], one after another. */
  littleEndian(...pairs) {
    return Uint8Array.from(pairs.flatMap(([number, bytes]) => (
      Array.from({length: bytes}, (_, k) => Math.floor(number / 256 ** k) % 256))));
  },

  /** Arrays of bytes as one. */
  joined(...parts) {
    const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  },

  /** An array in the format of NumPy, in bytes. type: such as '<f4'; shape: a list; bytes: of the numbers. */
  array(type, shape, bytes) {
    const tuple = `(${shape.map(size => size + ',').join(' ')})`;
    const header = `{'descr': '${type}', 'fortran_order': False, 'shape': ${tuple}, }`;
    const padded = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + '\n';        // 10 bytes come before
    const encode = text => new TextEncoder().encode(text);
    const version = npz.littleEndian([1, 1], [0, 1], [padded.length, 2]);
    return npz.joined(Uint8Array.of(0x93), encode('NUMPY'), version, encode(padded), bytes);
  },

  /** The checksum of bytes that zip files have. */
  crc32(bytes) {
    const table = Uint32Array.from({length: 256}, (_, n) => {
      for (let k = 0; k < 8; k++) n = n & 1 ? n >>> 1 ^ 0xedb88320 : n >>> 1;
      return n;
    });
    let crc = 0xffffffff;
    for (const byte of bytes) crc = crc >>> 8 ^ table[(crc ^ byte) & 255];
    return (crc ^ 0xffffffff) >>> 0;
  },

  /** A zip file of files, a dict of names, in ASCII, to bytes. */
  zip(files) {
    const MADE_1980 = 33, locals = [], directory = [];     // the first day that the format knows
    let at = 0;
    for (const [name, bytes] of Object.entries(files)) {
      const encoded = new TextEncoder().encode(name), {length} = bytes;
      const common = [[20, 2], [0, 2], [0, 2], [0, 2], [MADE_1980, 2], [npz.crc32(bytes), 4], [length, 4], [length, 4],
        [encoded.length, 2], [0, 2]];
      directory.push(
        npz.littleEndian([0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [at, 4]), encoded);
      const local = npz.joined(npz.littleEndian([0x04034b50, 4], ...common), encoded, bytes);
      locals.push(local);
      at += local.length;
    }
    const count = directory.length / 2, size = directory.reduce((sum, part) => sum + part.length, 0);
    return npz.joined(...locals, ...directory,
      npz.littleEndian([0x06054b50, 4], [0, 2], [0, 2], [count, 2], [count, 2], [size, 4], [at, 4], [0, 2]));
  },

  /** Strings of ASCII or single characters as an array of NumPy's. shape: [] for one string, else [n]. */
  arrayOfStrings(strings, shape) {
    const codes = strings.map(string => Array.from(string, character => character.codePointAt(0)));
    const length = Math.max(1, ...codes.map(list => list.length)), numbers = new Uint32Array(strings.length * length);
    codes.forEach((list, k) => numbers.set(list, k * length));
    return npz.array('<U' + length, shape, npz.littleEndian(...Array.from(numbers, number => [number, 4])));
  },

  /**
   * A checkpoint, in bytes. p: the parameters by name, as for Network. vocabulary: a Vocabulary. about: the metadata,
   * but for the names of the arrays.
   */
  checkpoint(p, {uchar, bytes: ofBytes}, about) {
    const H1 = p.b1.length / 4, H2 = p.b2.length / 4, V = uchar.length, shapes = {
      U1: [4, H1, V], W1: [4, H1, H1], b1: [4, H1], U2: [4, H2, H1], W2: [4, H2, H2], b2: [4, H2], V: [V, H2], c: [V]};
    const bytesOf = array => {
      const view = new DataView(new ArrayBuffer(4 * array.length));
      array.forEach((number, k) => view.setFloat32(4 * k, number, true));
      return new Uint8Array(view.buffer);
    };
    const metadata = JSON.stringify({...about, arrays: [...Object.keys(p), 'uchar'].sort()});
    return npz.zip({
      'about.npy': npz.arrayOfStrings([metadata], []),
      'uchar.npy': ofBytes ? npz.array('|S1', [V], Uint8Array.from(uchar, Vocabulary.byteOf)) :
        npz.arrayOfStrings(uchar, [V]),
      ...Object.fromEntries(Object.entries(p).map(([name, array]) => (
        [name + '.npy', npz.array('<f4', shapes[name] || [array.length], bytesOf(array))]))),
    });
  },
};

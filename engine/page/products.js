// The products of a network in many streams, in WebAssembly, in which a browser multiplies four numbers at a time. This
// serves speed alone: addProducts of network.js computes the same up to rounding, many times slower.

/**
 * A WebAssembly module, in bytes, whose function f adds products to sums. Its arguments: the addresses of sums, matrix
 * and vectors in the memory, the fours of rows, n, the fours of vectors, and the bytes of a four of sums.
 * Instructions and their numbers are those of https://webassembly.github.io/spec/core/binary/instructions.html
 */
function productsModule() {
  const I32 = 0x7f, V128 = 0x7b, LANES = [0, 1, 2, 3];
  const [SUMS, MATRIX, X, ROWS, N, FOURS, BYTES, TO, FROM, WEIGHTS, K, Q, VECTOR, SUM] = Array(14).keys();
  const whole = value => [value & 127 | 128, value >> 7];                           // below 2^13
  const get = variable => [0x20, variable], set = (variable, value) => [...value, 0x21, variable];
  const constant = value => [0x41, ...whole(value)];
  const increase = (variable, by) => set(variable, [...get(variable), ...by, 0x6a]);
  const load = (address, offset) => [...address, 0xfd, 0x00, 0, offset];             // four numbers
  const spread = (address, offset) => [...address, 0xfd, 0x09, 0, offset];           // one number, four times
  const store = (address, offset, value) => [...address, ...value, 0xfd, 0x0b, 0, offset];
  const add = (a, b) => [...a, ...b, 0xfd, 0xe4, 0x01], multiply = (a, b) => [...a, ...b, 0xfd, 0xe6, 0x01];
  const times = (counter, ...body) => [0x03, 0x40, ...body.flat(),                   // a loop until the counter is 0
    ...get(counter), ...constant(1), 0x6b, 0x22, counter, 0x0d, 0, 0x0b];
  const code = [2, 5, I32, 5, V128,                                                  // variables besides the arguments
    ...times(ROWS,
      set(TO, get(SUMS)), set(FROM, get(X)), set(Q, get(FOURS)),
      times(Q,
        LANES.flatMap(row => set(SUM + row, load(get(TO), 16 * row))),
        set(WEIGHTS, get(MATRIX)), set(K, get(N)),
        times(K,
          set(VECTOR, load(get(FROM), 0)),
          LANES.flatMap(row => (
            set(SUM + row, add(get(SUM + row), multiply(get(VECTOR), spread(get(WEIGHTS), 4 * row)))))),
          increase(FROM, constant(16)), increase(WEIGHTS, constant(16))),
        LANES.flatMap(row => store(get(TO), 16 * row, get(SUM + row))),
        increase(TO, get(BYTES))),
      set(MATRIX, get(WEIGHTS)), increase(SUMS, constant(64))),
    0x0b];
  const section = (id, ...content) => [id, ...whole(content.length), ...content];
  const name = letter => [1, letter.charCodeAt(0)];
  return Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,                           // WebAssembly, version 1
    ...section(1, 1, 0x60, 7, ...Array(7).fill(I32), 0),                             // the type of the function
    ...section(2, 1, ...name('m'), ...name('m'), 2, 0, 0),                           // the memory, which it gets
    ...section(3, 1, 0), ...section(7, 1, ...name('f'), 0, 0),                       // the function, and its name
    ...section(10, 1, ...whole(code.length), ...code)]);
}

/**
 * The matrices of a network, and their products with the vectors of its streams. In the memory of the module, arrays of
 * n numbers are stored in fours: the number k of array 4 q + j is at (q n + k) 4 + j. The arrays are vectors, sums, or
 * the rows of a matrix.
 */
class Products {
  /** p: as for Network; its matrices are copied as they are now. count: of the streams at most. */
  constructor(p, count) {
    const matrices = [[p.W1, p.b1], [p.U2, p.b2], [p.W2, p.b2]];
    const largest = Math.max(...matrices.map(([, bias]) => bias.length)) * (count + 3);          // of sums or vectors
    this.addresses = new Map();                            // of the matrices; all addresses count numbers of four bytes
    let size = 0;
    for (const [matrix] of matrices) {
      this.addresses.set(matrix, size);
      size += matrix.length;
    }
    [this.sums, this.vectors] = [size, size + largest];    // addresses
    try {
      const memory = new WebAssembly.Memory({initial: Math.ceil((size + 2 * largest) * 4 / 65536)});
      this.run = new WebAssembly.Instance(new WebAssembly.Module(productsModule()), {m: {m: memory}}).exports.f;
      this.memory = new Float32Array(memory.buffer);
    } catch (error) {                                      // refused by the browser or its settings, or no memory left
      this.run = null;
    }
    for (const [matrix, bias] of this.run ? matrices : []) {
      const rows = bias.length, n = matrix.length / rows;
      this.store(Array.from(bias, (_, row) => matrix.subarray(row * n, row * n + n)), this.addresses.get(matrix));
    }
  }

  /** Adds the products of a matrix and vectors to sums, as addProducts. */
  add(sums, matrix, vectors) {
    if (!this.run) return addProducts(sums, matrix, vectors);
    const rows = sums[0].length, n = vectors[0].length, fours = Math.ceil(sums.length / 4);
    this.store(sums, this.sums);
    this.store(vectors, this.vectors);
    this.run(4 * this.sums, 4 * this.addresses.get(matrix), 4 * this.vectors, rows / 4, n, fours, 16 * rows);
    this.load(sums, this.sums);
  }

  /** Stores arrays of one length in fours at an address. */
  store(arrays, address) {
    const {memory} = this;
    arrays.forEach((array, number) => {
      const first = address + (number >> 2) * 4 * array.length + number % 4;
      for (let k = 0; k < array.length; k++) memory[first + 4 * k] = array[k];
    });
  }

  /** Sets arrays to what store() has stored at an address, or a product has changed there. */
  load(arrays, address) {
    const {memory} = this;
    arrays.forEach((array, number) => {
      const first = address + (number >> 2) * 4 * array.length + number % 4;
      for (let k = 0; k < array.length; k++) array[k] = memory[first + 4 * k];
    });
  }
}

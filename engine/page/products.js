// Products of a matrix with many vectors at once, for Why and Your words: in WebAssembly, with which a browser
// multiplies four numbers at a time, or in JavaScript, many times slower, where the browser refuses WebAssembly.
//
// Vectors are stored in fours. In x (fours,n,4), the element k of the vector 4 q + s is x[(q n + k) 4 + s]. A matrix
// (rows,n) is stored in fours of its rows, (rows/4,n,4). Begin with addProducts; the module does the same.

/** A matrix (rows,n) as (rows/4,n,4). rows: a multiple of 4. */
function inFours(matrix, rows) {
  const n = matrix.length / rows, packed = new Float32Array(matrix.length);
  for (let row = 0; row < rows; row++) {
    for (let k = 0; k < n; k++) packed[((row >> 2) * n + k) * 4 + row % 4] = matrix[row * n + k];
  }
  return packed;
}

/** Adds the products of a matrix (rows/4,n,4) and vectors x (fours,n,4) to sums (fours,rows,4). */
function addProducts(sums, matrix, x, n, fours) {
  const rows = matrix.length / n;
  for (let row = 0; row < rows; row++) {
    for (let q = 0; q < fours; q++) {
      const at = (q * rows + row) * 4;
      let a = sums[at], b = sums[at + 1], c = sums[at + 2], d = sums[at + 3];
      for (let k = 0, w = (row >> 2) * n * 4 + row % 4, v = q * n * 4; k < n; k++, w += 4, v += 4) {
        const weight = matrix[w];
        a += weight * x[v];
        b += weight * x[v + 1];
        c += weight * x[v + 2];
        d += weight * x[v + 3];
      }
      sums[at] = a;
      sums[at + 1] = b;
      sums[at + 2] = c;
      sums[at + 3] = d;
    }
  }
}

/**
 * A WebAssembly module, in bytes, with addProducts as its function f. Its arguments: the addresses of sums, matrix and
 * x in the memory, the fours of rows, n, the fours of vectors, and the bytes of a four of sums.
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

/** Matrices in a memory, and their products with up to so many vectors. */
class Products {
  /** matrices: by name, each [matrix (rows,n), rows], rows a multiple of 4. count: how many vectors at most. */
  constructor(matrices, count) {
    this.matrices = {};
    let size = 0, largest = 0;
    const place = length => (size += length) - length;
    for (const [name, [matrix, rows]] of Object.entries(matrices)) {
      const n = matrix.length / rows;
      this.matrices[name] = {packed: inFours(matrix, rows), rows, n, at: place(matrix.length)};
      largest = Math.max(largest, rows, n);
    }
    this.sums = place(largest * (count + 3));              // addresses of sums and vectors, in numbers of four bytes
    this.x = place(largest * (count + 3));
    try {
      const memory = new WebAssembly.Memory({initial: Math.ceil(size * 4 / 65536)});
      this.run = new WebAssembly.Instance(new WebAssembly.Module(productsModule()), {m: {m: memory}}).exports.f;
      this.memory = new Float32Array(memory.buffer);
      for (const {packed, at} of Object.values(this.matrices)) this.memory.set(packed, at);
    } catch (error) {                                      // refused by the browser or its settings, or no memory left
      this.run = null;
    }
  }

  /** Adds the products of a matrix, by its name, and the first `fours` of x (fours,n,4) to sums (fours,rows,4). */
  add(sums, name, x, fours) {
    const {packed, rows, n, at} = this.matrices[name], {memory} = this;
    if (!this.run) return addProducts(sums, packed, x, n, fours);
    memory.set(sums.subarray(0, fours * rows * 4), this.sums);
    memory.set(x.subarray(0, fours * n * 4), this.x);
    this.run(4 * this.sums, 4 * at, 4 * this.x, rows / 4, n, fours, 16 * rows);
    sums.set(memory.subarray(this.sums, this.sums + fours * rows * 4));
  }
}

// Matrix products in WebAssembly, in which a browser multiplies four numbers at a time: those of a network in one
// stream or in many, and those of learning. This serves speed alone: Memory.multiplyAdd, and addProducts of
// network.js, compute the same up to rounding, many times slower.

/** An array of numbers, and the products of the matrices in it: by WebAssembly where the browser allows it. */
class Memory {
  /**
   * Adds to C (I,J) the product of A (I,L) and B (L,J), which all lie in one array, `memory`.
   *
   * C, A, B: where they begin. rowC, rowA, rowB: how far a row is from the next one; stepA: how far a number of a row
   * of A is from the next one, 1, or more where A is read as the transpose of what is stored.
   */
  static multiplyAdd(memory, C, A, B, I, J, L, rowC, rowA, stepA, rowB) {
    for (let i = 0; i < I; i++) {
      for (let l = 0; l < L; l++) {
        const a = memory[A + i * rowA + l * stepA];
        for (let j = 0; j < J; j++) memory[C + i * rowC + j] += a * memory[B + l * rowB + j];
      }
    }
  }

  /**
   * A WebAssembly module, in bytes, that has multiplyAdd as two functions: `a` for one row, and `b` for a multiple of
   * four rows. Their arguments are those after `memory`, in bytes; I and J count blocks, of one row and 32 columns, or
   * of four rows and 8 columns. The sums of a block stay in variables while l runs.
   * Instructions and their numbers are those of https://webassembly.github.io/spec/core/binary/instructions.html
   */
  static module() {
    const I32 = 0x7f, V128 = 0x7b;
    const range = n => Array.from({length: n}, (_, k) => k);
    const whole = value => [value & 127 | 128, value >> 7];                           // below 2^13
    const get = variable => [0x20, variable], set = (variable, value) => [...value, 0x21, variable];
    const constant = value => [0x41, ...whole(value)], plus = (a, b) => [...a, ...b, 0x6a];
    const increase = (variable, by) => set(variable, plus(get(variable), by));
    const load = (address, offset) => [...address, 0xfd, 0x00, 0, offset];             // four numbers
    const spread = address => [...address, 0xfd, 0x09, 0, 0];                          // one number, four times
    const store = (address, offset, value) => [...address, ...value, 0xfd, 0x0b, 0, offset];
    const add = (a, b) => [...a, ...b, 0xfd, 0xe4, 0x01], multiply = (a, b) => [...a, ...b, 0xfd, 0xe6, 0x01];
    const times = (counter, ...body) => [0x03, 0x40, ...body.flat(),                 // a loop until the counter is 0
      ...get(counter), ...constant(1), 0x6b, 0x22, counter, 0x0d, 0, 0x0b];
    const [C, A, B, I, J, L, ROW_C, ROW_A, STEP_A, ROW_B, COLUMN, FROM, Q, K, TO] = Array(15).keys();

    /** The code of a function whose blocks have so many rows, and fours of columns. */
    function code(rows, fours) {
      const X = TO + rows, SUM = X + rows, WEIGHT = SUM + rows * fours, ONE = WEIGHT + fours;          // variables
      const cells = range(rows).flatMap(r => range(fours).map(f => [r, f, SUM + r * fours + f]));
      const body = [2, 4 + 2 * rows, I32, (rows + 1) * fours + 1, V128,
        ...times(I,
          set(COLUMN, get(B)), set(Q, get(J)),
          range(rows).flatMap(r => set(TO + r, r ? plus(get(TO + r - 1), get(ROW_C)) : get(C))),
          times(Q,
            range(rows).flatMap(r => set(X + r, r ? plus(get(X + r - 1), get(ROW_A)) : get(A))),
            set(FROM, get(COLUMN)), set(K, get(L)),
            cells.flatMap(([r, f, sum]) => set(sum, load(get(TO + r), 16 * f))),
            times(K,
              range(fours).flatMap(f => set(WEIGHT + f, load(get(FROM), 16 * f))),
              range(rows).flatMap(r => [...set(ONE, spread(get(X + r))), ...increase(X + r, get(STEP_A)),
                ...range(fours).flatMap(f => {
                  const sum = SUM + r * fours + f;
                  return set(sum, add(get(sum), multiply(get(ONE), get(WEIGHT + f))));
                })]),
              increase(FROM, get(ROW_B))),
            cells.flatMap(([r, f, sum]) => store(get(TO + r), 16 * f, get(sum))),
            range(rows).flatMap(r => increase(TO + r, constant(16 * fours))),
            increase(COLUMN, constant(16 * fours))),
          range(rows).flatMap(() => [...increase(C, get(ROW_C)), ...increase(A, get(ROW_A))])),
        0x0b];
      return [...whole(body.length), ...body];
    }

    const section = (id, ...content) => [id, ...whole(content.length), ...content];
    const name = letter => [1, letter.charCodeAt(0)];
    return Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,                           // WebAssembly, version 1
      ...section(1, 1, 0x60, 10, ...Array(10).fill(I32), 0),                           // the type of the functions
      ...section(2, 1, ...name('m'), ...name('m'), 2, 0, 0),                           // the memory, which they get
      ...section(3, 2, 0, 0), ...section(7, 2, ...name('a'), 0, 0, ...name('b'), 0, 1),
      ...section(10, 2, ...code(1, 8), ...code(4, 2))]);
  }

  /** n or, if that is no multiple of `of`, the next one. */
  static roundedUp(n, of) {
    return Math.ceil(n / of) * of;
  }

  /** How far rows of so many columns are apart, a multiple of `of`: not of 256, since caches hold few such rows. */
  static width(columns, of) {
    const width = Memory.roundedUp(columns, of);
    return width % 256 ? width : width + of;
  }

  /**
   * Copies the transpose of a matrix (rows,columns) of array `from`, which begins at `at`, to array `to`, where it
   * begins at `there`. row, rowThere: how far a row is from the next one.
   */
  static transpose(from, at, row, to, there, rowThere, rows, columns) {
    for (let r = 0; r < rows; r++) {
      for (let k = 0; k < columns; k++) to[there + k * rowThere + r] = from[at + r * row + k];
    }
  }

  /** length: how many numbers, which are 0. */
  constructor(length) {
    try {
      const memory = new WebAssembly.Memory({initial: Math.ceil(length * 4 / 65536)});
      this.run = new WebAssembly.Instance(new WebAssembly.Module(Memory.module()), {m: {m: memory}}).exports;
      this.numbers = new Float32Array(memory.buffer);
    } catch (error) {                                      // refused by the browser or its settings, or no memory left
      this.run = null;
      this.numbers = new Float32Array(length);
    }
  }

  /** Memory.multiplyAdd in this memory. I is 1, and J a multiple of 32, or I is a multiple of 4, and J of 8. */
  multiplyAdd(C, A, B, I, J, L, rowC, rowA, stepA, rowB) {
    if (!this.run) return Memory.multiplyAdd(this.numbers, C, A, B, I, J, L, rowC, rowA, stepA, rowB);
    const one = I === 1, run = one ? this.run.a : this.run.b;
    run(4 * C, 4 * A, 4 * B, one ? 1 : I / 4, one ? J / 32 : J / 8, L, 4 * rowC, 4 * rowA, 4 * stepA, 4 * rowB);
  }
}

/**
 * The matrices of a network, and their products with the vectors of its streams. In the memory each matrix
 * (rows,columns) is transposed, (columns,rows), with as many zeros after each row as make it a multiple of 32.
 */
class Products {
  /** p: as for Network; its matrices are copied by load(). count: of the streams at most. */
  constructor(p, count) {
    const places = [[p.W1, p.b1], [p.U2, p.b2], [p.W2, p.b2], [p.V, p.c]].map(([matrix, {length: rows}]) => (
      {matrix, rows, columns: matrix.length / rows, width: Memory.width(rows, 32)}));
    let size = 0;
    for (const place of places) {
      place.at = size;
      size += place.columns * place.width;
    }
    const streams = Memory.roundedUp(count, 4), largest = name => Math.max(...places.map(place => place[name]));
    this.places = new Map(places.map(place => [place.matrix, place]));
    this.vectors = size;                                   // where the vectors are, and the sums
    this.sums = size + streams * largest('columns');
    this.memory = new Memory(this.sums + streams * largest('width'));
    this.run = this.memory.run;
    this.load();
  }

  /** Copies the matrices as they are now. */
  load() {
    for (const {matrix, at, rows, columns, width} of this.run ? this.places.values() : []) {
      Memory.transpose(matrix, 0, columns, this.memory.numbers, at, width, rows, columns);
    }
  }

  /** Adds the products of a matrix and vectors to sums, as addProducts. */
  add(sums, matrix, vectors) {
    if (!this.run) return addProducts(sums, matrix, vectors);
    const {at, rows, columns, width} = this.places.get(matrix), {memory} = this, {numbers} = memory;
    const I = sums.length === 1 ? 1 : Memory.roundedUp(sums.length, 4);
    vectors.forEach((vector, stream) => numbers.set(vector, this.vectors + stream * columns));
    sums.forEach((sum, stream) => numbers.set(sum, this.sums + stream * width));
    memory.multiplyAdd(this.sums, this.vectors, at, I, width, columns, width, columns, 1, width);
    sums.forEach((sum, stream) => {
      const from = this.sums + stream * width;
      sum.set(numbers.subarray(from, from + rows));
    });
  }
}

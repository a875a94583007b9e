// The network of charlstm.py in JavaScript: the forward pass, for reading, writing and training.
//
//     a_k  = U[k].x + W[k].h + b[k]      k = f, i, o, g (forget, input, output, cell update)
//     h, C = cell(a_f, a_i, a_o, a_g, C)
//
// A later layer reads the h of the layer below. softmax(V.h + c), with the h of the last one, is the distribution of
// the next character. The cell is data (cell.js). Other cells have other rows k, of which only the first cell.ofU have
// U, and only the last cell.ofW have W.
//
// All numbers are in one array, the memory of a WebAssembly module that multiplies matrices (product.c). A place is a
// matrix in it, with its offset (at), rows, columns, and the distance between rows (width). Padding is zero. Weights
// are transposed: (inputs, outputs), with the rows of a layer side by side, as are its cell states in C.
// Letters for sizes: B streams, T stored steps, V characters in the vocabulary, H units of a layer.

const PAGE = 65536;                                        // bytes of WebAssembly's memory that are added at once

const mean = numbers => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;

/** Return where number j of a parameter is in a place. In Python, only a cell's matrices are (inputs, outputs). */
const placeOf = ({at, rows, columns, width, ofCell}, j) => ofCell ?
  at + Math.floor(j / columns) * width + j % columns : at + j % rows * width + Math.floor(j / rows);

const roundedUp = (n, multiple) => Math.ceil(n / multiple) * multiple;

/** Return the bytes of a base64 text. */
function bytesOf(base64) {
  const characters = atob(base64), bytes = new Uint8Array(characters.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = characters.charCodeAt(k);
  return bytes;
}

/** The bytes of the WebAssembly module that this browser can run, if there is one. */
const PRODUCT = typeof WebAssembly === 'undefined' ? undefined :
  PRODUCTS.map(bytesOf).find(bytes => WebAssembly.validate(bytes));

/** The memory of a network, and matrix products in it. */
class Memory {
  constructor() {
    Memory.product ||= new WebAssembly.Module(PRODUCT);    // compiled once
    this.wasm = new WebAssembly.Memory({initial: 1});
    this.room = 0;                                         // bytes without the last page, for rows() in product.c
    this.functions = new WebAssembly.Instance(Memory.product, {env: {memory: this.wasm}}).exports;
    const {add, subtract, multiply, squash} = this.functions;
    this.loops = {...LOOPS, Add: (n, to, x, y, z, H) => add(4 * to, 4 * x, 4 * y, H),
      Sub: (n, to, x, y, z, H) => subtract(4 * to, 4 * x, 4 * y, H),
      Mul: (n, to, x, y, z, H) => multiply(4 * to, 4 * x, 4 * y, H),
      ScalarSigmoid: (n, to, x, y, z, H) => squash(4 * to, 4 * x, H, 1),
      Tanh: (n, to, x, y, z, H) => squash(4 * to, 4 * x, H, 2)};
    this.size = 0;                                         // of all places
  }

  /** Return a new place of zeros whose width is a multiple of `block`. May replace `numbers` by a longer array. */
  place(rows, columns, block = 8) {
    const rounded = roundedUp(columns, block), width = rounded % 256 ? rounded : rounded + block;    // spares caches
    const made = {at: this.size, rows, columns, width};
    this.size += roundedUp(rows, 4) * width;
    const missing = 4 * this.size - this.room;
    if (missing > 0) this.wasm.grow(Math.ceil(missing / PAGE));
    this.numbers = new Float32Array(this.wasm.buffer);
    this.room = this.numbers.byteLength - PAGE;
    return made;
  }

  /** Add the product of A (I,L) and B (L,J) to C (I,J), as described in product.c. I must be 1 or a multiple of 4. */
  multiplyAdd(C, A, B, I, J, L, rowC, rowA, stepA, rowB) {
    const {row, rows} = this.functions;
    if (I === 1) row(4 * C, 4 * A, 4 * B, J, roundedUp(L, 4), rowB);                   // the padding is zero
    else rows(4 * C, 4 * A, 4 * B, I, J, L, rowC, rowA, stepA, rowB, this.room);
  }
}

/** The network with several streams that are read side by side. */
class Network {
  /**
   * p: the parameters by name, each a Float32Array in Python's layout, row after row. cell: as in cell.js. B: streams.
   * T: how many steps to store, for a gradient. The states are zero.
   */
  constructor(p, cell, B = 1, T = 1) {
    const memory = this.memory = new Memory(), rows = this.rows = B === 1 ? 1 : roundedUp(B, 4);
    const names = Object.keys(p), outputs = {V: p.c.length}, states = cell.states.length;
    const units = names.filter(name => /^b\d$/.test(name)).map(name => p[name].length / cell.rows);
    units.forEach((H, k) => Object.assign(outputs, {[`U${k + 1}`]: cell.ofU * H, [`W${k + 1}`]: cell.ofW * H},
      Object.fromEntries(cell.matrices.map(name => [name + (k + 1), H]))));
    const place = (height, columns) => memory.place(height, columns, rows === 1 ? 32 : 8);
    Object.assign(this, {B, V: p.c.length, cell});
    this.places = Object.fromEntries(names.map(name => {
      const columns = name in outputs ? outputs[name] : p[name].length;
      const ofCell = cell.matrices.includes(name.slice(0, -1));
      return [name, {...place(columns && p[name].length / columns, columns), ofCell}];
    }));
    this.constants = names.filter(name => name.slice(0, -1) in cell.constants).map(name => this.places[name]);
    this.size = memory.size;                               // of all parameters and constants
    this.layers = units.map((H, k) => {
      const number = k + 1, of = letter => this.places[letter + number];
      const after = columns => place((T + 1) * rows, columns);             // before the first step, and after each
      const room = cell.ofW < cell.rows ? 64 : 0;          // a product with W begins within a, and is wider than W
      return {number, H, U: of('U'), W: of('W'), b: of('b'), cell_p: Object.keys(cell.cell_p).map(of),
        matrices: cell.matrices.map(of), held: [], a: place(rows, cell.rows * H + room),
        first: (cell.rows - cell.ofW) * H, h: after(H), C: after(states * H), kept: place(T * rows,
          (cell.forward.outputs.length - 1 - states) * H), forward: new Program(cell.forward, memory, H)};
    });
    this.scores = place(T * rows, this.V);
    this.statePlaces = this.layers.flatMap(({h, C}) => [h, C]);        // of h and C of each layer
    this.countOfStates = 0;
    for (const each of this.statePlaces) {
      each.first = this.countOfStates;                     // where it begins in states()
      this.countOfStates += each.columns;
    }
    this.load(p);
  }

  get numbers() {
    return this.memory.numbers;
  }

  /** Load values of the parameters, as in the constructor. */
  load(p) {
    const {numbers} = this;
    for (const [name, place] of Object.entries(this.places)) {
      p[name].forEach((value, j) => { numbers[placeOf(place, j)] = value; });
    }
  }

  /** Return the parameters in the form that load() takes, from an array with the same layout as the memory. */
  parameters(array = this.numbers) {
    return Object.fromEntries(Object.entries(this.places).map(([name, place]) => [name,
      Float32Array.from({length: place.rows * place.columns}, (_, j) => array[placeOf(place, j)])]));
  }

  /** Hold the states of these units only, a list of {state, layer, number, value}, from the next step on. */
  hold(units) {
    for (const layer of this.layers) layer.held = [];
    for (const {state, layer, number, value} of units) {
      (this.layers[layer - 1].held[this.cell.states.indexOf(state)] ||= []).push([number, value]);
    }
  }

  // ---- reading

  /** Read a character in the first B streams. Afterwards logs() returns their predictions. */
  read(x, B = this.B) {
    this.step(new Array(B).fill(x));
    this.carry(1);
    this.expect(0, 0, B);
  }

  /** Read characters x (B) as step t. */
  step(x, t = 0) {
    const {rows, layers} = this, B = x.length, row = t * rows;
    layers.forEach((layer, k) => {
      const {a, b, h, U, W, first} = layer;
      this.begin(a, 0, b, B);
      if (k) this.addProduct(a, 0, layers[k - 1].h, row + rows, U, B);
      else for (let s = 0; s < B; s++) this.addRow(a, s, U, x[s]);
      this.addProduct(a, 0, h, row, W, B, first);
      this.stepCell(layer, row, B);
    });
  }

  /** Set scores, from a row on, to V.h + c for the rows of the last h from rowOfH on. */
  expect(row, rowOfH, B = this.B) {
    this.begin(this.scores, row, this.places.c, B);
    this.addProduct(this.scores, row, this.layers.at(-1).h, rowOfH, this.places.V, B);
  }

  /** Make the states after T steps the initial states of the next steps. */
  carry(T) {
    for (const {at, width} of this.statePlaces) {
      const size = this.rows * width;
      this.numbers.copyWithin(at, at + T * size, at + (T + 1) * size);
    }
  }

  /** Return the log probabilities (V) of a stream's next character, in float64, so that they are always finite. */
  logs(stream = 0) {
    const from = this.scores.at + stream * this.scores.width;
    const scores = new Float64Array(this.numbers.subarray(from, from + this.V));
    let largest = -Infinity, sum = 0;                      // loops are faster than reduce()
    for (const score of scores) largest = Math.max(largest, score);
    for (const score of scores) sum += Math.exp(score - largest);
    const log = largest + Math.log(sum);
    return scores.map(score => score - log);
  }

  /** Return a copy of the states of a stream, one after the other: h and C of each layer. */
  states(stream = 0) {
    const {numbers, statePlaces} = this, found = new Float32Array(this.countOfStates);
    for (const {at, width, columns, first} of statePlaces) {
      found.set(numbers.subarray(at + stream * width, at + stream * width + columns), first);
    }
    return found;
  }

  /** Set the states of a stream, in the form that states() returns. */
  setStates(stream, states) {
    for (const {at, width, columns, first} of this.statePlaces) {
      this.numbers.set(states.subarray(first, first + columns), at + stream * width);
    }
  }

  /** Set all states to zero. */
  reset() {
    for (const {at, width} of this.statePlaces) this.numbers.fill(0, at, at + this.rows * width);
  }

  // ---- the parts of a step

  /** Set rows of a place, from a row on, to b. */
  begin(to, row, b, B) {
    for (let s = 0; s < B; s++) this.numbers.copyWithin(to.at + (row + s) * to.width, b.at, b.at + b.width);
  }

  /** Add a row of a matrix, its product with a one-hot vector, to a row of `to`. */
  addRow(to, row, matrix, number) {
    const {numbers} = this, first = to.at + row * to.width, from = matrix.at + number * matrix.width;
    for (let k = 0; k < matrix.columns; k++) numbers[first + k] += numbers[from + k];
  }

  /** Add the product of rows of `from` and a matrix to rows of `to`, from the given rows and columns on. */
  addProduct(to, rowTo, from, rowFrom, matrix, B = this.B, columnTo = 0, columnFrom = 0) {
    this.memory.multiplyAdd(to.at + rowTo * to.width + columnTo, from.at + rowFrom * from.width + columnFrom,
      matrix.at, this.rows === 1 ? 1 : roundedUp(B, 4), matrix.width, matrix.rows, to.width, from.width, 1,
      matrix.width);
  }

  /** Return a layer's own parameters as Program.run() takes them. */
  cellPValues({cell_p, matrices}) {
    return [...[...cell_p, ...matrices].map(({at}) => ({at, width: 0})),
      ...matrices.slice(-1).map(({width}) => ({at: width, width: 0}))];
  }

  /** Set h, C and what the gradient needs after a step. row: of what is stored for it. */
  stepCell(layer, row, B) {
    const {H, a, h, C, kept, held, forward} = layer, S = this.cell.states.length, after = row + this.rows;
    forward.run(H, B, [...valuesIn(C, after, S, H), ...valuesIn(h, after, 1, H),
      ...valuesIn(kept, row, kept.columns / H, H), ...valuesIn(a, 0, this.cell.rows, H), ...valuesIn(C, row, S, H),
      ...this.cellPValues(layer)], held);
  }
}

/** Return the indices of the largest logs, the largest first. */
function mostProbable(logs, most) {
  const left = logs.slice();
  return Array.from({length: most}, () => {
    const first = left.indexOf(left.reduce((a, b) => Math.max(a, b)));
    left[first] = -Infinity;
    return first;
  });
}

/** A text read by a network with one stream, with its states and predictions after each character. */
class Reading {
  /** numbers: of the characters. most: how many of the most probable next characters to keep. */
  constructor(network, numbers, most) {
    this.network = network;
    this.most = Math.min(most, network.V);
    this.width = network.states().length;
    this.done = 0;                                         // how many characters have been read
    this.allStates = new Float32Array();                   // h and C of each layer after each character
    this.costs = new Float32Array();                       // of the next character, in nats; 0 at the end
    this.best = new Uint16Array();                         // the most probable characters after each
    this.chances = new Float32Array();                     // their probabilities
    this.change(numbers);
  }

  /** Read other numbers from now on. Results for the beginning that both texts share are kept. */
  change(numbers) {
    const room = numbers.length > this.costs.length && roundedUp(numbers.length, 1000);
    let same = 0;
    while (same < this.done && same < numbers.length && numbers[same] === this.numbers[same]) same++;
    this.done = Math.max(0, same - 1);                     // the next character may differ
    this.numbers = numbers;
    for (const [name, each] of [['allStates', this.width], ['costs', 1], ['best', this.most], ['chances', this.most]]) {
      const before = this[name];
      if (room) (this[name] = new before.constructor(room * each)).set(before.subarray(0, this.done * each));
    }
  }

  /** Read until the first k characters are done. Yields the fraction that is done. */
  *to(k) {
    const {network, numbers, most} = this, begun = this.done;
    if (k > begun) network.setStates(0, this.states(begun - 1));
    while (this.done < k) {
      const j = this.done;
      network.read(numbers[j]);
      const logs = network.logs(), order = mostProbable(logs, most);
      this.allStates.set(network.states(), j * this.width);
      this.costs[j] = j + 1 < numbers.length ? -logs[numbers[j + 1]] : 0;
      this.best.set(order, j * most);
      this.chances.set(order.map(number => Math.exp(logs[number])), j * most);
      this.done++;
      yield (this.done - begun) / (k - begun);
    }
  }

  /** Return one of the states after each character that has been read. place: its index in all states. */
  valuesOf(place) {
    return Float32Array.from({length: this.done}, (_, k) => this.allStates[k * this.width + place]);
  }

  /** Return a value of a unit in the cell's code at each character that was read. Yields the fraction done. */
  *valuesInside({layer, number}, name) {
    const {network, numbers, done} = this, found = new Float32Array(done), {forward} = network.layers[layer - 1];
    for (let k = 0; k < done; k++, yield k / done) {
      network.setStates(0, this.states(k - 1));
      network.step([numbers[k]]);
      found[k] = forward.valueOf(name, number);
    }
    return found;
  }

  /** Return the states after character j, which must have been read; zeros for -1. */
  states(j) {
    return j < 0 ? new Float32Array(this.width) : this.allStates.subarray(j * this.width, (j + 1) * this.width);
  }

  /**
   * Return the log probabilities (V) of character k: after the whole text (`whole`), and after the text without each
   * single character from `first` to k - 1 (`without`). Yields the fraction that is done.
   *
   * Stream 0 of the network reads everything. At each character another stream starts, with the states of stream 0
   * before that character. So the network needs k - first + 1 streams.
   */
  *withoutEach(k, first, network) {
    for (const share of this.to(first)) yield share / 2;
    network.setStates(0, this.states(first - 1));
    for (let j = first; j < k; j++) {
      const before = network.states();
      network.read(this.numbers[j], j - first + 1);
      network.setStates(j - first + 1, before);
      yield (1 + (j - first) / (k - first)) / 2;
    }
    network.expect(0, 0);                                  // also of the last stream, which has read nothing
    return {whole: network.logs(0), without: Array.from({length: k - first}, (_, j) => network.logs(j + 1))};
  }
}

// ---------------------------------------------------------------- writing

/** Return exp(logs / temperature), (V), up to a factor. A temperature below 1 favours probable characters. */
function tempered(logs, temperature) {
  const largest = logs.reduce((a, b) => Math.max(a, b));
  if (temperature === 0) return logs.map((_, k) => Number(k === logs.indexOf(largest)));
  return logs.map(log => Math.exp((log - largest) / temperature));
}

/** Draw the number of a character from p (V), with a random number in [0, 1). p need not add up to 1. */
function draw(p, random) {
  const total = p.reduce((a, b) => a + b, 0);
  let sum = 0, last = 0;
  for (let k = 0; k < p.length; k++) {
    if (!p[k]) continue;                                   // never draw probability 0
    sum += p[k];
    last = k;
    if (sum > random * total) break;
  }
  return last;
}

/** Random numbers in [0, 1), in steps of 2^-53, reproducible from a seed: xoshiro128** (Blackman 2018). */
class Random {
  /** seed: an integer from 0 to 2^32 - 1. */
  constructor(seed) {
    this.state = [1, 2, 3, 4].map(k => {                   // spread over 128 bits by the last steps of murmur3
      let s = Math.imul(seed + k * 0x9e3779b9, 1) >>> 0;
      s = Math.imul(s ^ s >>> 16, 0x85ebca6b);
      s = Math.imul(s ^ s >>> 13, 0xc2b2ae35);
      return (s ^ s >>> 16) >>> 0;
    });
  }

  /** Return 32 random bits. */
  bits() {
    const s = this.state, rotated = (x, k) => x << k | x >>> 32 - k;
    const result = Math.imul(rotated(Math.imul(s[1], 5), 7), 9), t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotated(s[3], 11);
    return result >>> 0;
  }

  next() {
    return ((this.bits() >>> 5) * 2 ** 26 + (this.bits() >>> 6)) * 2 ** -53;
  }
}

/** Yield the numbers of an endless text, in which the network continues the characters of `prime`. */
function* written(network, prime, choice) {
  const random = new Random(choice.seed);
  network.reset();
  for (const x of prime.length ? prime : [Math.floor(random.next() * network.V)]) {
    network.read(x);
    yield x;
  }
  yield* continued(network, random, choice);
}

/** Yield the numbers of an endless text that continues what a network has read. */
function* continued(network, random, {temperature}) {
  for (;;) {
    const x = draw(tempered(network.logs(), temperature), random.next());
    network.read(x);
    yield x;
  }
}

// The network of charlstm.py in plain JavaScript: it reads a character and returns the probabilities of the next one.
//
//     a_k  = U[k].x + W[k].h + b[k]      k = f, i, o, g (forget, input, output, cell update)
//     h, C = cell(a_f, a_i, a_o, a_g, C, own)
//
// There are two such layers, and the second reads the h of the first; softmax(V.h2 + c) is the distribution of the next
// character. engine/kernel/cell.py writes the function cell from its formula in charlstm.py; own: the parameters of the
// cell itself, if it has any, and then two numbers, whether C of this unit is held (1 or 0) and at which value.
// Letters for sizes: V characters in the vocabulary, H units of a layer. A matrix is one long array, row after row, and
// the four gates of a layer lie one below the other: U (4H,n), W (4H,H), b (4H).
'use strict';

/** The functions that a cell may call: Math, and a few more. Comparisons give 0 or 1. */
const math = Object.assign(Object.create(Math), {
  sigmoid: a => 1 / (1 + Math.exp(-a)),
  softplus: a => Math.max(a, 0) + Math.log1p(Math.exp(-Math.abs(a))),
  clip: (a, low, high) => a < low ? low : a > high ? high : a,
  where: (which, yes, no) => which !== 0 ? yes : no,
  less: (a, b) => Number(a < b), less_equal: (a, b) => Number(a <= b),
  greater: (a, b) => Number(a > b), greater_equal: (a, b) => Number(a >= b),
  equal: (a, b) => Number(a === b), not_equal: (a, b) => Number(a !== b),
});

/**
 * Adds the product of a matrix (rows,columns) and a vector (columns) to sum (rows). It does four rows at a time, since
 * their sums do not wait for each other and each number of the vector is fetched only once for them.
 */
function addProduct(sum, matrix, vector) {
  const rows = sum.length, columns = vector.length, fours = rows - rows % 4;
  for (let row = 0; row < fours; row += 4) {
    const A = row * columns, B = A + columns, C = B + columns, D = C + columns;         // where the rows begin
    let a = 0, b = 0, c = 0, d = 0;
    for (let k = 0; k < columns; k++) {
      a += matrix[A + k] * vector[k];
      b += matrix[B + k] * vector[k];
      c += matrix[C + k] * vector[k];
      d += matrix[D + k] * vector[k];
    }
    sum[row] += a;
    sum[row + 1] += b;
    sum[row + 2] += c;
    sum[row + 3] += d;
  }
  for (let row = fours; row < rows; row++) {
    let total = 0;
    for (let k = 0; k < columns; k++) total += matrix[row * columns + k] * vector[k];
    sum[row] += total;
  }
}

/** Adds the products of a matrix and vectors to sums: lists, with one of each for every stream. */
function addProducts(sums, matrix, vectors) {
  sums.forEach((sum, stream) => addProduct(sum, matrix, vectors[stream]));
}

/** Adds one column of a matrix (rows,columns) to sum (rows): its product with a one-hot vector. */
function addColumn(sum, matrix, columns, column) {
  for (let row = 0; row < sum.length; row++) sum[row] += matrix[row * columns + column];
}

/** One layer of the LSTM, and in each stream its states h and C (H). */
class Layer {
  /** p: the parameters of the network by name; number: 1 or 2; count, products: as for Network. */
  constructor(p, number, count, products) {
    const rows = p[`b${number}`].length, zeros = length => Array.from({length: count}, () => new Float32Array(length));
    this.W = p[`W${number}`];
    this.products = products;
    this.a = zeros(rows);                                  // pre-activations of the gates f, i, o, g
    this.h = zeros(rows / 4);
    this.C = zeros(rows / 4);
    const own = Object.keys(p).filter(name => !EIGHT.includes(name) && name.endsWith(number));
    this.own = Array.from(this.h[0], (_, k) => Float32Array.of(...own.map(name => p[name][k]), 0, 0));   // by unit
  }

  /** Holds C of a unit at a value from the next step on. */
  hold(unit, value) {
    const own = this.own[unit];
    own.set([1, value], own.length - 2);
  }

  /**
   * A step of the first `count` streams. Their pre-activations begin with start (4H); addInputs adds to the list of
   * them. Returns the list of h.
   */
  step(count, start, addInputs = () => {}) {
    const [a, h, C] = [this.a, this.h, this.C].map(streams => streams.slice(0, count));
    for (const ofStream of a) ofStream.set(start);
    addInputs(a);
    this.products.add(a, this.W, h);
    for (let stream = 0; stream < count; stream++) this.update(a[stream], h[stream], C[stream]);
    return h;
  }

  /** Sets h and C (H) of a stream from its pre-activations a (4H). */
  update(a, h, C) {
    const {own} = this, H = h.length;
    for (let k = 0; k < H; k++) [h[k], C[k]] = cell(a[k], a[H + k], a[2 * H + k], a[3 * H + k], C[k], own[k]);
  }
}

const EIGHT = ['U1', 'W1', 'b1', 'U2', 'W2', 'b2', 'V', 'c'];

/** The network in one stream or in several. All streams read the same characters, from different states. */
class Network {
  /**
   * p: the parameters by name, the EIGHT and those of the cell, each a Float32Array. count: of the streams. products:
   * has the function addProducts as add(), or one that is faster. The states are zero.
   */
  constructor(p, count = 1, products = {add: addProducts}) {
    this.p = p;
    this.count = count;
    this.products = products;
    this.layer1 = new Layer(p, 1, count, products);
    this.layer2 = new Layer(p, 2, count, products);
  }

  /** Holds C of units at values from the next step on. held: a list of {layer, number, value}; number: of the unit. */
  hold(held) {
    for (const {layer, number, value} of held) this[`layer${layer}`].hold(number, value);
  }

  /** Reads a character, a number below V. Returns the probabilities (V) of the next one in the first stream. */
  read(x) {
    this.step(x);
    return softmax(Float64Array.from(this.scores(0)));      // so that hardly any is 0: a temperature may raise them
  }

  /** Reads a character in the first `count` streams. */
  step(x, count = this.count) {
    const {p} = this, start = Float32Array.from(p.b1);
    addColumn(start, p.U1, p.c.length, x);
    const h1 = this.layer1.step(count, start);
    this.layer2.step(count, p.b2, a => this.products.add(a, p.U2, h1));
  }

  /** V.h2 + c (V) in a stream. */
  scores(stream) {
    const scores = Float32Array.from(this.p.c);
    this.products.add([scores], this.p.V, [this.layer2.h[stream]]);
    return scores;
  }

  /** Logarithms (V) of the probabilities of a stream's next character, in float64: finite, however small they are. */
  logs(stream) {
    const scores = Float64Array.from(this.scores(stream)), {largest, sum} = powersOf(scores), log = Math.log(sum);
    return scores.map(score => score - largest - log);
  }

  /** Copies of the states h1, C1, h2, C2 of a stream, each (H). */
  states(stream) {
    return this.allStates().map(states => states[stream].slice());
  }

  /** Sets the states of a stream. */
  setStates(stream, values) {
    this.allStates().forEach((states, k) => states[stream].set(values[k]));
  }

  allStates() {
    return [this.layer1, this.layer2].flatMap(({h, C}) => [h, C]);
  }
}

/** The powers exp(s - largest) of scores s (V), which cannot overflow; the largest score; and the sum of the powers. */
function powersOf(scores) {
  const largest = scores.reduce((a, b) => Math.max(a, b));
  const powers = scores.map(score => Math.exp(score - largest));
  return {powers, largest, sum: powers.reduce((a, b) => a + b)};
}

/** exp(s) / sum exp(s) of scores s (V). */
function softmax(scores) {
  const {powers, sum} = powersOf(scores);
  return powers.map(power => power / sum);
}

/**
 * Probabilities (V) to the power 1 / temperature. Below 1, probable characters become more probable, above 1 less; at 0
 * only the most probable one remains.
 */
function tempered(p, temperature) {
  if (temperature === 1) return p;
  const largest = p.reduce((a, b) => Math.max(a, b), 0);
  if (temperature === 0) return p.map((value, k) => k === p.indexOf(largest) ? 1 : 0);
  return p.map(value => Math.pow(value / largest, 1 / temperature));
}

/** Probabilities (V), zero where they are below the topK-th largest. */
function likely(p, topK) {
  if (topK >= p.length) return p;
  const least = Float64Array.from(p).sort()[p.length - topK];
  return p.map(value => value < least ? 0 : value);
}

/** The number of a character, drawn from p (V) with a random number from 0 to below 1. p need not add up to 1. */
function draw(p, random) {
  const total = p.reduce((a, b) => a + b, 0);
  let sum = 0, last = 0;
  for (let k = 0; k < p.length; k++) {
    if (!p[k]) continue;                                   // never a character of probability 0
    sum += p[k];
    last = k;
    if (sum > random * total) break;
  }
  return last;
}

/** Random numbers from 0 to below 1 in steps of 2^-53, always the same for a seed: xoshiro128** (Blackman 2018). */
class Random {
  /** seed: a whole number from 0 to below 2^32. */
  constructor(seed) {
    this.state = [1, 2, 3, 4].map(k => {                   // spread over 128 bits by the last steps of murmur3
      let s = Math.imul(seed + k * 0x9e3779b9, 1) >>> 0;
      s = Math.imul(s ^ s >>> 16, 0x85ebca6b);
      s = Math.imul(s ^ s >>> 13, 0xc2b2ae35);
      return (s ^ s >>> 16) >>> 0;
    });
  }

  /** 32 random bits. */
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

/** A text that the network continues from some first characters, always the same for a seed. */
class Writer {
  /**
   * p: as for Network. prime: the numbers of the first characters; where it is empty, one is drawn at random.
   * choice: temperature, topK and seed. held: as for Network.hold. products: as for Network.
   */
  constructor(p, prime, choice, held = [], products) {
    this.choice = choice;
    this.random = new Random(choice.seed);
    this.network = new Network(p, 1, products);
    this.network.hold(held);
    this.prime = prime.length ? prime : [Math.floor(this.random.next() * p.c.length)];
    this.length = 0;                                       // of the text so far
  }

  /** Whether the next character is one of the first ones. */
  get begins() {
    return this.length < this.prime.length;
  }

  /** The number of the next character. */
  next() {
    const {temperature, topK} = this.choice;
    const x = this.begins ? this.prime[this.length] :
      draw(likely(tempered(this.expected, temperature), topK), this.random.next());
    this.expected = this.network.read(x);
    this.length++;
    return x;
  }
}

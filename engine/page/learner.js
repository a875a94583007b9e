// Training as in charlstm.py: truncated backpropagation through time, RMSprop, and running averages of the parameters.
//
// Several streams of a text are read side by side, T characters per training step, and each step starts from the last
// states of the step before. Slow functions are generators: they yield so that the page can react to the reader.

/** A text cut into B streams that are read side by side, in batches of T characters of each stream. */
class Streams {
  /** numbers: of the characters. Streams have at least LEAST characters if the text is long enough; T <= LONGEST. */
  constructor(numbers) {
    const MOST = 50, LEAST = 500, LONGEST = 50;
    this.numbers = numbers;
    this.B = Math.max(1, Math.min(MOST, Math.floor(numbers.length / LEAST)));
    this.length = Math.floor((numbers.length - 1) / this.B);
    this.batches = Math.ceil(this.length / LONGEST);
    this.T = Math.floor(this.length / this.batches);
  }

  /** Return the characters of a batch and their successors: two flat lists (T,B), time step after time step. */
  batch(number) {
    const {B, T, length, numbers} = this;
    const from = shift => Array.from({length: T * B}, (_, k) => (
      numbers[k % B * length + number * T + Math.floor(k / B) + shift]));
    return [from(0), from(1)];
  }
}

/**
 * Return initial parameters as with --initial chrono. cell: as in cell.js. units: of each layer. Each row has random
 * numbers of its own, from the seed and its name: rows of one name begin equal in all cells.
 */
function initialParameters(cell, V, units, seed) {
  const {names, rows, ofU, ofW, remembers, cell_p, matrices, constants} = cell, p = {}, last = units.at(-1);
  const randomOf = name => new Random(Array.from(name).reduce((sum, one) => (
    Math.imul(31, sum) + one.codePointAt(0) >>> 0), seed));
  const uniform = (letter, parts, length, H) => Float32Array.from(parts.flatMap(name => {
    const random = randomOf(letter + name);
    return Array.from({length}, () => (2 * random.next() - 1) / Math.sqrt(H));
  }));
  for (const [k, H] of units.entries()) {
    const number = k + 1, steps = randomOf('steps' + number);
    p['U' + number] = uniform('U' + number, names.slice(0, ofU), H * (k ? units[k - 1] : V), k ? H : 1);
    p['W' + number] = uniform('W' + number, names.slice(rows - ofW), H * H, H);
    p['b' + number] = uniform('b' + number, names, H, H);
    for (let unit = 0; unit < H >> 2; unit++) {            // these units remember for longer
      const log = Math.log(1 + 98 * steps.next());
      for (const [row, sign] of Object.entries(remembers)) p['b' + number][row * H + unit] = sign * log;
    }
    for (const [name, {[H]: initial = cell_p[name]}] of Object.entries(cell_p)) {      // a number, or one for each unit
      p[name + number] = Float32Array.from({length: H}, (_, j) => initial[j] ?? initial);
    }
    for (const name of matrices) p[name + number] = uniform(number, [name], H * H, H);
    for (const name of Object.keys(constants)) p[name + number] = Float32Array.from(constants[name][H]);
  }
  return {...p, V: uniform('V', [''], V * last, last), c: uniform('c', [''], V, last)};
}

/** A network in training. Gradients, averages and optimiser state have the same layout as the parameters. */
class Learner {
  /** p, cell: as for Network. B, T: streams and characters in a step. recipe: options of train.py for update(). */
  constructor(p, cell, B, T, recipe) {
    const network = this.network = new Network(p, cell, B, T), {memory, rows, size} = network;
    const [squares, sums] = [0, 0].map(() => new Float32Array(size));
    Object.assign(this, {B, recipe, size, squares, sums, averages: network.numbers.slice(0, size), averagedSteps: 0});
    this.gradients = memory.place(1, size).at;             // their offset in the memory
    const weights = Object.keys(p).filter(name => /^(W\d|U[2-9]|V)$/.test(name));
    this.back = Object.fromEntries(weights.map(name => {   // transposed, for the backward pass
      const {rows: inputs, columns} = network.places[name];
      return [name, memory.place(columns, inputs)];
    }));
    for (const layer of network.layers) {
      layer.da = memory.place(rows, layer.a.columns);
      layer.dh = memory.place(rows, layer.H);
      layer.dC = memory.place(2 * rows, layer.C.columns);  // after a step and before it, in turns
      layer.dCellP = memory.place(rows, layer.cell_p.length * layer.H);
      layer.factors = memory.place(rows, cell.factors * layer.H);
    }
    this.gradient = new Program(cell.backward, memory, Math.max(...network.layers.map(({H}) => H)));
    this.decay = new Float32Array(size).fill(recipe.weight_decay);
    for (const {at, rows: height, width} of network.constants) this.decay.fill(0, at, at + height * width);
    this.prepare();
  }

  /** Prepare copies of the current weights for the next step. */
  prepare() {
    const {numbers, places} = this.network;
    for (const [name, {at, width}] of Object.entries(this.back)) {
      const from = places[name];
      for (let r = 0; r < from.rows; r++) {
        for (let k = 0; k < from.columns; k++) numbers[at + k * width + r] = numbers[from.at + r * from.width + k];
      }
    }
  }

  /** Read x (T,B) and return the sum of the costs of y, in nats. Yields after each time step. */
  *forward(x, y) {
    const {network, B} = this, {rows} = network, T = x.length / B;
    let sum = 0;
    for (let t = 0; t < T; t++) {
      network.step(x.slice(t * B, (t + 1) * B), t);
      network.expect(t * rows, (t + 1) * rows);
      for (let s = 0; s < B; s++) sum += this.softmax(t * rows + s, y[t * B + s]);
      yield;
    }
    return sum;
  }

  /**
   * Set the gradients of the mean cost of y after x (T,B), which forward() has read, or, of the last step's cost, and
   * yield sizesOfGradient() after each step from the last to the first.
   */
  *backward(x, y, ofLast = false) {
    const {network, back, B, gradients} = this, {numbers, rows, scores, layers} = network, last = layers.at(-1);
    const fill = ({at, rows: height, width}) => numbers.fill(0, at, at + height * width);
    numbers.fill(0, gradients, gradients + this.size);
    for (const {dh, dC} of layers) [dh, dC].forEach(fill);
    for (let T = y.length / B, t = T - 1; t >= 0; t--) {
      const row = t * rows, after = row + rows, weight = !ofLast ? 1 / y.length : t === T - 1 ? 1 / B : 0;
      for (let s = 0; s < B; s++) this.scoresGradient(row + s, y[t * B + s], weight);
      this.addGradient('V', last.h, after, scores, scores.at + row * scores.width);
      network.addProduct(last.dh, 0, scores, row, back.V);
      const sizes = ofLast && this.sizesOfGradient(t);
      for (const layer of [...layers].reverse()) {
        const {number, h, da, dh, first, U} = layer, below = layers[number - 2];
        this.cellGradient(layer, t);
        if (below) this.addGradient('U' + number, below.h, after, da);
        else for (let s = 0; s < B; s++) this.addToGradient(U, x[t * B + s], da, s);
        this.addGradient('W' + number, h, row, da, da.at + first);
        this.matricesGradient(layer);
        fill(dh);
        network.addProduct(dh, 0, da, 0, back['W' + number], B, 0, first);
        if (below) network.addProduct(below.dh, 0, da, 0, back['U' + number]);
      }
      yield sizes;
    }
    for (const {at, rows: height, width, columns} of layers.flatMap(({U, matrices}) => [U, ...matrices])) {
      for (let r = 0; r < roundedUp(height, 4); r++) {     // the padding has the gradients of what is beside them
        numbers.fill(0, gradients + at + r * width + (r < height ? columns : 0), gradients + at + (r + 1) * width);
      }
    }
  }

  /**
   * Return L2 norms of the gradient of a stream's cost by the last layer's states after step t, the streams' median, by
   * name: h, and each state that is not equal to it.
   */
  sizesOfGradient(t) {
    const {numbers, layers, rows, cell: {states, forward: {outputs}}} = this.network, {H, dh, dC} = layers.at(-1);
    const places = {h: [dh]};
    for (const [k, name] of states.entries()) {
      const of = outputs[k] === outputs[states.length] ? 'h' : name;
      (places[of] ||= []).push({...dC, at: dC.at + (t + 1) % 2 * rows * dC.width + k * H});
    }
    const normOf = (of, s) => Math.hypot(...Array.from({length: H}, (_, k) => (
      of.reduce((sum, {at, width}) => sum + numbers[at + s * width + k], 0))));
    const medianOf = of => Float64Array.from({length: this.B}, (_, s) => normOf(of, s)).sort()[this.B >> 1];
    return Object.fromEntries(Object.entries(places).map(([name, of]) => [name, this.B * medianOf(of)])); // costs / B
  }

  /** Return sizesOfGradient() of the last letter's cost that many letters before: T of them. Yields often. */
  *reach(x, y) {
    const found = [];
    yield* this.forward(x, y);
    for (const sizes of this.backward(x, y, true)) yield found.push(sizes);
    return found;
  }

  /** Turn a row of scores into probabilities, and return the cost of character y in nats. */
  softmax(row, y) {
    const {numbers, scores, V} = this.network, first = scores.at + row * scores.width;
    let largest = -Infinity, sum = 0;
    for (let k = first; k < first + V; k++) largest = Math.max(largest, numbers[k]);
    const cost = largest - numbers[first + y];
    for (let k = first; k < first + V; k++) sum += numbers[k] = Math.exp(numbers[k] - largest);
    for (let k = first; k < first + V; k++) numbers[k] /= sum;
    return cost + Math.log(sum);
  }

  /** Turn a row of probabilities into the gradient of its scores, and add it to c's. weight: of y's cost. */
  scoresGradient(row, y, weight) {
    const {numbers, scores, places, V} = this.network, first = scores.at + row * scores.width;
    numbers[first + y]--;
    for (let k = first; k < first + V; k++) numbers[k] *= weight;
    this.addToGradient(places.c, 0, scores, row);
  }

  /** Add a row of a place to a row of the gradient of a matrix. */
  addToGradient({at, columns, width}, row, from, rowFrom) {
    const {numbers} = this.network, to = this.gradients + at + row * width, first = from.at + rowFrom * from.width;
    for (let k = 0; k < columns; k++) numbers[to + k] += numbers[first + k];
  }

  /** Add to a matrix's gradient the product of its inputs, from a row on, and the outputs' gradients. */
  addGradient(name, inputs, row, outputs, from = outputs.at) {
    const {at, rows, width} = this.network.places[name];
    this.network.memory.multiplyAdd(this.gradients + at, inputs.at + row * inputs.width, from, roundedUp(rows, 4),
      width, this.B, width, 1, inputs.width, outputs.width);
  }

  /** Add to the gradients of a layer's own matrices. */
  matricesGradient({number, H, da, factors}) {
    const {rows, matrices, pairs} = this.network.cell;
    const vector = k => k < rows ? {...da, at: da.at + k * H} : {...factors, at: factors.at + (k - rows) * H};
    for (const [k, v, g] of pairs) this.addGradient(matrices[k] + number, vector(v), 0, vector(g));
  }

  /** Set da, and dC for the previous step. Adds to the gradients of b and of the cell's own parameters. */
  cellGradient(layer, t) {
    const {H, kept, C, b, cell_p, da, dh, dC, dCellP, factors} = layer;
    const {rows, cell} = this.network, S = cell.states.length, row = t * rows;
    const dStates = step => valuesIn(dC, step % 2 * rows, S, H);
    this.gradient.run(H, this.B, [...valuesIn(da, 0, cell.rows, H), ...valuesIn(factors, 0, cell.factors, H),
      ...dStates(t), ...valuesIn(dCellP, 0, cell_p.length, H), ...valuesIn(kept, row, kept.columns / H, H),
      ...valuesIn(C, row, S, H), ...valuesIn(C, row + rows, S, H), ...this.network.cellPValues(layer),
      ...valuesIn(dh, 0, 1, H), ...dStates(t + 1)]);
    for (let s = 0; s < this.B; s++) {
      this.addToGradient(b, 0, da, s);
      cell_p.forEach((place, k) => this.addToGradient(place, 0, {...dCellP, at: dCellP.at + k * H}, s));
    }
  }

  /** Update the weights and their averages, like clip, rmsprop, limited and running_averages in charlstm.py. */
  update(rate) {
    const {squares, sums, averages, decay, size, network: {numbers}} = this;
    const gradients = numbers.subarray(this.gradients, this.gradients + size);
    const {drate, eps, momentum, grad_clip, step_clip, average} = this.recipe;
    let sum = 0;
    for (const g of gradients) sum += g * g;
    const norm = Math.sqrt(sum), scale = grad_clip && norm > grad_clip ? grad_clip / norm : 1;
    const limit = step_clip ? step_clip * rate : Infinity;
    this.averagedSteps++;
    const weight = Math.min(average, 1 - 10 / (this.averagedSteps + 9));
    for (let k = 0; k < size; k++) {
      const g = scale * gradients[k], square = squares[k] = drate * squares[k] + (1 - drate) * g * g;
      const v = sums[k] = momentum * sums[k] + g;
      const step = rate * ((1 - momentum) * v / (Math.sqrt(square) + eps) + decay[k] * numbers[k]);
      numbers[k] -= Math.max(-limit, Math.min(limit, step));
      averages[k] += (1 - weight) * (numbers[k] - averages[k]);
    }
    this.prepare();
  }

  /** Train on x and y (T,B). Returns the mean cost before, in nats a character; NaN if the gradient is not finite. */
  *step(x, y, rate) {
    const cost = (yield* this.forward(x, y)) / y.length, {numbers} = this.network;
    yield* this.backward(x, y);
    if (!numbers.subarray(this.gradients, this.gradients + this.size).every(isFinite)) return NaN;
    this.update(rate);
    this.network.carry(x.length / this.B);
    return cost;
  }
}

/** The training of a cell on a text, except for its end, which is held out. */
class Lesson {
  static HELD_OUT = 5000;                                  // characters at most, within the last tenth
  static PASSAGE = 800;                                    // how many of these are shown
  static SAMPLE = 300;                                     // characters written at each look

  /** text: {name, characters}. units: of each layer, all alike. options: data.learner, by for_learning in page.py. */
  constructor(cell, {name, characters}, units, {recipe, rates, temperature}) {
    const uchar = Array.from(new Set(characters)).sort(), codes = new Map(uchar.map((one, k) => [one, k]));
    const numbers = characters.map(one => codes.get(one)), end = Math.ceil(0.9 * numbers.length);
    const p = initialParameters(cell, uchar.length, units, 1);
    this.streams = new Streams(numbers.slice(0, end));
    this.heldOut = numbers.slice(end, end + Lesson.HELD_OUT);
    this.learner = new Learner(p, cell, this.streams.B, this.streams.T, recipe);
    this.network = new Network(p, cell);                   // with the averages, for look()
    this.passage = this.heldOut.slice(0, Lesson.PASSAGE).map(number => uchar[number]);
    Object.assign(this, {cell, name, units, uchar, recipe, rate: rates[units[0]], temperature, steps: 0,
      costs: [], looks: [], reach: [], seconds: 0, count: numbers.length,
      about: 'the beginning of the held-out last tenth of the text', unseen: numbers.length - end,
      size: Object.values(p).reduce((sum, {length}) => sum + length, 0)});
  }

  /** How many times the text was read for training. */
  get epochs() {
    return this.steps / this.streams.batches;
  }

  /** Train on the next batch. Yields often. */
  *step() {
    const {learner, streams, recipe} = this, batch = this.steps % streams.batches;
    const rate = Math.min(1, (this.steps + 1) / recipe.warmup) * this.rate;
    if (!batch) learner.network.reset();
    const begun = performance.now(), cost = yield* learner.step(...streams.batch(batch), rate);
    if (isNaN(cost)) throw this.error(learner.network.parameters());
    this.seconds += Math.min(1, (performance.now() - begun) / 1000);       // it may have been stopped in between
    this.costs.push(cost);
    this.steps++;
  }

  /** Return an Error that names the first line of the formula that is not finite in the held-out text. */
  error(p) {
    const {network, heldOut, cell} = this;
    network.load(p);
    network.reset();
    for (const x of heldOut) {
      network.read(x);
      for (const {H, forward} of network.layers) {
        const valuesOf = name => Array.from({length: H}, (_, unit) => forward.valueOf(name, unit));
        const wrong = cell.formula.find(([, , name]) => !valuesOf(name).every(isFinite));
        if (wrong) return new Error(`${wrong[0]} = ${wrong[1]} is the first line that is not finite.`);
      }
    }
    return new Error('The cost or its gradient is not finite, although each line is in the held-out text.');
  }

  /**
   * Evaluate the averaged parameters, and add a look: {time, training, valid, costs, sample}. time: in epochs.
   * training: mean cost since the last look, NaN at first. valid: mean cost of the held-out text. costs: of all
   * characters of its passage except the first. sample: what they write. With `reaches`, set reach, too, as
   * from Learner.reach().
   */
  *look(reaches) {
    const {network, heldOut, learner, uchar, streams} = this, costs = [];
    const p = learner.network.parameters(learner.averages);
    let sample = '';
    network.load(p);
    network.reset();
    for (let k = 0; k < heldOut.length - 1; k++, yield) {  // a Reading would also keep all states
      network.read(heldOut[k]);
      costs.push(-network.logs()[heldOut[k + 1]]);
    }
    if (!isFinite(mean(costs))) throw this.error(p);
    const lineEnd = uchar.indexOf('\n'), prime = lineEnd < 0 ? [] : [lineEnd];
    const characters = written(network, prime, {temperature: this.temperature, seed: 1});
    for (let k = 0; k < Lesson.SAMPLE; k++, yield) sample += uchar[characters.next().value];
    sample = sample.replace(/^\n|\s+\S*$/g, '');          // the prime, and what may be no whole word
    const look = {time: this.epochs, training: mean(this.costs), valid: mean(costs), sample,
      costs: costs.slice(0, Lesson.PASSAGE - 1)};
    this.costs = [];
    if (reaches) this.reach = yield* learner.reach(...streams.batch(this.steps % streams.batches));
    this.looks.push(look);
  }
}

/** Train lessons until stopped, a step of each in turn. Yields often. Looks at once and about every second: show(). */
function* trained(lessons, show, reaches) {
  const LONGEST = 10_000;                                  // milliseconds between two looks
  let seen = -Infinity, pause = 0;
  for (;;) {
    if (performance.now() - seen >= pause) {
      const begun = performance.now();
      for (const lesson of lessons) yield* lesson.look(reaches);
      show();
      seen = performance.now();
      pause = Math.min(LONGEST, Math.max(1000, 4 * (seen - begun)));       // looking takes about a fifth of the time
    }
    for (const lesson of lessons) yield* lesson.step();
  }
}

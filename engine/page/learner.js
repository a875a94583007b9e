// Learning: the gradient of the network by backpropagation through time, RMSprop and running averages, as charlstm.py.
//
// Several streams of a text are read side by side, T characters in a step, and the states go on to the next step.
// engine/kernel/cell.py writes the cell and its gradient, cellForward and cellBackward. The products are those of
// products.js. What is long is a generator, which yields so that the page can react to the reader.
// Letters for sizes: T characters, B streams, V characters in the vocabulary, H units of a layer.

/** A text cut into streams, which are read side by side: in batches of T characters of each of the B streams. */
class Streams {
  /** numbers: of the characters. longest: T at most. A stream has at least LEAST characters, if the text has. */
  constructor(numbers, longest = 50) {
    const MOST = 50, LEAST = 500;
    this.numbers = numbers;
    this.B = Math.max(1, Math.min(MOST, Math.floor(numbers.length / LEAST)));
    this.length = Math.floor((numbers.length - 1) / this.B);
    this.batches = Math.ceil(this.length / longest);
    this.T = Math.floor(this.length / this.batches);
  }

  /** The characters of a batch, and those that follow them: two lists (T,B), with the streams of one time together. */
  batch(number) {
    const {B, T, length, numbers} = this;
    const from = shift => Array.from({length: T * B}, (_, k) => (
      numbers[k % B * length + number * T + Math.floor(k / B) + shift]));
    return [from(0), from(1)];
  }
}

/**
 * A model that learns. In the memory a matrix (outputs,inputs) of the network is transposed, (inputs,outputs). A place
 * says where a matrix begins, its rows and columns, and `width`, how far a row is from the next one; the rest is zero.
 */
class Learner {
  /** Initial parameters by name, as of --initial chrono. own: initial values of the cell's own parameters by name. */
  static initial(V, H1, H2, own, random) {
    const uniform = (length, H) => Float32Array.from({length}, () => (2 * random.next() - 1) / Math.sqrt(H));
    const p = {U1: uniform(4 * H1 * V, 1), W1: uniform(4 * H1 * H1, H1), b1: uniform(4 * H1, H1),
      U2: uniform(4 * H2 * H1, H2), W2: uniform(4 * H2 * H2, H2), b2: uniform(4 * H2, H2),
      V: uniform(V * H2, H2), c: uniform(V, H2)};
    for (const [layer, H] of [[1, H1], [2, H2]]) {
      for (let unit = 0; unit < H >> 2; unit++) {          // these remember for longer
        p['b' + layer][unit] = Math.log(1 + 98 * random.next());
        p['b' + layer][H + unit] = -p['b' + layer][unit];
      }
      for (const [name, value] of Object.entries(own)) p[name + layer] = new Float32Array(H).fill(value);
    }
    return p;
  }

  /**
   * Parameters p, of a vocabulary, for another one that has all its entries. What belongs to new entries comes from
   * `fresh`, parameters of the other one, which are changed.
   */
  static carryOver(p, uchar, fresh, newUchar) {
    const V = uchar.length, newV = newUchar.length, H2 = p.V.length / V;
    uchar.map(entry => newUchar.indexOf(entry)).forEach((number, k) => {
      for (let row = 0; row < p.b1.length; row++) fresh.U1[row * newV + number] = p.U1[row * V + k];
      fresh.V.set(p.V.subarray(k * H2, k * H2 + H2), number * H2);
      fresh.c[number] = p.c[k];
    });
    return {...p, U1: fresh.U1, V: fresh.V, c: fresh.c};
  }

  /**
   * p: as for Network; it is copied. B, T: how many streams and characters a step has at most. recipe: options of
   * train.py by name, those that update() takes.
   */
  constructor(p, B, T, recipe) {
    const V = this.V = p.c.length, rows = this.rows = Memory.roundedUp(B, 4);
    let size = 0;
    this.B = B;
    this.recipe = recipe;
    this.averagedSteps = 0;
    const place = (rowsOfPlace, columns) => {
      const width = Memory.width(columns, 8), made = {at: size, rows: rowsOfPlace, columns, width};
      size += Memory.roundedUp(rowsOfPlace, 4) * width;
      return made;
    };
    const outputs = {U1: p.b1, W1: p.b1, U2: p.b2, W2: p.b2, V: p.c}, names = Object.keys(p);
    this.places = Object.fromEntries(names.map(name => {
      const columns = (outputs[name] || p[name]).length;
      return [name, place(p[name].length / columns, columns)];
    }));
    this.size = size;                                      // of all parameters
    size *= 2;                                             // their gradients follow them
    this.back = ['W1', 'U2', 'W2', 'V'].map(name => {
      const {rows: inputs, columns} = this.places[name];
      return {name, from: this.places[name], to: place(columns, inputs)};
    });
    [this.layer1, this.layer2] = [1, 2].map(number => {
      const b = this.places['b' + number], H = b.columns / 4, after = columns => place((T + 1) * rows, columns);
      return {H, b, own: names.filter(name => !EIGHT.includes(name) && name.endsWith(number)),
        a: place(T * rows, 4 * H), h: after(H), C: after(H),            // h and C before the first character come first
        da: place(rows, 4 * H), dh: place(rows, H), dC: place(rows, H)};
    });
    this.scores = place(T * rows, V);                      // and then the probabilities, and the gradient of the scores
    this.memory = new Memory(size);
    this.numbers = this.memory.numbers;
    this.weights = this.numbers.subarray(0, this.size);
    this.gradients = this.numbers.subarray(this.size, 2 * this.size);
    this.squares = new Float32Array(this.size);
    this.sums = new Float32Array(this.size);
    for (const [name, {at, rows: inputs, columns, width}] of Object.entries(this.places)) {
      Memory.transpose(p[name], 0, inputs, this.numbers, at, width, columns, inputs);
    }
    this.averages = this.weights.slice();
    this.prepare();
  }

  /** Makes what is computed from the weights. */
  prepare() {
    const {numbers} = this;
    for (const {from, to} of this.back) {
      Memory.transpose(numbers, from.at, from.width, numbers, to.at, to.width, from.rows, from.columns);
    }
    for (const layer of [this.layer1, this.layer2]) {
      layer.values = Array.from({length: layer.H}, (_, k) => (
        Float32Array.from(layer.own, name => numbers[this.places[name].at + k])));
      layer.dValues = layer.values.map(values => new Float64Array(values.length));
    }
  }

  /**
   * The mean cost of Streams, of no more streams and characters than a step has, by the averaged parameters. Weights
   * and states are afterwards as before.
   */
  *cost(streams) {
    const {weights, numbers, B} = this, trained = weights.slice();
    const states = this.statesBefore().map(({at, width}) => numbers.slice(at, at + this.rows * width));
    let sum = 0;
    weights.set(this.averages);
    this.prepare();
    this.B = streams.B;
    this.reset();
    for (let k = 0; k < streams.batches; k++) {
      sum += yield* this.forward(...streams.batch(k));
      this.carry(streams.T);
    }
    this.B = B;
    weights.set(trained);
    this.prepare();
    this.statesBefore().forEach(({at}, k) => numbers.set(states[k], at));
    return sum / (streams.batches * streams.T * streams.B);
  }

  /** Copies of numbers by parameter, as p of the constructor; of: weights, averages, squares, sums or gradients. */
  parameters(of = this.averages) {
    return Object.fromEntries(Object.entries(this.places).map(([name, {at, rows, columns, width}]) => {
      const array = new Float32Array(rows * columns);
      Memory.transpose(of, at, width, array, 0, rows, rows, columns);
      return [name, array];
    }));
  }

  /** Sets the states to zero. */
  reset() {
    for (const {at, width} of this.statesBefore()) this.numbers.fill(0, at, at + this.rows * width);
  }

  /** The places whose first rows are the states before the first character of a step. */
  statesBefore() {
    return [this.layer1, this.layer2].flatMap(({h, C}) => [h, C]);
  }

  /** Adds to rows of `to`, from a row on, the product of rows of `from` and a matrix. */
  addProduct(to, rowTo, from, rowFrom, matrix) {
    this.memory.multiplyAdd(to.at + rowTo * to.width, from.at + rowFrom * from.width, matrix.at, this.rows,
      matrix.width, matrix.rows, to.width, from.width, 1, matrix.width);
  }

  /** Adds to the gradient of a matrix what its inputs, from a row on, and the gradients of its outputs make it. */
  addGradient(name, inputs, row, outputs, rowOfOutputs) {
    const {at, rows, width} = this.places[name];
    this.memory.multiplyAdd(this.size + at, inputs.at + row * inputs.width, outputs.at + rowOfOutputs * outputs.width,
      Memory.roundedUp(rows, 4), width, this.B, width, 1, inputs.width, outputs.width);
  }

  /** Sets rows of a place, from a row on, to b, or to its sum with the row of U that x names for each stream. */
  begin(to, row, b, U, x, t) {
    const {numbers, B} = this, {width} = to;
    for (let s = 0; s < B; s++) {
      const first = to.at + (row + s) * width;
      numbers.copyWithin(first, b.at, b.at + width);
      const from = U ? U.at + x[t * B + s] * width : 0;
      for (let k = 0; U && k < width; k++) numbers[first + k] += numbers[from + k];
    }
  }

  /** Sets h and C after the character t, and keeps what backwardCells needs, in place of the pre-activations. */
  forwardCells({H, a, h, C, values}, t) {
    const {numbers, rows, B} = this;
    for (let s = 0; s < B; s++) {
      const gates = a.at + (t * rows + s) * a.width, before = (t * rows + s) * C.width, after = before + rows * C.width;
      for (let k = 0; k < H; k++) {
        cellForward(numbers, gates + k, C.at + before + k, h.at + after + k, C.at + after + k, values[k], H);
      }
    }
  }

  /** Sets da, and dC to that of the step before. Adds to the gradients of b and of the cell's own parameters. */
  backwardCells({H, a, C, b, da, dh, dC, values, dValues}, t) {
    const {numbers, rows, B} = this, db = this.size + b.at;
    for (let s = 0; s < B; s++) {
      const gates = a.at + (t * rows + s) * a.width, before = C.at + (t * rows + s) * C.width;
      const after = before + rows * C.width, of = s * dh.width, ofGates = da.at + s * da.width;
      for (let k = 0; k < H; k++) {
        cellBackward(numbers, gates + k, before + k, after + k, values[k], dh.at + of + k, dC.at + of + k, ofGates + k,
          dValues[k], H);
      }
      for (let k = 0; k < 4 * H; k++) numbers[db + k] += numbers[ofGates + k];
    }
  }

  /** Reads x (T,B) and returns the sum of the costs of y, in nats. Yields after each character of the streams. */
  *forward(x, y) {
    const {places, rows, layer1: one, layer2: two, B} = this, T = x.length / B;
    let sum = 0;
    for (let t = 0; t < T; t++) {
      const row = t * rows, after = row + rows;
      this.begin(one.a, row, places.b1, places.U1, x, t);
      this.addProduct(one.a, row, one.h, row, places.W1);
      this.forwardCells(one, t);
      this.begin(two.a, row, places.b2);
      this.addProduct(two.a, row, one.h, after, places.U2);
      this.addProduct(two.a, row, two.h, row, places.W2);
      this.forwardCells(two, t);
      this.begin(this.scores, row, places.c);
      this.addProduct(this.scores, row, two.h, after, places.V);
      for (let s = 0; s < B; s++) sum += this.softmax(row + s, y[t * B + s]);
      yield;
    }
    return sum;
  }

  /** Makes the states after T characters those before the next ones. */
  carry(T) {
    for (const {at, width} of this.statesBefore()) {
      const size = this.rows * width;
      this.numbers.copyWithin(at, at + T * size, at + (T + 1) * size);
    }
  }

  /** Sets the gradients of the mean cost of y after x (T,B), which forward has read. Yields as forward does. */
  *backward(x, y) {
    const {numbers, places, rows, layer1: one, layer2: two, B, V, scores} = this, T = y.length / B;
    const [W1, U2, W2, ofV] = this.back.map(({to}) => to);
    const fill = ({at, width}) => numbers.fill(0, at, at + rows * width);
    this.gradients.fill(0);
    for (const place of [one.dh, one.dC, two.dh, two.dC]) fill(place);
    for (let t = T - 1; t >= 0; t--) {
      const row = t * rows, after = row + rows;
      for (let s = 0; s < B; s++) this.scoresGradient(row + s, y[t * B + s], 1 / y.length);
      this.addGradient('V', two.h, after, scores, row);
      this.addProduct(two.dh, 0, scores, row, ofV);
      this.backwardCells(two, t);
      this.addGradient('U2', one.h, after, two.da, 0);
      this.addGradient('W2', two.h, row, two.da, 0);
      fill(two.dh);
      this.addProduct(two.dh, 0, two.da, 0, W2);
      this.addProduct(one.dh, 0, two.da, 0, U2);
      this.backwardCells(one, t);
      this.addGradient('W1', one.h, row, one.da, 0);
      this.addToColumns(x, t);
      fill(one.dh);
      this.addProduct(one.dh, 0, one.da, 0, W1);
      yield;
    }
    for (const {own, dValues} of [one, two]) {
      own.forEach((name, j) => dValues.forEach((d, k) => { numbers[this.size + places[name].at + k] = d[j]; }));
    }
  }

  /** Makes probabilities of a row of scores, and returns the cost of a character. */
  softmax(row, y) {
    const {numbers, V} = this, first = this.scores.at + row * this.scores.width;
    let largest = -Infinity, sum = 0;
    for (let k = first; k < first + V; k++) largest = Math.max(largest, numbers[k]);
    const cost = largest - numbers[first + y];
    for (let k = first; k < first + V; k++) sum += numbers[k] = Math.exp(numbers[k] - largest);
    for (let k = first; k < first + V; k++) numbers[k] /= sum;
    return cost + Math.log(sum);
  }

  /** Makes the gradient of a row of scores from its probabilities, and adds it to that of c. weight: of y's cost. */
  scoresGradient(row, y, weight) {
    const {numbers, V, scores, size, places: {c}} = this, first = scores.at + row * scores.width;
    numbers[first + y]--;
    for (let k = 0; k < V; k++) {
      numbers[first + k] *= weight;
      numbers[size + c.at + k] += numbers[first + k];
    }
  }

  /** Adds to the gradient of U1, whose inputs are one-hot. */
  addToColumns(x, t) {
    const {numbers, B, size, places: {U1}, layer1: {da}} = this;
    for (let s = 0; s < B; s++) {
      const to = size + U1.at + x[t * B + s] * U1.width, from = da.at + s * da.width;
      for (let k = 0; k < U1.width; k++) numbers[to + k] += numbers[from + k];
    }
  }

  /** Changes the weights and their averages by the gradients, as clip, rmsprop, limited and running_averages do. */
  update(rate) {
    const {weights, gradients, squares, sums, averages, recipe} = this;
    const {drate, eps, momentum, weight_decay, grad_clip, step_clip, average} = recipe;
    let sum = 0;
    for (const g of gradients) sum += g * g;
    const norm = Math.sqrt(sum), scale = grad_clip && norm > grad_clip ? grad_clip / norm : 1;
    const limit = step_clip ? step_clip * rate : Infinity;
    this.averagedSteps++;
    const kept = Math.min(average, 1 - 10 / (this.averagedSteps + 9));
    for (let k = 0; k < weights.length; k++) {
      const g = scale * gradients[k], square = squares[k] = drate * squares[k] + (1 - drate) * g * g;
      const v = sums[k] = momentum * sums[k] + g;
      const step = rate * ((1 - momentum) * v / (Math.sqrt(square) + eps) + weight_decay * weights[k]);
      weights[k] -= Math.max(-limit, Math.min(limit, step));
      averages[k] += (1 - kept) * (weights[k] - averages[k]);
    }
    this.prepare();
  }

  /** Learns from x and y (T,B). Returns the mean cost before that, in nats a character. */
  *step(x, y, rate) {
    const cost = (yield* this.forward(x, y)) / y.length;
    if (!Number.isFinite(cost)) throw new Error('The cost is no finite number any more: start anew.');
    yield* this.backward(x, y);
    this.update(rate);
    this.carry(x.length / this.B);
    return cost;
  }
}

/** A text that a model learns: all but its end, which is kept, and of which one passage is shown. */
class Lesson {
  /**
   * A function of one character of a text after the other. It returns 1 from an opening quotation mark to before the
   * closing one, else 0. An empty line ends all.
   */
  static insideQuotes(marks) {
    let inside = 0, before = '';
    return character => {
      if (before === '\n' && character === '\n') inside = 0;
      else if (marks.includes(character)) inside = 1 - inside;
      before = character;
      return inside;
    };
  }

  /** Where that passage of `length` characters begins of which about half is inside quotes. quoted: 1 or 0 for each. */
  static placeOfQuotes(quoted, length) {
    const STEP = 100, unevenness = at => Math.abs(quoted.slice(at, at + length).reduce((a, b) => a + b) - length / 2);
    let best = 0;
    for (let at = STEP; at + length <= quoted.length; at += STEP) if (unevenness(at) < unevenness(best)) best = at;
    return best;
  }

  /** Pearson's correlation of two lists of numbers, 0 where one is constant. */
  static correlationOf(a, b) {
    const dot = (u, v) => u.reduce((sum, value, k) => sum + value * v[k], 0);
    const centred = list => {
      const middle = list.reduce((sum, value) => sum + value, 0) / list.length;
      return list.map(value => value - middle);
    };
    const x = centred(a), y = centred(b);
    return dot(x, y) / (Math.sqrt(dot(x, x) * dot(y, y)) || 1);
  }

  /**
   * p: the parameters to begin with. numbers: of the text. quoted: for each, 1 inside quotes, else 0. recipe: as for
   * Learner, and warmup. rate: the learning rate after the first steps, in which it rises.
   */
  constructor(p, numbers, quoted, recipe, rate) {
    const KEPT = 0.1, MOST_KEPT = 5000, SHOWN = 800, from = Math.ceil(numbers.length * (1 - KEPT));
    const [kept, quotedKept] = [numbers, quoted].map(list => list.slice(from, from + MOST_KEPT));
    const at = Lesson.placeOfQuotes(quotedKept, SHOWN);
    this.streams = new Streams(numbers.slice(0, from));
    this.kept = new Streams(kept, this.streams.T);
    this.passage = kept.slice(at, at + SHOWN);
    this.quoted = quotedKept.slice(at, at + SHOWN);
    this.learner = new Learner(p, this.streams.B, this.streams.T, recipe);
    this.rate = step => rate * Math.min(1, (step + 1) / recipe.warmup);
    this.steps = 0;
    this.p = this.learner.parameters();                    // the averages of the last look
    this.products = new Products(this.p, 1);
  }

  /** How many characters were learned, those that were read again included. */
  get characters() {
    return this.steps * this.streams.T * this.streams.B;
  }

  /** Learns without end. Yields often. Calls show(look) at once and about every second, with what look() found. */
  *go(show) {
    const {learner, streams} = this;
    const LONGEST = 10_000;                                // milliseconds: a hidden tab may take minutes for a look
    let seen = -Infinity, pause = 0, costs = [];
    for (;;) {
      if (performance.now() - seen >= pause) {
        const begun = performance.now();
        show({...yield* this.look(), cost: costs.length ? costs.reduce((a, b) => a + b) / costs.length : null});
        seen = performance.now();
        pause = Math.min(LONGEST, Math.max(1000, 4 * (seen - begun)));     // looking takes about a fifth of the time
        costs = [];
      }
      const batch = this.steps % streams.batches;
      if (!batch) learner.reset();
      costs.push(yield* learner.step(...streams.batch(batch), this.rate(this.steps)));
      this.steps++;
    }
  }

  /**
   * What the averaged parameters p know: {p, kept, costs, unit, sample}. kept: mean cost of the kept part. costs: of
   * the characters of the passage but the first. unit: which follows quotation marks best in the passage, {layer,
   * number, r, cells}, with its correlation and its C after each character; null without such marks. sample: what it
   * writes, in numbers.
   */
  *look() {
    const SAMPLE = 300, now = this.learner.parameters(), kept = yield* this.learner.cost(this.kept);
    for (const [name, array] of Object.entries(now)) this.p[name].set(array);
    this.products.load();
    const network = new Network(this.p, 1, this.products), costs = [], cells = [];
    for (const number of this.passage) {
      if (cells.length) costs.push(-network.logs(0)[number]);
      network.step(number);
      cells.push(network.states(0).filter((_, k) => k % 2));
      yield;
    }
    const choice = {temperature: 0.7, topK: this.p.c.length, seed: 1}, sample = [];
    const writer = new Writer(this.p, [], choice, [], this.products);
    while (sample.length < SAMPLE) {
      sample.push(writer.next());
      yield;
    }
    return {p: now, kept, costs, unit: this.follower(cells), sample};
  }

  /** The unit of look(). cells: C of both layers after each character. */
  follower(cells) {
    if (new Set(this.quoted).size < 2) return null;
    const units = [0, 1].flatMap(layer => Array.from(cells[0][layer], (_, number) => {
      const ofUnit = cells.map(states => states[layer][number]);
      return {layer: layer + 1, number, cells: ofUnit, r: Lesson.correlationOf(ofUnit, this.quoted)};
    }));
    return units.reduce((best, unit) => Math.abs(unit.r) > Math.abs(best.r) ? unit : best);
  }
}

// The network of network.js in many streams at once. All read the same characters, from different states: this is how
// Why finds out what a text would mean to the model without one of its characters.

const EVERY = 50;                                          // characters from one kept state of a Reading to the next
const MOST_STREAMS = 101;                                  // at once
const SLICE_OF_READING = 30;                               // milliseconds between reactions to the reader
let products = null;                                       // of the model's matrices; made when it is needed

/** A layer: pre-activations a (fours,4H,4), states h and C (fours,H,4). */
class StreamLayer {
  constructor(p, number, fours) {
    ({b: this.b, own: this.own} = new Layer(p, number));
    this.H = this.b.length / 4;
    this.a = new Float32Array(fours * 4 * this.b.length);
    this.h = new Float32Array(fours * 4 * this.H);
    this.C = new Float32Array(fours * 4 * this.H);
  }

  /** Sets all pre-activations of a row to sum(row). */
  begin(fours, sum) {
    const {a} = this, rows = this.b.length;
    for (let row = 0; row < rows; row++) {
      const value = sum(row);
      for (let q = 0; q < fours; q++) a.fill(value, (q * rows + row) * 4, (q * rows + row + 1) * 4);
    }
  }

  /** The step of all cells from the pre-activations. */
  end(fours) {
    const {a, h, C, own, H} = this, gate = 4 * H;
    for (let q = 0; q < fours; q++) {
      for (let k = 0; k < 4 * H; k++) {
        const at = q * gate * 4 + k, state = q * gate + k;
        [h[state], C[state]] = cell(a[at], a[at + gate], a[at + 2 * gate], a[at + 3 * gate], C[state], own[k >> 2]);
      }
    }
  }
}

/** The network with the states of several streams. All are zero at first. */
class Streams {
  /** p: as for Network. count: of the streams. */
  constructor(p, count) {
    const fours = Math.ceil(count / 4);
    this.p = p;
    this.layers = [new StreamLayer(p, 1, fours), new StreamLayer(p, 2, fours)];
    this.states = this.layers.flatMap(layer => [layer.h, layer.C]);
  }

  /** Reads a character in the first `count` streams. Up to three streams after these change too: set them later. */
  read(x, count) {
    const {p} = this, [one, two] = this.layers, V = p.c.length, fours = Math.ceil(count / 4);
    one.begin(fours, row => p.b1[row] + p.U1[row * V + x]);
    products.add(one.a, 'W1', one.h, fours);
    one.end(fours);
    two.begin(fours, row => p.b2[row]);
    products.add(two.a, 'U2', one.h, fours);
    products.add(two.a, 'W2', two.h, fours);
    two.end(fours);
  }

  /** The states h1, C1, h2, C2 of a stream, each (H). */
  state(stream) {
    const first = H => (stream >> 2) * H * 4 + stream % 4;
    return this.states.map((values, j) => {
      const {H} = this.layers[j >> 1];
      return Float32Array.from({length: H}, (_, k) => values[first(H) + 4 * k]);
    });
  }

  /** Sets the states of a stream. */
  set(stream, state) {
    state.forEach((values, j) => {
      const first = (stream >> 2) * values.length * 4 + stream % 4;
      values.forEach((value, k) => { this.states[j][first + 4 * k] = value; });
    });
  }

  /** Logarithms of the probabilities (V) of a stream's next character. */
  logs(stream) {
    const scores = new Float32Array(this.p.c);
    addProduct(scores, this.p.V, this.state(stream)[2]);
    const largest = scores.reduce((a, b) => Math.max(a, b));
    const sum = scores.reduce((total, score) => total + Math.exp(score - largest), 0);
    return Float64Array.from(scores, score => score - largest - Math.log(sum));
  }
}

/** New streams of the model in the page; count: at most MOST_STREAMS. */
function newStreams(count) {
  const p = parameters(), matrix = (name, bias) => [p[name], p[bias].length];
  products = products || new Products(
    {W1: matrix('W1', 'b1'), U2: matrix('U2', 'b2'), W2: matrix('W2', 'b2')}, MOST_STREAMS);
  return new Streams(p, count);
}

/** What to say of the time that streams take: nothing, or why it is long. */
const slowness = () => products.run ? '' :
  ' This browser runs no WebAssembly, without which that takes many times as long.';

/** A text, numbers of characters, that one stream reads from its beginning. States are kept every EVERY characters. */
class Reading {
  constructor(numbers = []) {
    this.numbers = numbers;
    this.streams = newStreams(1);
    this.kept = [this.streams.state(0)];
    this.at = 0;                                           // how many characters the stream has read
  }

  /** Takes another text in place of this one. Returns how many characters both begin with: these are not read again. */
  replace(numbers) {
    let same = 0;
    while (same < numbers.length && numbers[same] === this.numbers[same]) same++;
    this.numbers = numbers;
    this.kept.length = Math.min(this.kept.length, Math.floor(same / EVERY) + 1);
    if (this.at > same) this.at = Infinity;                // the stream has read what is gone
    return same;
  }

  /** Reads the first k characters. Yields the share that is read, before each character. */
  *to(k) {
    const nearest = Math.min(this.kept.length - 1, Math.floor(k / EVERY));
    if (this.at > k || this.at < nearest * EVERY) {
      this.streams.set(0, this.kept[nearest]);
      this.at = nearest * EVERY;
    }
    while (this.at < k) {
      yield this.at / k;
      this.streams.read(this.numbers[this.at], 1);
      this.at++;
      if (this.at % EVERY === 0) this.kept[this.at / EVERY] = this.streams.state(0);
    }
  }
}

/**
 * Runs a generator in slices, between which the page reacts to the reader. Calls show() after each slice with what was
 * yielded last, until the generator ends. Returns a function that stops it.
 */
function inSlices(work, show) {
  let timer = 0;
  const slice = () => {
    const end = performance.now() + SLICE_OF_READING;
    let found = work.next();
    while (!found.done && performance.now() < end) found = work.next();
    if (found.done) return;
    timer = setTimeout(slice);
    show(found.value);
  };
  slice();
  return () => clearTimeout(timer);
}

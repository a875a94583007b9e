// Texts that a network reads: in slices, and again where they change or without one of their characters.

/** A text that a network reads, in one stream. States are kept every EVERY characters, and it is read on from them. */
class Reading {
  static EVERY = 50;

  /** network: whose states are zero. numbers: of the characters. */
  constructor(network, numbers = []) {
    this.numbers = numbers;
    this.network = network;
    this.kept = [network.states(0)];                       // after k EVERY characters, or undefined
    this.at = 0;                                           // how many characters the stream has read
  }

  /** Keeps the states after the first k characters, a multiple of Reading.EVERY. */
  keep(k, states) {
    this.kept[k / Reading.EVERY] = states;
  }

  /** Takes another text in place of this one. Returns how many characters both begin with: these are not read again. */
  replace(numbers) {
    let same = 0;
    while (same < numbers.length && numbers[same] === this.numbers[same]) same++;
    this.numbers = numbers;
    this.kept.length = Math.min(this.kept.length, Math.floor(same / Reading.EVERY) + 1);
    if (this.at > same) this.at = Infinity;                // the stream has read what is gone
    return same;
  }

  /**
   * Reads the first k characters, from the nearest states. Yields before each character: the share of these that is
   * read or, where they are a part of what is read, the share of all that.
   */
  *to(k, share = null) {
    const {EVERY} = Reading;
    let nearest = Math.min(this.kept.length - 1, Math.floor(k / EVERY));
    while (!this.kept[nearest]) nearest--;
    if (this.at > k || this.at < nearest * EVERY) {
      this.network.setStates(0, this.kept[nearest]);
      this.at = nearest * EVERY;
    }
    while (this.at < k) {
      yield share ?? (this.at - nearest * EVERY) / (k - nearest * EVERY);
      this.network.step(this.numbers[this.at]);
      this.at++;
      if (this.at % EVERY === 0 && !this.kept[this.at / EVERY]) this.keep(this.at, this.network.states(0));
    }
  }

  /**
   * Finds what leaving out each of the characters from `first` to before k changes. Yields as it goes on. Returns
   * logarithms of probabilities (V) of the character k: after the whole text, and without each of these.
   *
   * Stream 0 of the network reads everything. Another begins at each character, with what stream 0 remembered before
   * it. So the network needs k - first + 1 streams.
   */
  *withoutEach(k, first, network) {
    yield* this.to(first);
    network.setStates(0, this.network.states(0));
    for (let j = first; j < k; j++) {
      yield 1;
      const before = network.states(0);
      network.step(this.numbers[j], j - first + 1);
      network.setStates(j - first + 1, before);
    }
    return {whole: network.logs(0), without: Array.from({length: k - first}, (_, j) => network.logs(j + 1))};
  }
}

/**
 * Runs a generator in slices, between which the page reacts to the reader. Calls show() after each slice with what was
 * yielded last, until the generator ends. Returns a function that stops it.
 */
function inSlices(work, show) {
  const SLICE = 30;                                        // milliseconds between reactions to the reader
  let timer = 0;
  const slice = () => {
    const end = performance.now() + SLICE;
    let found = work.next();
    while (!found.done && performance.now() < end) found = work.next();
    if (found.done) return;
    timer = setTimeout(slice);
    show(found.value);
  };
  slice();
  return () => clearTimeout(timer);
}

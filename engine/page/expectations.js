// What a model expected in the text.

class Expectations {
  static NOTHING_BEFORE = 'The first character: nothing came before it to expect it from.';

  /** Of data of the page. The arrays are on all characters of the text but the first. */
  constructor({uchar, bytes, text, costs, best, chances}) {
    this.vocabulary = new Vocabulary({uchar, bytes});
    [this.text, this.costs, this.best, this.chances] = [text, costs, best, chances].map(array);
  }

  /** Bars of the characters that the model expected in the place of the character k, and of the one that came. */
  bars(k) {
    const {text, costs, best, chances} = this, K = best.length / costs.length, first = (k - 1) * K, came = text[k];
    const rows = Array.from(best.subarray(first, first + K), (number, j) => [number, chances[first + j]]);
    if (!rows.some(([number]) => number === came)) rows.push([came, Math.exp(-costs[k - 1])]);
    return element('div', 'bars', ...rows.flatMap(([number, p]) => (
      bar(this.vocabulary.nameOf(number), p, format.percent(p), number === came ? 'came' : ''))));
  }
}

// How numbers and texts are written.

const mean = numbers => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;

const format = {
  natsAndBits: cost => `${cost.toFixed(3)} nats (${(cost / Math.LN2).toFixed(3)} bits)`,
  twoDigits: number => number.toFixed(2).replace('-', '\u2212'),
  signed: number => (number < 0 ? '' : '+') + format.twoDigits(number),
  grouped: n => Math.round(n).toLocaleString('en'),
  percent: p => p < 5e-6 ? 'under 0.001 %' : (100 * p).toFixed(p < 0.001 ? 3 : p < 0.1 ? 1 : 0) + ' %',

  /**
   * A text with escapes, as in Python, for controls, halves of pairs, marks that are invisible or reverse others, and
   * U+FFFE and U+FFFF, which XML does not allow.
   */
  visible(text) {
    const hidden =
      /[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufffe\uffff]|\p{Cs}/gu;
    return text.replace(hidden, character => {
      const code = character.codePointAt(0).toString(16);
      return code.length < 3 ? '\\x' + code.padStart(2, '0') : '\\u' + code.padStart(4, '0');
    });
  },

  /** A text on one line, with a mark for each line end. */
  onOneLine: text => format.visible(text).replace(/\n/g, '\u21b5'),
};

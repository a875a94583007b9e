// The characters of a model: their numbers, and their names.

/** The entries of a model, which are characters or, where it learned bytes, bytes. */
class Vocabulary {
  /** uchar: the entries in the order of their numbers. bytes: whether they are bytes. */
  constructor({uchar, bytes}) {
    this.uchar = uchar;
    this.bytes = bytes;
    this.numbers = new Map(uchar.map((entry, number) => [entry, number]));
  }

  /** What the entries are, in the singular: costs are means over these. */
  get entryName() {
    return this.bytes ? 'byte' : 'character';
  }

  /** The byte that an entry stands for, where the model learned bytes. */
  static byteOf(entry) {
    return entry.charCodeAt(0) & 255;
  }

  /** The entries that a character is: itself or, in a vocabulary of bytes, each of its bytes. */
  static entriesOf(character, bytes) {
    const asByte = byte => String.fromCharCode(byte > 127 ? 0xdc00 + byte : byte);
    return bytes ? Array.from(new TextEncoder().encode(character), asByte) : [character];
  }

  /** The first characters of a text: `most`, and another one if there are more. */
  static firstOf(text, most) {
    const enough = text.slice(0, 2 * (most + 1));          // a character has up to two units of UTF-16
    return Array.from(enough).slice(0, most + 1);
  }

  /** The name of a character in a list. */
  static named(character) {
    const names = {' ': 'space', '\n': 'line end', '\t': 'tab', '\xa0': 'no-break space'};
    return names[character] || (/\p{M}/u.test(character) ? '\u25cc' : '') + format.visible(character);
  }

  /** The names of characters that a model does not have, at most ten; '' if it has all. characters: of charactersOf. */
  static unknownOf(characters) {
    const MOST = 10, unknown = characters.filter(({numbers}) => !numbers).map(({character}) => character);
    const distinct = Array.from(new Set(unknown)), names = distinct.slice(0, MOST).map(Vocabulary.named).join(' ');
    return names + (distinct.length > MOST ? ' and others' : '');
  }

  /** The name of the entry of a number. */
  nameOf(number) {
    const entry = this.uchar[number], isByte = this.bytes && entry > '\x7f';
    return isByte ? '\\x' + Vocabulary.byteOf(entry).toString(16) : Vocabulary.named(entry);
  }

  /** A function that takes numbers, one at a time, and returns what each adds to a text. Joins bytes. */
  speller() {
    if (!this.bytes) return number => this.uchar[number];
    const decoder = new TextDecoder();
    return number => decoder.decode(Uint8Array.of(Vocabulary.byteOf(this.uchar[number])), {stream: true});
  }

  /**
   * The characters of a text, each {character, numbers}: one number, or several where the model learned bytes, or null
   * where the model does not have the character.
   */
  charactersOf(text) {
    return Array.from(text, character => {
      const numbers = Vocabulary.entriesOf(character, this.bytes).map(entry => this.numbers.get(entry));
      return {character, numbers: numbers.includes(undefined) ? null : numbers};
    });
  }

  /** A text as numbers. Throws an Error that names the characters that the model does not have. */
  numbersOf(text) {
    const characters = this.charactersOf(text), unknown = Vocabulary.unknownOf(characters);
    if (unknown) throw new Error(`The model never saw ${unknown}: leave that out.`);
    return characters.flatMap(({numbers}) => numbers);
  }
}

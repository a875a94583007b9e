// What cells may follow: the features of a text, as in engine/data/features.py.

/** Return the features by name: a number at each of the characters, which are a list. */
function featuresOf(characters) {
  const fold = step => {                                   // from the last number to the next
    let last = 0;
    return characters.map((character, k) => last = step(last, character, characters[k - 1]));
  };
  const since = begins => fold((count, character) => begins.test(character) ? 0 : count + 1);
  const depths = step => fold((depth, character, before) => (
    character === '\n' && before === '\n' ? 0 : step(depth, character)));          // a blank line closes all
  const turn = character => '([{'.includes(character) - ')]}'.includes(character);
  return {
    'inside quotes': depths((depth, character) => /["\u201c\u201d\u201e\xab\xbb]/.test(character) ? 1 - depth : depth),
    'inside brackets': depths((depth, character) => Math.max(0, depth + turn(character))).map(d => Math.min(1, d)),
    'position in the line': since(/\n/),
    'position in the word': since(/[^\p{L}\p{N}]/u),
    'capital letters': characters.map(character => Number(/\p{Uppercase}/u.test(character))),
    'distance to the last full stop': since(/[.\u3002]/),
  };
}

/** Return one of the states of a Reading after each character that has been read. place: its index in all states. */
const valuesAt = ({done, allStates, width}, place) => (
  Float32Array.from({length: done}, (_, k) => allStates[k * width + place]));

// The view in which the reader guesses characters of the text, as in Shannon's game (Prediction and entropy of printed
// English, 1951), and the model too: it guesses in the order of its probabilities.
//
// The score of r guesses is -log2 q(r) bits, where q(r) is the share of all characters of the text that the model found
// with r guesses. If all guesses were wrong, log2 of the number of the other characters is added. From a message of
// so many bits somebody who guesses alike could restore the text: the mean is an upper bound of the guesser's surprise.
// Shannon's own bounds use the shares q of the guesser; they need hundreds of places, and ten would give too few bits.

/** expected: what the model of the page expected. */
function guessView(text, expected) {
  const PLACES = 10;
  const SHOWN_BEFORE = 500, LEAST_BEFORE = 100;            // characters before a place
  const {numbers} = text, {costs, best} = expected, {vocabulary} = model, n = numbers.length;
  const TRIES = best.length / (n - 1);                     // guesses at a place: as many as the page has of the model
  let places = [], place = 0, guesses = [];                // numbers of characters; index; an array of guesses a place

  /** How many guesses the model needs for the character k, TRIES + 1 where all are wrong. */
  function guessesOfModel(k) {
    const at = best.subarray((k - 1) * TRIES, k * TRIES).indexOf(numbers[k]);
    return at < 0 ? TRIES + 1 : at + 1;
  }

  /** The bits of 1, 2, ... TRIES guesses, and of TRIES wrong ones. One is added to each count, so that none is 0. */
  function bitsByGuesses() {
    const counts = new Array(TRIES + 1).fill(1), total = n - 1 + counts.length;
    for (let k = 1; k < n; k++) counts[guessesOfModel(k) - 1]++;
    const bits = counts.map(count => -Math.log2(count / total));
    bits[TRIES] += Math.log2(Math.max(1, data.uchar.length - TRIES));
    return bits;
  }

  /** Whether a reader can type a character: no control, and no byte that is a part of one. */
  function canBeTyped(number) {
    const entry = data.uchar[number];
    return format.visible(entry) === entry && !(data.bytes && entry > '\x7f');
  }

  /** The places of a seed, in the order of the text, so that none is shown before it is guessed. */
  function choosePlaces(seed) {
    const random = new Random(seed), first = Math.max(1, Math.min(LEAST_BEFORE, Math.floor(n / 2))), found = [];
    for (let k = first; k < n; k++) if (canBeTyped(numbers[k])) found.push(k);
    if (!found.length) throw new Error('No character of this text can be typed.');
    for (let j = 0; j < Math.min(PLACES, found.length); j++) {
      const other = j + Math.floor(random.next() * (found.length - j));
      [found[j], found[other]] = [found[other], found[j]];
    }
    return found.slice(0, PLACES).sort((a, b) => a - b);
  }

  const namesOf = tries => tries.map(number => vocabulary.nameOf(number)).join(' ');

  // ---- a round

  const tried = () => guesses[place];
  const solved = () => tried().includes(numbers[places[place]]);
  const finished = () => solved() || tried().length === TRIES;

  function showPart(...names) {
    for (const part of ['guess-round', 'guess-result', 'guess-start']) byId(part).hidden = !names.includes(part);
  }

  function beginRound() {
    places = choosePlaces(form.number('guess-seed'));
    guesses = places.map(() => []);
    place = 0;
    showPart('guess-round');
    showPlace();
  }

  /** Shows the text before the place, and waits for a guess. */
  function showPlace() {
    const k = places[place], shown = text.spelled.slice(Math.max(0, k - SHOWN_BEFORE), k);
    const before = shown.map(character => character && glyphs.marked(character));
    byId('guess-earlier').textContent = (k > SHOWN_BEFORE ? '\u2026' : '') + before.slice(0, -40).join('');
    byId('guess-last').textContent = before.slice(-40).join('');
    byId('guess-asked').textContent = '?';
    sayGuesses('');
    byId('guess-typed').focus();
    byId('guess-before').scrollTop = byId('guess-before').scrollHeight;
  }

  /** Says how the last guess was, and what comes next. */
  function sayGuesses(answer) {
    const done = finished();
    for (const control of byId('guess-keys').querySelectorAll('input, button')) control.disabled = done;
    byId('guess-next').hidden = !done;
    byId('guess-next').textContent = place + 1 < places.length ? 'Next place' : 'Show the score';
    const sentences = [`Place ${place + 1} of ${places.length}.`, answer];
    if (!done) sentences.push(`Guess ${tried().length + 1} of ${TRIES}.`);
    byId('guess-status').textContent = sentences.filter(String).join(' ');
    byId('guess-wrong').hidden = true;
    byId('guess-tried').textContent = tried().length ? 'Tried: ' + namesOf(tried()) : '';
  }

  /** Takes a guess, the number of a character. */
  function guess(number) {
    const name = vocabulary.nameOf(number);
    if (tried().includes(number)) return sayGuesses(`${name} was tried before, and is not counted again.`);
    tried().push(number);
    if (!finished()) return sayGuesses(`Not ${name}.`);
    const came = vocabulary.nameOf(numbers[places[place]]), count = tried().length;
    byId('guess-asked').textContent = came;
    sayGuesses(solved() ? `Yes, ${came}: ${count} ${count > 1 ? 'guesses' : 'guess'}.` :
      `Not ${name}: it was ${came}.`);
    byId('guess-next').focus();
  }

  /** Takes what was typed as a guess. */
  function takeTyped() {
    const typed = byId('guess-typed').value;
    byId('guess-typed').value = '';
    if (!typed) return;
    form.attempt(() => {
      const found = vocabulary.numbersOf(typed);
      if (found.length !== 1) throw new Error('Expected one character.');
      guess(found[0]);
    }, byId('guess-wrong'));
  }

  function nextPlace() {
    place++;
    if (place < places.length) return showPlace();
    place--;
    showScore();
  }

  // ---- the score

  /** The bits of the places: the reader's, those of the model that guesses too, and those of its probabilities. */
  function scoresOf() {
    const bits = bitsByGuesses();
    const reader = places.map((k, j) => bits[guesses[j].includes(numbers[k]) ? guesses[j].length - 1 : TRIES]);
    return [['You', reader], ['The model, guessing as you did', places.map(k => bits[guessesOfModel(k) - 1])],
      ['The model, by its probabilities', places.map(k => costs[k - 1] / Math.LN2)]];
  }

  const guessCount = count => count > TRIES ? 'not found' : count > 1 ? `${count} guesses` : '1 guess';

  /** An element on a place: the reader's guesses, the model's, and what the model expected. */
  function answerOf(k, tries) {
    const reader = tries.includes(numbers[k]) ? tries.length : TRIES + 1;
    return element('li', 'card', text.contextOf(k),
      element('p', 'number', glyphs.inBold(numbers[k]), `. You: ${guessCount(reader)} (`,
        element('bdi', '', namesOf(tries)),
        `). The model: ${guessCount(guessesOfModel(k))}; ${(costs[k - 1] / Math.LN2).toFixed(2)} bits by its `,
        'probabilities.'),
      expected.bars(k));
  }

  function showScore() {
    const scores = scoresOf().map(([who, bits]) => [who, mean(bits)]);
    const most = Math.max(...scores.map(([, bits]) => bits));
    byId('guess-scores').replaceChildren(...scores.flatMap(([who, bits], j) => (
      bar(who, bits / (most || 1), `${bits.toFixed(2)} bits`, j ? '' : 'came'))));
    byId('guess-answers').replaceChildren(...places.map((k, j) => answerOf(k, guesses[j])));
    byId('guess-seed').value = (Number(byId('guess-seed').value) + 1) % 2 ** 32;
    showPart('guess-result', 'guess-start');
    byId('guess-heading').focus();
  }

  // ---- the controls

  /** A button that guesses a character which some keyboards cannot type into a field. */
  function buttonOf(character) {
    const number = data.uchar.indexOf(character), button = element('button', 'button', vocabulary.nameOf(number));
    button.type = 'button';
    button.addEventListener('click', () => {
      byId('guess-typed').focus();
      guess(number);
    });
    return button;
  }

  const typed = byId('guess-typed'), spaces = [' ', '\n', '\t'].filter(character => data.uchar.includes(character));
  byId('guess-own').hidden = !data.own;
  for (const part of document.querySelectorAll('.tries')) part.textContent = TRIES;
  byId('guess-keys').append(...spaces.map(buttonOf));
  byId('guess-start').addEventListener('submit', event => {
    event.preventDefault();
    form.attempt(beginRound, byId('guess-wrong'));
  });
  byId('guess-next').addEventListener('click', nextPlace);
  byId('guess-take').addEventListener('click', () => {
    typed.focus();
    takeTyped();
  });
  typed.addEventListener('input', event => event.isComposing || takeTyped());
  typed.addEventListener('compositionend', takeTyped);
  typed.addEventListener('keydown', event => {
    if (event.key !== 'Enter' || event.isComposing) return;
    event.preventDefault();
    if (typed.value) takeTyped();
    else if (spaces.includes('\n')) guess(data.uchar.indexOf('\n'));
  });
  return {title: 'Guess'};
}

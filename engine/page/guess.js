// The mode Guess of Surprise: at ten places in the text, the reader and the model each guess the next character. The
// model's guess is the most probable one.

function guessMode() {
  const PLACES = 10, BEFORE = 300, LEAST_BEFORE = 30;      // places; characters shown before one: most, least
  let places = [], right = {you: 0, model: 0}, at = 0;

  /** Return random places in the order of the text, so that no answer is shown before it is guessed. */
  function choosePlaces() {
    const n = text.notWritten, first = Math.min(LEAST_BEFORE, n - 1), chosen = new Set();
    while (chosen.size < Math.min(PLACES, n - first)) chosen.add(first + Math.floor(Math.random() * (n - first)));
    return Array.from(chosen).sort((a, b) => a - b);
  }

  function begin() {
    places = choosePlaces();
    right = {you: 0, model: 0};
    at = 0;
    byId('guess-score').textContent = `${places.length} places. Upper and lower case differ.`;
    ask();
  }

  function ask() {
    const k = places[at], spelled = text.spelled.slice(Math.max(0, k - BEFORE), k).join('');
    byId('guess-before').replaceChildren(element('bdi', '', '\u2026' + format.visible(spelled)),
      element('span', 'asked', '?'));
    byId('guess-before').scrollTop = byId('guess-before').scrollHeight;
    byId('guess-typed').value = '';
    for (const id of ['guess-typed', 'guess-space', 'guess-line']) byId(id).disabled = false;
    byId('where').replaceChildren(`Place ${at + 1} of ${places.length}: what comes next?`);
    byId('guess-next').hidden = true;
    byId('guess-typed').focus({preventScroll: true});
  }

  /** Score a guessed character, and show the answer. */
  function take(guess) {
    const k = places[at], {costs, best} = text.expected, came = text.numbers[k];
    const models = best[(k - 1) * best.length / costs.length], wasRight = vocabulary.numbers.get(guess) === came;
    right.you += wasRight;
    right.model += models === came;
    at++;
    for (const id of ['guess-typed', 'guess-space', 'guess-line']) byId(id).disabled = true;
    byId('where').replaceChildren(element('p', '', `${wasRight ? 'Yes' : 'No'}, it is `, vocabulary.inBold(came),
      '. You: ', element('b', '', element('bdi', '', Vocabulary.named(guess))), '; the model: ',
      vocabulary.inBold(models), '.'), barsOf(text.expected, k));
    byId('guess-score').textContent = `You ${right.you}, model ${right.model} of ${at}.`;
    byId('guess-next').textContent = at < places.length ? 'Next place' : 'Play again';
    byId('guess-next').hidden = false;
    byId('guess-next').focus();
  }

  const takeTyped = () => byId('guess-typed').value && take(Array.from(byId('guess-typed').value)[0]);
  on('guess-typed', 'input', event => event.isComposing || takeTyped());
  on('guess-typed', 'compositionend', takeTyped);
  on('guess-space', 'click', () => take(' '));
  on('guess-line', 'click', () => take('\n'));
  on('guess-next', 'click', () => at < places.length ? ask() : begin());
  return {follow: () => {}, isStriking: () => true, show: () => text.own ? state.change({mode: 'surprise'}) : begin(),
    table: () => modesByName().surprise.table()};
}

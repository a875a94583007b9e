// The view Learn: a model learns a text in the browser, from nothing or from the page's model. Every second it shows
// what it writes, what it expects in a part that it does not learn, and which unit follows quotation marks.

function learnView() {
  const LEAST = 500;                                       // characters of a text
  const {recipe, rates, own, quotes, about, formula} = data.learner;
  let lesson = null, learning = null, vocabulary = null;   // what learns: a Lesson; its work; its {uchar, bytes}
  let stop = () => {}, running = false;
  let shown = null;                                        // the parameters of the last look
  let rows = [];                                           // thousands of characters that were read, both costs
  let spans = [], spansOfUnit = [];                        // of the passage

  /** The text of the box or, if that is empty, of the page. */
  function chosenText() {
    return byId('learn-text').value || Array.from(array(data.text), speller()).join('');
  }

  /** The entries of a vocabulary for a text, those of `before` included, in the order of their codes. */
  function vocabularyOf(text, before, bytes) {
    const characters = Array.from(new Set(text)), entries = characters.flatMap(ch => entriesOf(ch, bytes));
    return Array.from(new Set([...before, ...entries])).sort((a, b) => a.codePointAt(0) - b.codePointAt(0));
  }

  function begin() {
    const text = chosenText(), goesOn = byId('learn-from').value === 'model', bytes = goesOn && data.bytes;
    if (text.length < LEAST) {
      throw new Error(`The text has ${grouped(text.length)} characters: paste at least ${LEAST}.`);
    }
    const uchar = vocabularyOf(text, goesOn ? data.uchar : [], bytes), seed = 1;
    const units = Number(byId('learn-units').value), old = parameters();
    const [H1, H2] = goesOn ? [old.b1.length / 4, old.b2.length / 4] : [units, units];
    const fresh = initialParameters(uchar.length, H1, H2, own, new Random(seed));
    vocabulary = {uchar, bytes};
    const characters = charactersOf(text, vocabulary), numbers = characters.flatMap(character => character.numbers);
    const inside = insideQuotes(characters.map(({character}) => character), quotes);
    const quoted = characters.flatMap((character, k) => character.numbers.map(() => inside[k]));
    pause();
    lesson = new Lesson(goesOn ? carryOver(old, data.uchar, fresh, uchar) : fresh, numbers, quoted, recipe,
      goesOn ? rates.model : rates[units]);
    rows = [];
    const spelled = Array.from(lesson.passage, speller(vocabulary));
    [spans, spansOfUnit] = [0, 1].map(() => spelled.map(spanOf));
    byId('learn-passage').replaceChildren(...spans);
    byId('learn-quoted').replaceChildren(...spansOfUnit);
    byId('learn-shown').hidden = false;
    byId('learn-saved').textContent = '';
    const ofLayers = H1 === H2 ? H1 : `${H1} and ${H2}`;
    byId('learn-status').textContent = `Learning ${grouped(numbers.length)} characters, ${uchar.length} distinct, with `
      + `2 layers of ${ofLayers} units. A tenth, at the end, is kept to test.` + slowness();
    learning = work();
    resume();
  }

  function resume() {
    running = true;
    stop = inSlices(learning, () => {});
    showButtons();
  }

  /** The work of learning, which ends with a line where it fails. */
  function* work() {
    try {
      yield* lesson.go(show);
    } catch (error) {
      running = false;
      byId('learn-wrong').textContent = error.message;
      byId('learn-wrong').hidden = false;
      lesson = null;
      showButtons();
    }
  }

  function pause() {
    stop();
    running = false;
    showButtons();
  }

  function showButtons() {
    byId('learn-stop').disabled = !lesson;
    byId('learn-stop').textContent = running || !lesson ? 'Stop' : 'Continue';
  }

  /** Shows what a look found, as of Lesson.look, and the mean cost of the steps since the last one. */
  function show({p, kept, cost, costs, unit, sample}) {
    const read = lesson.characters;
    shown = p;
    if (cost !== null) rows.push([read / 1000, cost, kept]);
    byId('learn-progress').textContent = `${grouped(read)} characters read. Kept part: ${natsAndBits(kept)} a `
      + `character. Blind guesses cost ${Math.log(vocabulary.uchar.length).toFixed(2)} nats.`;
    byId('learn-sample').textContent = visible(sample.map(speller(vocabulary)).join(''));
    spans.forEach((span, k) => tint(span, k ? costs[k - 1] / DEAREST : 0));
    showUnit(unit);
    drawCurve();
  }

  function drawCurve() {
    const place = byId('learn-curve'), width = Math.min(680, place.clientWidth);
    if (rows.length && width) place.replaceChildren(drawCosts(rows, width, 'thousand characters'));
  }

  function showUnit(unit) {
    byId('learn-quoted').hidden = byId('learn-quoted-ends').hidden = !unit;
    byId('learn-unit').textContent = unit ? `Of all units, C${unit.layer}:${unit.number} shows best whether this text `
      + `is inside quotation marks: correlation ${signed(unit.r)}. At first that is chance.` :
      'This passage has no quotation marks, which a unit could follow.';
    if (!unit) return;
    const sorted = Array.from(unit.cells).sort((a, b) => a - b), outliers = Math.floor(sorted.length / 50);
    const ends = [sorted[outliers], sorted[sorted.length - 1 - outliers]];
    const [pale, deep] = unit.r < 0 ? ends.reverse() : ends;
    spansOfUnit.forEach((span, k) => tint(span, levelBetween(unit.cells[k], pale, deep)));
  }

  /** Gives the reader the model that is shown, in a file. */
  function save() {
    const name = 'learned.npz', {uchar, bytes} = vocabulary;
    const file = new Blob([checkpointOf(shown, uchar, bytes, about)]);
    const link = element('a', ''), address = URL.createObjectURL(file);
    Object.assign(link, {href: address, download: name});
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    byId('learn-saved').textContent = `The browser saves ${name}.`;
  }

  function showChoice() {
    byId('learn-units').disabled = byId('learn-from').value === 'model';
  }

  byId('learn-settings').addEventListener('submit', event => {
    event.preventDefault();
    attempt(begin, byId('learn-wrong'));
  });
  byId('learn-stop').addEventListener('click', () => {
    byId('learn-status').textContent = running ?
      'Stopped. What it learned is kept until you start anew or leave the page.' : 'It learns on.';
    if (running) pause();
    else resume();
  });
  byId('learn-from').addEventListener('change', showChoice);
  byId('learn-save').addEventListener('click', () => attempt(save, byId('learn-wrong')));
  byId('learn-command').textContent = 'python produce_text.py learned.npz' + (formula ? ' --cell FILE:CLASS' : '');
  showChoice();
  return {title: 'Learn', show: drawCurve};
}

// The view Learn: a model learns a text in the browser, from nothing or from the page's model. Every second it shows
// what it writes, what it expects in a part that it does not learn, and which unit follows quotation marks.

function learnView() {
  const LEAST = 500, MOST = 5_000_000;                     // characters of a text
  const PIECE = 10_000;                                    // characters that are prepared at once
  const {recipe, rates, own, quotes, about, formula} = data.learner;
  let lesson = null, learning = null, vocabulary = null;   // what learns: a Lesson; its work; its Vocabulary
  let stop = () => {}, running = false;
  let shown = null;                                        // the parameters of the last look
  let introduction = '';                                   // a line on what is learned; '' until the text is prepared
  let rows = [];                                           // thousands of characters that were read, both costs
  let spans = [], spansOfUnit = [];                        // of the passage

  /** The characters of the box or, if that is empty, of the page: MOST, and another one if there are more. */
  function chosenCharacters() {
    const text = byId('learn-text').value || Array.from(array(data.text), model.vocabulary.speller()).join('');
    return Vocabulary.firstOf(text, MOST);
  }

  /** The entries of a vocabulary for a text, those of `before` included, in the order of their codes. */
  function vocabularyOf(characters, before, bytes) {
    const entries = Array.from(new Set(characters)).flatMap(ch => Vocabulary.entriesOf(ch, bytes));
    return Array.from(new Set([...before, ...entries])).sort((a, b) => a.codePointAt(0) - b.codePointAt(0));
  }

  /** Begins anew with what was chosen. */
  function begin() {
    pause();
    const characters = chosenCharacters(), goesOn = byId('learn-from').value === 'model';
    if (characters.length < LEAST) {
      throw new Error(`Text: expected at least ${LEAST} characters, got ${characters.length}`);
    }
    shown = null;
    introduction = '';
    byId('learn-shown').hidden = true;
    byId('learn-saved').textContent = '';
    learning = work(characters, goesOn, Number(byId('learn-units').value));
    resume();
  }

  /** All the work, from chosenCharacters() on. goesOn: whether from the page's model; units: of each layer, if not. */
  function* work(characters, goesOn, units) {
    try {
      yield* prepare(characters, goesOn, units);
      yield* lesson.go(show);
    } catch (error) {
      byId('learn-wrong').textContent = error.message;
      byId('learn-wrong').hidden = false;
      byId('learn-status').textContent = '';
      running = false;
      learning = null;
      showButtons();
    }
  }

  /** Makes the lesson, as for work(). Yields the share of the text that is prepared. */
  function* prepare(chosen, goesOn, units) {
    yield 0;
    const characters = chosen.slice(0, MOST);
    const bytes = goesOn && data.bytes, uchar = vocabularyOf(characters, goesOn ? data.uchar : [], bytes);
    const V = uchar.length, inside = Lesson.insideQuotes(quotes), numbers = [], quoted = [];
    vocabulary = new Vocabulary({uchar, bytes});
    for (let k = 0; k < characters.length; k += PIECE) {
      for (const found of vocabulary.charactersOf(characters.slice(k, k + PIECE).join(''))) {
        const isInside = inside(found.character);
        numbers.push(...found.numbers);
        quoted.push(...found.numbers.map(() => isInside));
      }
      yield k / characters.length;
    }
    const [H1, H2] = goesOn ? ['b1', 'b2'].map(name => model.parameters()[name].length / 4) : [units, units];
    yield 1;
    let p = Learner.initial(V, H1, H2, own, new Random(1));
    if (goesOn) p = Learner.carryOver(model.parameters(), data.uchar, p, uchar);
    yield 1;
    lesson = new Lesson(p, numbers, quoted, recipe, goesOn ? rates.model : rates[units]);
    rows = [];
    const spelled = Array.from(lesson.passage, vocabulary.speller());
    [spans, spansOfUnit] = ['learn-passage', 'learn-quoted'].map(id => {
      const made = spelled.map(glyphs.spanOf);
      byId(id).replaceChildren(...made);
      return made;
    });
    const ofLayers = H1 === H2 ? H1 : `${H1} and ${H2}`;
    introduction = `Learning ${format.grouped(numbers.length)} ${vocabulary.entryName}s, ${V} distinct, with `
      + `2 layers of ${ofLayers} units. A tenth, at the end, is for validation.` + model.slowness(lesson.learner.memory)
      + (chosen.length > MOST ? ` Only the first ${format.grouped(MOST)} characters of the text are taken.` : '');
    byId('learn-status').textContent = introduction;
  }

  function resume() {
    running = true;
    byId('learn-status').textContent = introduction;
    stop = inSlices(learning, share => {
      if (share !== undefined) byId('learn-status').textContent = `Preparing the text: ${Math.round(100 * share)} %.`;
    });
    showButtons();
  }

  function pause() {
    stop();
    if (running) {
      byId('learn-status').textContent = shown ?
        'Stopped. What it learned is kept until you start anew or leave the page.' : 'Stopped.';
    }
    running = false;
    showButtons();
  }

  function showButtons() {
    byId('learn-stop').disabled = !learning;
    byId('learn-save').disabled = !shown;
    byId('learn-stop').textContent = running || !learning ? 'Stop' : 'Continue';
  }

  /** Shows what a look found, as of Lesson.look, and the mean cost of the steps since the last one. */
  function show({p, kept, cost, costs, unit, sample}) {
    const read = lesson.characters, {entryName} = vocabulary;
    shown = p;
    byId('learn-shown').hidden = false;
    showButtons();
    if (cost !== null) rows.push([read / 1000, cost, kept]);
    byId('learn-progress').textContent = `${format.grouped(read)} ${entryName}s read. Validation: `
      + `${format.natsAndBits(kept)} a ${entryName}. Taking all ${vocabulary.uchar.length} as equally probable costs `
      + `${format.natsAndBits(Math.log(vocabulary.uchar.length))}.`;
    byId('learn-sample').textContent = format.visible(sample.map(vocabulary.speller()).join(''));
    spans.forEach((span, k) => colour.tint(span, colour.ofCost(costs, k)));
    showUnit(unit);
    drawCurve();
  }

  function drawCurve() {
    const place = byId('learn-curve'), width = Math.min(680, place.clientWidth);
    const drawing = () => curve.draw(rows, width, `thousand ${vocabulary.entryName}s`);
    if (width) place.replaceChildren(...rows.length ? [drawing()] : []);
  }

  function showUnit(unit) {
    byId('learn-quoted').hidden = byId('learn-quoted-scale').hidden = !unit;
    byId('learn-unit').textContent = unit ? `Of all units, C${unit.layer}:${unit.number} shows best whether this text `
      + `is inside quotation marks: correlation ${format.signed(unit.r)}. At first that is chance.` :
      'This passage has no quotation marks, which a unit could follow.';
    if (!unit) return;
    const [pale, deep] = colour.ends(unit.cells, unit.r < 0);
    spansOfUnit.forEach((span, k) => colour.tint(span, colour.between(unit.cells[k], pale, deep)));
  }

  /** Gives the reader the model that is shown, in a file. */
  function save() {
    const name = 'learned.npz';
    saving.save(name, '', npz.checkpoint(shown, vocabulary, about));
    byId('learn-saved').textContent = `The browser saves ${name}.`;
  }

  function showChoice() {
    byId('learn-units').disabled = byId('learn-from').value === 'model';
  }

  byId('learn-settings').addEventListener('submit', event => {
    event.preventDefault();
    form.attempt(begin, byId('learn-wrong'));
  });
  byId('learn-stop').addEventListener('click', () => {
    if (running) pause();
    else resume();
  });
  byId('learn-from').addEventListener('change', showChoice);
  byId('learn-save').addEventListener('click', () => form.attempt(save, byId('learn-wrong')));
  byId('learn-command').textContent = 'python produce_text.py learned.npz' + (formula ? ' --cell FILE:CLASS' : '');
  showChoice();
  return {
    title: 'Learn',
    show() {
      drawCurve();
      if (running) resume();
    },
    leave: () => stop(),                                   // it would slow the other views
  };
}

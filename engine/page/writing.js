// The view Writing: the model writes in the browser, and writes again when a setting changes. Where units are held in
// the view Cells, it writes a second text with them, of the same random numbers.

function writingView(cells) {
  let panes = [];                                          // the free text and, if units are held, the held one
  let left = 0, running = false;                           // left: characters that are still to be written
  let stop = () => {};                                     // what writes
  let begun = 0, done = 0;                                 // when writing began or continued; characters since then
  let same = 0, parted = false;                            // characters before the texts part; whether they did
  let wasHeld = '';                                        // the units that the text on the page holds

  function settings() {
    const [topK, temperature, length, seed] = ['top-k', 'temperature', 'length', 'seed'].map(form.number);
    return {topK, temperature, length, seed};
  }

  /** A text that is written into an element: the prime, what is the same in all texts, and what follows. */
  function paneIn(id, writer) {
    const [prime, common, changed] = ['prime', '', 'changed'].map(className => element('span', className, ''));
    byId(id).replaceChildren(prime, common, changed);
    return {writer, spell: model.vocabulary.speller(), prime, common, changed};
  }

  function beginText() {
    const choice = settings(), prime = model.vocabulary.numbersOf(byId('prime').value), held = cells.heldUnits();
    const writer = units => new Writer(model.parameters(), prime, choice, units, model.products());
    left = 0;
    panes = [paneIn('written', writer([]))];
    if (held.length) panes.push(paneIn('written-held', writer(held)));
    byId('free-title').hidden = byId('held-pane').hidden = !held.length;
    byId('held-title').textContent = 'Held: ' + descriptionOf(held);
    same = 0;
    parted = false;
    continueText();
  }

  function continueText() {
    left = left || settings().length;
    running = true;
    begun = performance.now();
    done = 0;
    stop();                                                // an earlier text
    stop = inSlices(writeCharacters(), showProgress);
  }

  function* writeCharacters() {
    for (; left; yield) writeCharacter();
    running = false;
    showProgress();
  }

  /** Writes the next character of each text. */
  function writeCharacter() {
    const {begins} = panes[0].writer, numbers = panes.map(({writer}) => writer.next());
    parted = parted || numbers.some(number => number !== numbers[0]);
    panes.forEach(({spell, prime, common, changed}, k) => {
      const span = begins ? prime : parted ? changed : common;
      span.lastChild.appendData(format.visible(spell(numbers[k])));
    });
    if (begins) return;
    left--;
    done++;
    if (!parted) same++;
  }

  function showProgress() {
    const seconds = (performance.now() - begun) / 1000, two = panes.length > 1;
    const parting = parted ? `Both begin with the same ${format.grouped(same)}; what follows is coloured.` :
      'They are the same.';
    byId('stop').disabled = !panes.length;
    byId('stop').textContent = running ? 'Stop' : 'Continue';
    const {entryName} = model.vocabulary, written = done === 1 ? entryName : entryName + 's';
    const amount = `${format.grouped(done)} ${written}${two ? ' of each text' : ''}`;
    byId('speed').textContent = running ? '' : `${amount}, ${format.grouped(done / seconds)} a second` +
      (two ? `. ${parting}` : '.') + model.slowness();
  }

  /** Writes with the settings as they are now, or shows what is wrong with them. */
  const write = () => form.attempt(beginText, byId('wrong'));

  /** Writes again with the settings as they are now. A number that is half typed changes nothing. */
  function rewrite() {
    try {
      beginText();
      byId('wrong').hidden = true;
    } catch (error) {                                      // which write() shows
    }
  }

  /** Says which units the second text holds, with a slider for each. */
  function show() {
    const held = cells.heldUnits();
    byId('holds').textContent = held.length ? 'A second text holds:' :
      'To see what a unit does, hold it in Cells: a second text is then written with it.';
    byId('hold-none').hidden = !held.length;
    byId('held-sliders').replaceChildren(...held.map(heldSlider));
    if (!panes.length || wasHeld !== descriptionOf(held)) write();
    wasHeld = descriptionOf(held);
  }

  const descriptionOf = held => held.map(unit => unit.description).join('; ');

  /** A slider of a unit that is held, which writes again. */
  function heldSlider({u, byte, description}) {
    const slider = element('input', ''), name = element('b', '', description);
    cells.holdSlider(slider, () => u)(byte);
    slider.addEventListener('input', () => {
      const held = cells.heldUnits();
      name.textContent = held.find(unit => unit.u === u).description;
      wasHeld = descriptionOf(held);
      rewrite();
    });
    return element('label', 'number', name, slider);
  }

  if (data.bytes) byId('length').parentElement.firstChild.data = 'Bytes';
  byId('top-k').value = byId('top-k').dataset.most = data.uchar.length;
  byId('prime').addEventListener('input', write);
  for (const id of ['top-k', 'length', 'seed']) byId(id).addEventListener('input', rewrite);
  byId('temperature').addEventListener('input', () => {
    byId('temperature-slider').value = byId('temperature').value;
    rewrite();
  });
  byId('temperature-slider').addEventListener('input', () => {
    byId('temperature').value = byId('temperature-slider').value;
    rewrite();
  });
  byId('settings').addEventListener('submit', event => {
    event.preventDefault();
    write();
  });
  byId('stop').addEventListener('click', () => {
    stop();
    if (running) running = false;
    else form.attempt(continueText, byId('wrong'));
    showProgress();
  });
  byId('hold-none').addEventListener('click', () => {
    cells.holdNone();
    show();
    byId('write').focus();                                 // since the button is now hidden
  });
  return {title: 'Writing', show};
}

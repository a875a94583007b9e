// The view Writing: the model writes in the browser.

const SLICE = 20;                                          // milliseconds of writing between reactions to the reader
let writer = null, spell = null;                           // null until they are needed
let left = 0, running = false, timer = 0;                  // left: characters that are still to be written
let begun = 0, done = 0;                                   // when writing began or continued; characters since then

function writingSettings() {
  return {topK: field('top-k', 1, data.uchar.length, true), temperature: field('temperature', 0.01, 100, false),
    length: field('length', 1, 1e6, true), seed: field('seed', 0, 2 ** 32 - 1, true)};
}

function beginText() {
  const choice = writingSettings(), prime = numbersOf(byId('prime').value);
  writer = new Writer(parameters(), prime, choice);
  spell = speller();
  byId('written').replaceChildren(element('span', 'prime', ''), element('span', '', ''));
  continueText();
}

function continueText() {
  left = left || writingSettings().length;
  running = true;
  clearTimeout(timer);                                     // of an earlier text
  begun = performance.now();
  done = 0;
  writeSlice();
}

/** Writes for SLICE milliseconds, and calls itself again after the page has reacted to the reader. */
function writeSlice() {
  const end = performance.now() + SLICE, [prime, written] = byId('written').children;
  while (running && left && performance.now() < end) {
    const part = writer.begins ? prime : written;
    part.lastChild.appendData(visible(spell(writer.next())));
    if (part === written) {
      left--;
      done++;
    }
  }
  running = running && left > 0;
  if (running) timer = setTimeout(writeSlice);
  showProgress();
}

function showProgress() {
  const seconds = (performance.now() - begun) / 1000;
  byId('stop').disabled = !writer;
  byId('stop').textContent = running ? 'Stop' : 'Continue';
  byId('speed').textContent = running ? '' : `${grouped(done)} characters, ${grouped(done / seconds)} a second`;
}

function prepareWriting() {
  byId('top-k').value = data.uchar.length;
  byId('settings').addEventListener('submit', event => {
    event.preventDefault();
    left = 0;
    attempt(beginText, byId('wrong'));
  });
  byId('stop').addEventListener('click', () => {
    if (running) running = false;
    else attempt(continueText, byId('wrong'));
    showProgress();
  });
}

addView('writing', {title: 'Writing', prepare: prepareWriting});

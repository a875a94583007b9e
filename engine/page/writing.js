// The view Writing: the model writes in the browser, and starts over when a setting changes. If a unit is held, it also
// writes a second text with that unit held, from the same random numbers.

function writingView() {
  const network = once(() => new Network(model.parameters()));
  const heldNetwork = once(() => new Network(model.parameters()));
  let panes = [], left = 0;                                // one or two texts; characters still to write

  /** Return a text to be written into an element: the prime, what both texts have in common, and the rest. */
  function paneIn(id, characters) {
    const [prime, common, other] = ['prime', '', ''].map(name => element('span', name, ''));
    byId(id).replaceChildren(prime, common, other);
    return {characters, prime, common, other};
  }

  /** Write with the current settings. */
  function begin() {
    const [topK, length, seed] = ['top-k', 'length', 'seed'].map(numberIn), temperature = sliderOf('temperature');
    const {numbers, line} = vocabulary.taken(byId('prime').value, text.MOST), choice = {temperature, topK, seed};
    const {hold} = state;
    say('writing-wrong', line);
    panes = [paneIn('written', written(network(), numbers, choice))];
    if (hold) {
      heldNetwork().hold([{...units.of(hold.unit), value: hold.value}]);
      panes.push(paneIn('written-held', written(heldNetwork(), numbers, choice)));
    }
    left = length + (numbers.length || 1);
    resume(numbers.length || 1);
  }

  /** Write the rest. prime: how many first characters are not drawn by the model. */
  function resume(prime = 0) {
    const begun = performance.now(), whole = left;
    byId('speed').textContent = '';
    byId('stop').textContent = 'Stop';
    work.begin(writeCharacters(whole - prime), () => {}, () => {
      const done = whole - prime, speed = done / (performance.now() - begun) * 1000;
      byId('stop').textContent = 'Again';
      byId('speed').textContent = `${format.grouped(done)} characters, ${format.grouped(speed)} a second.`;
    });
  }

  function* writeCharacters(after) {
    let parted = panes.some(({other}) => other.textContent);
    for (; left; yield) {
      const numbers = panes.map(({characters}) => characters.next().value);
      if (!parted && numbers.some(number => number !== numbers[0])) {
        parted = true;
        for (const {other} of panes) other.before(element('span', 'split', '\u2503'));
      }
      panes.forEach(({prime, common, other}, k) => {
        const span = left > after ? prime : parted ? other : common;
        span.lastChild.appendData(format.visible(vocabulary.uchar[numbers[k]]));
      });
      left--;
    }
  }

  const sliderOf = id => byId(id).valueAsNumber;
  const rewrite = () => attempt(begin, 'writing-wrong');

  /** Show which unit is held, and at which value. */
  function showHold() {
    const {hold} = state;
    for (const part of document.querySelectorAll('.of-hold')) part.hidden = !hold;
    byId('hold-none-yet').hidden = Boolean(hold);
    if (!hold) return;
    const [least, most] = units.range(units.of(hold.unit));
    Object.assign(byId('hold-at'), {min: Math.min(least, hold.value), max: Math.max(most, hold.value), step: 'any'});
    byId('hold-at').value = hold.value;
    byId('hold-at').setAttribute('aria-valuetext', format.twoDigits(hold.value));
    byId('held-title').textContent = `${hold.unit} held at ${format.twoDigits(hold.value)}`;
    byId('hold-name').textContent = `${byId('held-title').textContent}; in the page's text it ranges from `
      + `${format.twoDigits(least)} to ${format.twoDigits(most)}`;
  }

  function show() {
    showHold();
    rewrite();
  }

  byId('top-k').value = byId('top-k').max = data.uchar.length;
  for (const id of ['prime', 'top-k', 'length', 'seed', 'temperature']) on(id, 'input', rewrite);
  on('temperature', 'input', () => { byId('temperature-at').textContent = sliderOf('temperature').toFixed(2); });
  on('hold-at', 'input', () => state.change({hold: {...state.hold, value: sliderOf('hold-at')}}));
  on('hold-none', 'click', () => state.change({hold: null}));
  on('stop', 'click', () => {
    work.stop();
    if (byId('stop').textContent === 'Again') return rewrite();
    const stopped = byId('stop').textContent === 'Stop';
    if (stopped) byId('stop').textContent = 'Continue';
    else resume();
  });
  state.follow(['hold'], () => state.view === 'writing' && show());
  return {show};
}

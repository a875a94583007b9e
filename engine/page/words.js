// The view Your words: what you type, coloured as you type it, and what the model expects after it.

/** cells: the view Cells, by whose units the text may be coloured. */
function wordsView(cells) {
  const MOST_TYPED = 20_000;                               // characters that are read and coloured
  const NEXT = 8;                                          // most probable next characters that are shown
  const reading = once(() => new Reading(newNetwork(1)));
  let typed = [], spans = [];                              // the characters: as of charactersOf; and their elements
  let lastOf = [], costs = [], cellsOfUnit = [];           // by number: which character it ends; its cost; C after it
  let coloured = 0;                                        // how many of the numbers have a cost and C
  let shownUnit = null;                                    // {layer, number, pale, deep}, or null for surprise
  let next = {p: [], order: []};                           // probabilities of the next character, and the best numbers
  let stop = () => {};                                     // what reads the text
  let prepared = false;

  /** The feature that a unit of data.units follows best, and Pearson's correlation with it. */
  function followedBy(u) {
    return Object.entries(data.correlations).map(([feature, r]) => [feature, r[u]])
      .reduce((a, b) => Math.abs(b[1]) > Math.abs(a[1]) ? b : a, ['', 0]);
  }

  /** A unit of data.units, and the C that get the palest and the deepest colour, as in Cells for that feature. */
  function unitAndEnds(u) {
    const {layer, number} = data.units[u], [pale, deep] = cells.endsOfC(u, followedBy(u)[1]);
    return {layer, number, pale, deep};
  }

  /** Takes the text of the box in place of the last one. Elements of the characters that stay are kept. */
  function takeWords() {
    const all = charactersOf(byId('words').value), now = all.slice(0, MOST_TYPED), before = typed;
    const shorter = Math.min(now.length, before.length), is = (a, b) => now[a].character === before[b].character;
    let same = 0, sameAtEnd = 0;
    while (same < shorter && is(same, same)) same++;
    while (sameAtEnd < shorter - same && is(now.length - 1 - sameAtEnd, before.length - 1 - sameAtEnd)) sameAtEnd++;
    const made = now.slice(same, now.length - sameAtEnd).map(({character, numbers}) => (
      element('span', numbers ? 'v0' : 'v0 unknown', character)));
    for (const gone of spans.slice(same, before.length - sameAtEnd)) gone.remove();
    const rest = sameAtEnd ? spans.slice(-sameAtEnd) : [];
    (rest[0] || byId('typed').lastChild).before(...made);
    spans = [...spans.slice(0, same), ...made, ...rest];
    typed = now;
    nameUnknown(all);
    readWords();
  }

  function nameUnknown(all) {
    const unknown = unknownOf(all);
    const lines = [unknown ? `The model never saw ${unknown}: it reads the text without.` : '',
      all.length > MOST_TYPED ? `Only the first ${grouped(MOST_TYPED)} characters are read.` : ''];
    byId('words-unknown').textContent = lines.join(' ').trim();
    byId('words-unknown').hidden = !lines.join('');
  }

  /** Reads the text where it is new, in slices. */
  function readWords() {
    lastOf = typed.flatMap(({numbers}, k) => numbers ? numbers.map((_, j) => j === numbers.length - 1 ? k : null) : []);
    coloured = Math.min(coloured, reading().replace(typed.flatMap(({numbers}) => numbers || [])));
    stop();
    stop = inSlices(colourWords(), share => {
      byId('words-status').textContent = `Reading: ${Math.round(100 * share)} %.` + slowness();
    });
  }

  function* colourWords() {
    const {numbers, network} = reading(), unit = shownUnit;
    for (let k = coloured; k < numbers.length; k++) {
      yield* reading().to(k);
      costs[k] = k ? -network.logs(0)[numbers[k]] : 0;     // nothing came before the first to expect it from
      yield k / numbers.length;
      yield* reading().to(k + 1);
      cellsOfUnit[k] = unit ? network.states(0)[2 * unit.layer - 1][unit.number] : null;
      coloured = k + 1;
      if (lastOf[k] !== null) tint(spans[lastOf[k]], unit ? levelOfCell(k) : levelOfCost(k));
    }
    yield* reading().to(numbers.length);
    showNext();
  }

  /** How deep a character is coloured by its cost; k: its last number. A character of several bytes costs their sum. */
  function levelOfCost(k) {
    const first = k - typed[lastOf[k]].numbers.length + 1;
    if (!first) return 0;
    return costs.slice(first, k + 1).reduce((a, b) => a + b) / DEAREST;
  }

  /** How deep a character is coloured by the C of the unit after it, after the number k. */
  function levelOfCell(k) {
    const {pale, deep} = shownUnit;
    return levelBetween(cellsOfUnit[k], pale, deep);
  }

  /** Shows the mean cost, and a bar for each of the most probable next characters. */
  function showNext() {
    const {numbers, network} = reading(), known = costs.slice(1, numbers.length);
    byId('words-status').textContent = known.length ? `Mean: ${natsAndBits(mean(known))} a character.` : '';
    const p = numbers.length ? Array.from(network.logs(0), Math.exp) : [];
    next = {p, order: Array.from(p.keys()).sort((a, b) => p[b] - p[a]).slice(0, NEXT)};
    byId('words-next').replaceChildren(...next.order.flatMap(number => bar(named(number), 0, '', '')));
    showTemperature();
  }

  /** Sets the bars to the probabilities at the temperature of the slider. */
  function showTemperature() {
    const temperature = Number(byId('words-temperature').value), p = tempered(next.p, temperature);
    const sum = p.reduce((a, b) => a + b, 0), lengths = byId('words-next').querySelectorAll('.bar div');
    const shown = byId('words-next').querySelectorAll('.number');
    byId('words-at').textContent = temperature.toFixed(2);
    next.order.forEach((number, j) => {
      lengths[j].style.width = 100 * p[number] / sum + '%';
      shown[j].textContent = percent(p[number] / sum);
    });
  }

  /** Colours by the cost or by the chosen unit, from the beginning of the text. */
  function chooseColour() {
    const chosen = byId('words-colour').value;
    shownUnit = chosen === '' ? null : unitAndEnds(Number(chosen));
    byId('words-panel').classList.toggle('by-cell', shownUnit !== null);
    [byId('words-pale').textContent, byId('words-deep').textContent] = shownUnit ?
      [shownUnit.pale, shownUnit.deep].map(C => 'C ' + twoDigits(C)) : ['0 nats, certain', `${DEAREST} nats or more`];
    coloured = 0;
    for (const span of spans) tint(span, 0);
    readWords();
  }

  /** Prepares what takes time only when the view is shown; a browser may have kept a text in the box. */
  function show() {
    if (!prepared) chooseColour();
    prepared = true;
    takeWords();
  }

  byId('words-colour').append(...[['', 'surprise'], ...data.units.map((_, u) => {
    const [feature, r] = followedBy(u);
    return [u, cells.nameOf(u) + (feature && `: ${feature} ${signed(r)}`)];
  })].map(([value, name]) => selectOption(value, name)));
  byId('typed').append(element('span', 'v0', ' '));        // so that a line end at the end makes a line
  byId('words').addEventListener('input', takeWords);
  byId('words-colour').addEventListener('change', chooseColour);
  byId('words-temperature').addEventListener('input', showTemperature);
  return {title: 'Your words', show};
}

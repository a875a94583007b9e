// The view Your words: what you type, coloured as you type it, and what the model expects after it.

/** text: as of shownText. cells: the view Cells, by whose units the text may be coloured. */
function wordsView(text, cells) {
  const {vocabulary} = model;
  const NEXT = 8;                                          // most probable next characters that are shown
  const reading = once(() => new Reading(model.network(1)));
  let typed = [];                                          // the characters, as of charactersOf
  let spans = [element('span', 'v0', ' ')];                // their elements, and one in the line after a last line end
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

  /** The words of the state; before the reader has typed, the first sentences or lines of the page's text. */
  function words() {
    if (state.words !== null) return state.words;
    const first = readable(text.spelled.slice(0, 240).join('')), end = first.search(/[.!?\n][^.!?\n]*$/);
    return end > 0 ? first.slice(0, end + 1) : first;
  }

  /** A text without what a box for typing changes or cannot hold. */
  const readable = string => string.replace(/[\0\r]|\p{Cs}/gu, '');

  /** Takes the words of the state in place of the last ones. Elements of the characters that stay are kept. */
  function takeWords() {
    if (state.view !== 'words') return;
    if (byId('words-box').value !== words()) byId('words-box').value = words();
    const {characters: now, rest} = state.cut(words()), n = now.length, before = typed.length;
    const shorter = Math.min(n, before);
    let same = 0, atEnd = 0;                               // characters that stay at the beginning and at the end
    while (same < shorter && now[same] === typed[same].character) same++;
    while (atEnd < shorter - same && now[n - 1 - atEnd] === typed[before - 1 - atEnd].character) atEnd++;
    const fresh = vocabulary.charactersOf(now.slice(same, n - atEnd).join(''));
    const made = fresh.map(({character, numbers}) => element('span', numbers ? 'v0' : 'v0 unknown', character));
    replaceSpans(same, before - atEnd, made);
    typed = [...typed.slice(0, same), ...fresh, ...typed.slice(before - atEnd)];
    form.sayUnknown(byId('words-unknown'), typed, rest);
    readWords();
  }

  /** Puts elements in place of those from number `from` to before `to`, and makes the lines anew that this changes. */
  function replaceSpans(from, to, made) {
    const all = [...spans.slice(0, from), ...made, ...spans.slice(to)], endsLine = k => all[k].textContent === '\n';
    let first = from, last = from + made.length + 1;       // the first span of these lines, and the one after them
    while (first > 0 && !endsLine(first - 1)) first--;
    while (last < all.length && !endsLine(last - 1)) last++;
    const old = new Set(spans.slice(first, last - made.length + to - from).map(span => span.parentNode));
    const lines = glyphs.linesOf(all.slice(first, last));
    if (last < all.length) all[last].parentNode.before(...lines);
    else byId('typed').append(...lines);
    for (const line of old) line.remove();
    spans = all;
  }

  /** Reads the text where it is new, in slices. */
  function readWords() {
    lastOf = typed.flatMap(({numbers}, k) => numbers ? numbers.map((_, j) => j === numbers.length - 1 ? k : null) : []);
    coloured = Math.min(coloured, reading().replace(typed.flatMap(({numbers}) => numbers || [])));
    stop();
    stop = inSlices(colourWords(), share => {
      byId('words-status').textContent = `Reading: ${Math.round(100 * share)} %.` + model.slowness();
    });
  }

  function* colourWords() {
    const {numbers, network} = reading(), unit = shownUnit;
    for (let k = coloured; k < numbers.length; k++) {
      yield* reading().to(k, k / numbers.length);
      costs[k] = k ? -network.logs(0)[numbers[k]] : 0;     // nothing came before the first to expect it from
      yield k / numbers.length;
      yield* reading().to(k + 1, k / numbers.length);
      cellsOfUnit[k] = unit ? network.states(0)[2 * unit.layer - 1][unit.number] : null;
      coloured = k + 1;
      if (lastOf[k] === null) continue;
      colour.tint(spans[lastOf[k]],
        unit ? colour.between(cellsOfUnit[k], unit.pale, unit.deep) : costOf(k) / colour.DEAREST);
    }
    yield* reading().to(numbers.length);
    showNext();
  }

  /** The cost of the character of which k is the last number, null for the first one. Its bytes cost their sum. */
  function costOf(k) {
    const first = k - typed[lastOf[k]].numbers.length + 1;
    return first ? costs.slice(first, k + 1).reduce((a, b) => a + b) : null;
  }

  /** Shows the mean cost, and a bar for each of the most probable next characters. */
  function showNext() {
    const {numbers, network} = reading(), known = costs.slice(1, numbers.length);
    byId('words-status').textContent = known.length ?
      `Mean: ${format.natsAndBits(mean(known))} a ${vocabulary.entryName}.` : '';
    const p = numbers.length ? Array.from(network.logs(0), Math.exp) : [];
    next = {p, order: Array.from(p.keys()).sort((a, b) => p[b] - p[a]).slice(0, NEXT)};
    byId('words-next').replaceChildren(...next.order.flatMap(number => bar(vocabulary.nameOf(number), 0, '', '')));
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
      shown[j].textContent = format.percent(p[number] / sum);
    });
  }

  /** Colours by the cost or by the chosen unit, from the beginning of the text. */
  function chooseColour() {
    const chosen = byId('words-colour').value;
    shownUnit = chosen === '' ? null : unitAndEnds(Number(chosen));
    nameColours();
    coloured = 0;
    for (const span of spans) colour.tint(span, 0);
    readWords();
  }

  /** Takes what a browser may have kept in the list of colours from before a reload, and then the words. */
  function show() {
    if (!prepared) chooseColour();
    prepared = true;
    takeWords();
  }

  function nameColours() {
    byId('words-panel').classList.toggle('by-cell', shownUnit !== null);
    [byId('words-pale').textContent, byId('words-deep').textContent] = shownUnit ?
      [shownUnit.pale, shownUnit.deep].map(C => 'C ' + format.twoDigits(C)) :
      ['0 nats, certain', `${colour.DEAREST} nats or more`];
  }

  byId('words-colour').append(...[['', 'surprise'], ...data.units.map((_, u) => {
    const [feature, r] = followedBy(u);
    return [u, units.nameOf(u) + (feature && `: ${feature} ${format.signed(r)}`)];
  })].map(([value, name]) => new Option(name, value)));
  byId('typed').append(...glyphs.linesOf(spans));
  byId('words-box').addEventListener('input', event => state.change({words: event.target.value}));
  state.follow(['words'], takeWords);
  byId('words-colour').addEventListener('change', chooseColour);
  byId('words-temperature').addEventListener('input', showTemperature);

  /** The characters with their costs; one that the model does not have, or has not read yet, has none. */
  function table() {
    const ofCharacter = new Array(typed.length).fill('');
    lastOf.slice(0, coloured).forEach((character, k) => {
      if (character !== null) ofCharacter[character] = costOf(k) ?? '';
    });
    return [['number', 'character', 'nats'], ...typed.map(({character}, k) => [k, character, ofCharacter[k]])];
  }

  /** The text around the cursor, whose place the browser counts in units of UTF-16. */
  function figure() {
    const {value, selectionStart} = byId('words-box');
    return saving.ofText(spans.slice(0, -1), Array.from(value.slice(0, selectionStart)).length);
  }

  return {title: 'Your words', show, table, figure};
}

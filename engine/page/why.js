// The view Why: how much each of the last characters matters for what is expected at a place (occlusion).
//
// The effect of a character on another one, in nats, is the logarithm of the probability that the model gives the
// latter after the whole text before it, minus the logarithm after the same text without the former character.

/** expected: what the model of the page expected. */
function whyView(text, expected) {
  const {vocabulary} = model;
  const WINDOW = model.MOST_STREAMS - 1;                   // characters before the place that are left out, one by one
  const DEEPEST = 3;                                       // nats of the deepest colour: 20 times as probable
  const LISTED = 5;                                        // of the characters that matter most
  let stop = () => {};
  let explained = null;                                    // what was found: {place, first}, and as of withoutEach

  function* explain(k) {
    const first = Math.max(0, k - WINDOW);
    explained = {place: k, first, ...yield* text.reading().withoutEach(k, first, model.network(k - first + 1))};
    byId('why-csv').disabled = false;
    listChoices(k);
    showEffects();
  }

  /** Lists the characters that may be explained, the one that came first, then the most probable ones. */
  function listChoices(k) {
    const p = Array.from(explained.whole, Math.exp), order = p.map((_, number) => number).sort((a, b) => p[b] - p[a]);
    const others = order.filter(number => number !== text.numbers[k]);
    byId('why-choice').replaceChildren(...[text.numbers[k], ...others].map((number, j) => (
      new Option(`${vocabulary.nameOf(number)}, ${format.percent(p[number])}${j ? '' : ', which came'}`, number))));
  }

  /** Colours the characters by their effects on the chosen one, and lists the largest effects. */
  function showEffects() {
    const {first, whole, without} = explained, chosen = Number(byId('why-choice').value);
    const effects = without.map(logs => whole[chosen] - logs[chosen]);
    effects.forEach((effect, j) => {
      colour.tint(text.spans[first + j], effect / DEEPEST);
      text.spans[first + j].title = inNats(effect);
    });
    const order = effects.map((_, j) => j).sort((a, b) => Math.abs(effects[b]) - Math.abs(effects[a]));
    const largest = order.slice(0, LISTED);
    const length = j => Math.abs(effects[j] / (effects[largest[0]] || 1));
    byId('why-effects').replaceChildren(
      text.contextOf(state.place),
      element('p', '', glyphs.inBold(chosen),
        ` gets ${format.percent(Math.exp(whole[chosen]))}. What mattered most, in nats:`),
      element('div', 'bars', ...largest.flatMap(j => (
        bar(`${effects.length - j} before: ${vocabulary.nameOf(text.numbers[first + j])}`, length(j),
          format.signed(effects[j]), effects[j] < 0 ? 'negative' : '')))));
  }

  const inNats = effect => format.signed(effect) + ' nats';

  /** Stops, and takes colours and effects off the text. */
  function leave() {
    stop();
    if (explained) {
      for (const span of text.spans.slice(explained.first, explained.first + explained.without.length)) {
        colour.tint(span, 0);
        span.removeAttribute('title');
      }
    }
    explained = null;
    byId('why-csv').disabled = true;
  }

  /** Begins anew at the character that the reader looks at. */
  function follow() {
    const {place: here} = state;
    if (explained && explained.place === here) return;
    leave();
    byId('why-choice').replaceChildren();
    byId('why-choice').disabled = !here;
    if (!here) return byId('why-effects').replaceChildren('The first character: nothing came before it.');
    stop = inSlices(explain(here), share => {
      byId('why-effects').replaceChildren(text.contextOf(here), element('p', '', share < 1 ?
        `Reading the text up to here: ${Math.round(100 * share)} %.` : 'Reading it without each of the characters.',
        model.slowness()));
    });
  }

  byId('why-choice').addEventListener('change', showEffects);
  /**
   * A place that shows what Why is for: a character that is rare and that the model expected all the same. Best is one
   * that closes what was opened long before, then any other mark: most letters follow from their word.
   */
  function strikingPlace() {
    const {numbers} = text, counts = new Array(data.uchar.length).fill(0), n = numbers.length;
    for (const number of numbers) counts[number]++;
    const gain = k => Math.log(n / counts[numbers[k]]) - expected.costs[k - 1];
    const places = Array.from(numbers, (_, k) => k).slice(Math.min(WINDOW, n - 1), 10 * WINDOW);
    const marks = places.filter(k => /[^\p{L}\p{N}\s]/u.test(data.uchar[numbers[k]]));
    const closes = character => /["\u201d\xbb)\]}]/.test(character);
    const closing = marks.filter(k => closes(data.uchar[numbers[k]]) && /\S/.test(data.uchar[numbers[k - 1]]));
    return [closing, marks, places].find(found => found.length).reduce((best, k) => gain(k) > gain(best) ? k : best);
  }

  function show() {
    text.paint(() => 0);
    if (!state.pinned && text.numbers.length > 1) state.change({place: strikingPlace()});
    follow();
  }

  /** The effects on the chosen character, once they are found. */
  function table() {
    const {first, whole, without} = explained, chosen = Number(byId('why-choice').value);
    return [['number', 'character', 'effect on ' + data.uchar[chosen]],
      ...without.map((logs, j) => [first + j, text.spelled[first + j], whole[chosen] - logs[chosen]])];
  }

  return {title: 'Why', show, follow, leave, table, figure: text.figure};
}

// The mode Why of Surprise: how much each of the last characters matters for the prediction at a place (occlusion).
//
// The effect of one character on the probability of another, in nats, is the log probability of the latter after the
// whole text before it, minus its log probability after the same text without the former.

function whyMode() {
  const WINDOW = 100;                                      // characters before the place, left out one by one
  const DEEPEST = 3;                                       // |nats| with the deepest colour: 20 times as probable
  const LISTED = 5;                                        // number of the characters that matter most
  const network = once(() => new Network(model.parameters(), data.cell, WINDOW + 1));
  let explained = null;                                    // the result: {first}, and as from withoutEach()

  /** List the characters that can be explained: first the actual one, then the others, the most probable first. */
  function listChoices() {
    const p = Array.from(explained.whole, Math.exp), order = p.map((_, number) => number).sort((a, b) => p[b] - p[a]);
    const came = text.numbers[text.place], all = came === undefined ? order : [came, ...order.filter(k => k !== came)];
    byId('why-choice').replaceChildren(...all.map(number => (
      new Option(`${vocabulary.nameOf(number)}   ${format.percent(p[number])}${number === came ? ', actual' : ''}`,
        number))));
  }

  /** Colour the characters by their effects on the chosen one, and list the largest effects. */
  function showEffects() {
    const {first, whole, without} = explained, chosen = Number(byId('why-choice').value);
    const found = without.map(logs => whole[chosen] - logs[chosen]);
    text.paint(k => found[k - first] / DEEPEST || 0);
    const order = found.map((_, j) => j).sort((a, b) => Math.abs(found[b]) - Math.abs(found[a]));
    const largest = order.slice(0, LISTED), most = Math.abs(found[largest[0]]) || 1;
    byId('where').replaceChildren(text.contextOf(text.place),
      element('p', '', vocabulary.inBold(chosen), ` has a chance of ${format.percent(Math.exp(whole[chosen]))}, `
        + 'before temperature changes it. Each number is its chance without that letter. The longer the bar, the more '
        + 'the letter mattered: blue helped, orange hindered.'),
      element('div', 'bars effects', ...largest.flatMap(j => (
        bar(`${vocabulary.nameOf(text.numbers[first + j])} (${found.length - j} before)`, Math.abs(found[j]) / most,
          format.percent(Math.exp(without[j][chosen])), found[j] < 0 ? 'negative' : '')))));
  }

  /** Start over at the character that the reader looks at. */
  function follow() {
    const {place: k} = text, first = Math.max(0, k - WINDOW);
    explained = null;
    text.paint(() => 0);
    byId('why-choice').replaceChildren();
    byId('why-choice').disabled = !k;
    if (!k) {
      work.stop();
      return byId('where').replaceChildren(NOTHING_BEFORE);
    }
    writing.stop();                                        // it starts over in the end
    work.begin(text.reading().withoutEach(k, first, network()), share => {
      byId('where').replaceChildren(text.contextOf(k), element('p', '',
        `Reading the text without each character: ${Math.round(100 * share)} %.`));
    }, found => {
      explained = {first, ...found};
      listChoices();
      showEffects();
    });
  }

  /**
   * Return a place that shows what Why is for: a closing mark that the model expected, since it was opened long
   * before; most letters follow from their word.
   */
  function strikingPlace() {
    const {spelled, expected: {costs}} = text, places = [...spelled.keys()].slice(WINDOW, 30 * WINDOW);
    const closing = places.filter(k => /["\u201d\xbb)\]}]/.test(spelled[k]) && /\S/.test(spelled[k - 1]));
    return closing.reduce((best, k) => costs[k - 1] < costs[best - 1] ? k : best, closing[0] || text.strikingPlace());
  }

  on('why-choice', 'change', showEffects);
  return {show: follow, follow, strikingPlace};
}

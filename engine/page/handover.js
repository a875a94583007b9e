// The page of a network that was trained in the page: this page with other data, for all views.

const pristine = document.documentElement.cloneNode(true);             // before the views change anything

/** Return an array as array() in text.js reads it. */
function stored(array) {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  return {type: array.constructor.name.replace('Array', '').toLowerCase(),
    base64: btoa(bytes.reduce((all, byte) => all + String.fromCharCode(byte), ''))};
}

/** Return the page of the best network of a Lesson, as the text of a file. It shows the held-out text. */
function pageOf({best, looks, about, passage, heldOut: numbers, uchar, H, name, cell}) {
  const n = numbers.length, reading = new Reading(new Network(best.p, cell), numbers, text.EXPECTED);
  Array.from(reading.to(n));
  const columns = Array.from({length: reading.width}, (_, place) => reading.valuesOf(place))
    .filter((_, place) => place % ((1 + cell.states.length) * H) >= H);                     // the cell states, not h
  const {costs, most} = reading, first = (array, each) => stored(array.slice(0, (n - 1) * each));
  const made = {...data, cell, title: name, uchar, trainedHere: true, line: null, written: null,
    source: 'The last tenth of the text; it was trained on the rest.',
    text: stored(Uint16Array.from(numbers)), costs: first(costs, 1), best: first(reading.best, most),
    chances: first(reading.chances, most), sizes: [H, H], layers: `2 layers of ${H} and ${H} cells`,
    correlations: {}, ranges: columns.map(values => [Math.min(...values), Math.max(...values)]),
    info: [['trained in a browser', `on ${name}, 2 layers of ${H} cells`]],
    epochs: looks.map(({time, training, valid}) => [time, isNaN(training) ? null : training, valid]),
    learning: {passage, about, looks: looks.map(look => ({...look, costs: stored(Float32Array.from(look.costs))}))},
    parameters: Object.fromEntries(Object.entries(best.p).map(([key, p]) => [key, stored(p)]))};
  const page = pristine.cloneNode(true), escaped = {'<': '\\u003c', '>': '\\u003e', '&': '\\u0026'};
  page.querySelector('#data').textContent = JSON.stringify(made).replace(/[<>&]/g, character => escaped[character]);
  return '<!DOCTYPE html>\n' + page.outerHTML;
}

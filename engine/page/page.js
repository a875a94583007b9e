// ---------------------------------------------------------------- what the page shows, in four views
//
// engine/page/page.py writes the data. Texts and names are set as text, never as HTML.

const LEVELS = 16, DEAREST = 6;                            // shades of a colour; cost in nats of the last one
const VIEWS = ['surprise', 'cells', 'writing', 'about'];
const byId = id => document.getElementById(id);
const data = JSON.parse(byId('data').textContent);

// ---- numbers and characters

/** The number that 16 bits of a float16 mean: a sign, 5 bits of exponent, 10 bits of fraction. */
function half(bits) {
  const sign = bits >> 15 ? -1 : 1, exponent = bits >> 10 & 31, fraction = (bits & 1023) / 1024;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
}

/** The typed array that engine/page/page.py stored in base64; of float16, a Float32Array. */
function array(stored) {
  const characters = atob(stored.base64), bytes = new Uint8Array(characters.length);
  for (let k = 0; k < bytes.length; k++) bytes[k] = characters.charCodeAt(k);
  const kinds = {uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, float16: Uint16Array};
  const numbers = new kinds[stored.type](bytes.buffer);
  if (stored.type !== 'float16') return numbers;
  const table = Float32Array.from({length: 65536}, (_, bits) => half(bits));
  return Float32Array.from(numbers, bits => table[bits]);
}

/** A text with escapes, as in Python, for controls, halves of pairs, and marks that are invisible or reverse others. */
function visible(text) {
  const hidden = /[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]|\p{Cs}/gu;
  return text.replace(hidden, character => {
    const code = character.codePointAt(0).toString(16);
    return code.length < 3 ? '\\x' + code.padStart(2, '0') : '\\u' + code.padStart(4, '0');
  });
}

/** The byte that an entry of the vocabulary stands for, where the model learned bytes. */
const byteOf = entry => entry.charCodeAt(0) & 255;

/** The name of a character in a list; number: of the character. */
function named(number) {
  const entry = data.uchar[number];
  const names = {' ': 'space', '\n': 'line end', '\t': 'tab', '\xa0': 'no-break space'};
  if (data.bytes && entry > '\x7f') return '\\x' + byteOf(entry).toString(16);
  return names[entry] || (/\p{M}/u.test(entry) ? '\u25cc' : '') + visible(entry);
}

/** A function that takes numbers of characters, one at a time, and returns what each adds to a text. Joins bytes. */
function speller() {
  if (!data.bytes) return number => data.uchar[number];
  const decoder = new TextDecoder();
  return number => decoder.decode(Uint8Array.of(byteOf(data.uchar[number])), {stream: true});
}

/** A text as numbers of characters. Throws an Error that names the characters that the model does not have. */
function numbersOf(text) {
  const asByte = byte => String.fromCharCode(byte > 127 ? 0xdc00 + byte : byte);
  const entries = Array.from(data.bytes ? new TextEncoder().encode(text) : text, data.bytes ? asByte : String);
  const numbers = new Map(data.uchar.map((entry, number) => [entry, number]));
  const unknown = new Set(entries.filter(entry => !numbers.has(entry)));
  if (unknown.size) throw new Error(`The model never saw ${Array.from(unknown, visible).join(' ')}: leave that out.`);
  return entries.map(entry => numbers.get(entry));
}

const signed = r => (r < 0 ? '\u2212' : '+') + Math.abs(r).toFixed(2);
const grouped = n => Math.round(n).toLocaleString('en');
const percent = p => (100 * p).toFixed(p < 0.001 ? 3 : p < 0.1 ? 1 : 0) + ' %';

// ---- elements

/** A new element of a class, with children: elements or texts. */
function element(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

/** The elements of a row of a bar chart: a name, a bar with a length from 0 to 1, a number. */
function bar(what, length, number, className) {
  const inner = element('div', '');
  inner.style.width = 100 * length + '%';
  return [element('span', 'what ' + className, element('bdi', '', what)), element('div', 'bar ' + className, inner),
    element('span', 'number ' + className, number)];
}

// ---- the text, a span a character

const MARKS = {'\n': '\u21b5\n', '\t': '\u2192\t', '': '\xb7'};   // of characters that are invisible by themselves
const text = array(data.text), n = text.length, spelled = Array.from(text, speller()), spans = spelled.map(spanOf);
let here = 0;                                              // the number of the character that the reader looks at

function spanOf(character) {
  const span = element('span', '', MARKS[character] || visible(character));
  if (visible(character) !== character) span.dir = 'ltr';  // an escape, also in a line from right to left
  return span;
}

/** Colours the text by level(k), from 0 to 1 for each character, null for none. */
function paint(level) {
  spans.forEach((span, k) => {
    const value = level(k), faint = spelled[k] in MARKS ? 'faint ' : '';
    span.className = faint + (value === null ? '' : 'v' + Math.min(LEVELS - 1, Math.floor(value * LEVELS)));
  });
  spans[here].classList.add('here');
}

function lookAt(k) {
  spans[here].classList.remove('here');
  here = Math.max(0, Math.min(n - 1, k));
  spans[here].classList.add('here');
  showAlternatives();
  showValue();
}

/** The character on the line below (direction 1) or above (-1) that is nearest to the one that the reader looks at. */
function lineAway(direction) {
  const {offsetTop: top, offsetLeft: left} = spans[here], away = k => Math.abs(spans[k].offsetLeft - left);
  let k = here;
  while (spans[k + direction] && spans[k].offsetTop === top) k += direction;
  let nearest = k;
  for (const line = spans[k].offsetTop; spans[k] && spans[k].offsetTop === line; k += direction) {
    if (away(k) < away(nearest)) nearest = k;
  }
  return nearest;
}

function followReader() {
  const steps = {ArrowRight: () => here + 1, ArrowLeft: () => here - 1, ArrowDown: () => lineAway(1),
    ArrowUp: () => lineAway(-1), Home: () => 0, End: () => n - 1};
  byId('text').append(...spans);
  onKeys(byId('text'), steps, k => {
    lookAt(k);
    spans[here].scrollIntoView({block: 'nearest'});
  });
  for (const kind of ['pointerover', 'click']) {
    byId('text').addEventListener(kind, event => {
      const k = spans.indexOf(event.target);
      if (k >= 0) lookAt(k);
    });
  }
}

/** Calls act(steps[key]()) on each key that `steps` has, if when() is true. */
function onKeys(target, steps, act, when = () => true) {
  target.addEventListener('keydown', event => {
    if (!when() || !steps[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act(steps[event.key]());
  });
}

// ---- surprise

const costs = array(data.costs), best = array(data.best), chances = array(data.chances);

function paintCosts() {
  paint(k => k ? costs[k - 1] / DEAREST : null);
}

/** Shows which characters were expected where the reader looks, and which one came. */
function showAlternatives() {
  const K = best.length / (n - 1), first = (here - 1) * K;
  if (!here) return byId('where').replaceChildren('The first character: nothing came before it to expect it from.');
  const rows = Array.from(best.subarray(first, first + K), (number, j) => [number, chances[first + j]]);
  if (!rows.some(([number]) => number === text[here])) rows.push([text[here], Math.exp(-costs[here - 1])]);
  const before = visible(spelled.slice(Math.max(0, here - 24), here).join('')).replace(/\n/g, '\u21b5');
  byId('where').replaceChildren(
    element('div', 'context', element('bdi', '', '\u2026' + before), '\u25af'),
    element('div', 'bars', ...rows.flatMap(([number, p]) => (
      bar(named(number), p, percent(p), number === text[here] ? 'came' : '')))),
    element('p', 'number', element('b', '', element('bdi', '', named(text[here]))), ' came, for ',
      element('b', '', costs[here - 1].toFixed(2)), ' nats'));
}

function prepareSurprise() {
  const mean = costs.reduce((sum, cost) => sum + cost, 0) / costs.length;
  byId('mean').textContent = `mean: ${mean.toFixed(3)} nats a character, ${(mean / Math.LN2).toFixed(3)} bits`;
}

// ---- cells

const states = array(data.states), features = Object.keys(data.correlations);
let unit = 0;                                              // of data.units, the one that colours the text

const correlation = u => data.correlations[byId('feature').value][u];

/** Lists the units: those that follow the chosen feature best come first. */
function listUnits() {
  const order = data.units.map((_, u) => u).sort((a, b) => Math.abs(correlation(b)) - Math.abs(correlation(a)));
  byId('units').replaceChildren(...order.map(u => {
    const {layer, number} = data.units[u], r = correlation(u);
    const item = element('li', '', ...bar(`layer ${layer}, unit ${number}`, Math.abs(r), signed(r), ''));
    item.id = 'unit-' + u;
    item.setAttribute('role', 'option');
    item.addEventListener('click', () => choose(u));
    return item;
  }));
  choose(order[0]);
}

/** Colours the text by a unit of data.units. */
function choose(u) {
  unit = u;
  for (const item of byId('units').children) item.setAttribute('aria-selected', item.id === 'unit-' + u);
  byId('units').setAttribute('aria-activedescendant', 'unit-' + u);
  const list = byId('units'), top = byId('unit-' + u).offsetTop, height = byId('unit-' + u).offsetHeight;
  list.scrollTop = Math.max(top + height - list.clientHeight, Math.min(top, list.scrollTop));
  [byId('pale').textContent, byId('deep').textContent] = ends().map(byte => 'C ' + valueOf(byte));
  showValue();
  if (view() === 'cells') paintUnit();
}

/** The bytes that get the palest and the deepest colour: not the extremes, so that a few outliers do not decide. */
function ends() {
  const sorted = states.slice(unit * n, unit * n + n).sort();
  const low = sorted[Math.floor(0.02 * n)], high = sorted[Math.floor(0.98 * (n - 1))];
  return correlation(unit) < 0 ? [high, low] : [low, high];
}

function paintUnit() {
  const [pale, deep] = ends();
  paint(k => Math.max(0, Math.min(1, (states[unit * n + k] - pale) / (deep - pale || 1))));
}

/** The C that a byte of the unit's states stands for, as a text. */
function valueOf(byte) {
  const {least, most} = data.units[unit];
  return (least + (most - least) * byte / 255).toFixed(2).replace('-', '\u2212');
}

function showValue() {
  byId('value').replaceChildren('at ', element('bdi', '', named(text[here])), ': ' + valueOf(states[unit * n + here]));
}

/** Chooses the unit that is `by` places further down the list. */
function step(by) {
  const items = Array.from(byId('units').children), at = items.findIndex(item => item.id === 'unit-' + unit);
  choose(Number(items[Math.max(0, Math.min(items.length - 1, at + by))].id.slice('unit-'.length)));
}

function prepareCells() {
  const strongest = name => Math.max(...data.correlations[name].map(Math.abs));
  features.sort((a, b) => strongest(b) - strongest(a));
  for (const name of features) {
    const option = element('option', '', `${name} (best ${strongest(name).toFixed(2)})`);
    option.value = name;
    byId('feature').append(option);
  }
  byId('feature').addEventListener('change', listUnits);
  byId('previous').addEventListener('click', () => step(-1));
  byId('next').addEventListener('click', () => step(1));
  onKeys(byId('units'), {ArrowDown: () => 1, ArrowUp: () => -1, PageDown: () => 8, PageUp: () => -8,
    Home: () => -data.units.length, End: () => data.units.length}, step);
  onKeys(document.body, {j: () => 1, k: () => -1}, step, () => view() === 'cells');
  listUnits();
}

// ---- writing

const SLICE = 20;                                          // milliseconds of writing between reactions to the reader
let writer = null, spell = null, parameters = null;        // null until they are needed
let left = 0, running = false, timer = 0;                  // left: characters that are still to be written
let begun = 0, done = 0;                                   // when writing began or continued; characters since then

/** The number in a field, from least to most. Throws an Error that says what was expected. */
function field(id, least, most, whole) {
  const value = Number(byId(id).value.trim() || NaN), name = byId(id).parentElement.firstChild.textContent;
  const wrong = !(value >= least && value <= most) || whole && !Number.isInteger(value);
  byId(id).setAttribute('aria-invalid', wrong);
  if (wrong) throw new Error(`${name}: expected a ${whole ? 'whole ' : ''}number from ${least} to ${grouped(most)}`);
  return value;
}

function settings() {
  return {topK: field('top-k', 1, data.uchar.length, true), temperature: field('temperature', 0.01, 100, false),
    length: field('length', 1, 1e6, true), seed: field('seed', 0, 2 ** 32 - 1, true)};
}

function begin() {
  const choice = settings(), prime = numbersOf(byId('prime').value);
  parameters = parameters || Object.fromEntries(Object.entries(data.parameters).map(([name, p]) => [name, array(p)]));
  writer = new Writer(parameters, prime, choice);
  spell = speller();
  byId('written').replaceChildren(element('span', 'prime', ''), element('span', '', ''));
  goOn();
}

function goOn() {
  left = left || settings().length;
  running = true;
  clearTimeout(timer);                                     // of an earlier text
  begun = performance.now();
  done = 0;
  write();
}

/** Writes for SLICE milliseconds, and calls itself again after the page has reacted to the reader. */
function write() {
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
  if (running) timer = setTimeout(write);
  showProgress();
}

function showProgress() {
  const seconds = (performance.now() - begun) / 1000;
  byId('stop').disabled = !writer;
  byId('stop').textContent = running ? 'Stop' : 'Continue';
  byId('speed').textContent = running ? '' : `${grouped(done)} characters, ${grouped(done / seconds)} a second`;
}

/** Calls act(), and shows an error in the settings below them. */
function attempt(act) {
  byId('wrong').hidden = true;
  try {
    act();
  } catch (error) {
    byId('wrong').textContent = error.message;
    byId('wrong').hidden = false;
  }
}

function prepareWriting() {
  byId('top-k').value = data.uchar.length;
  byId('settings').addEventListener('submit', event => {
    event.preventDefault();
    left = 0;
    attempt(begin);
  });
  byId('stop').addEventListener('click', () => {
    if (running) running = false;
    else attempt(goOn);
    showProgress();
  });
}

// ---- about

/** A new element of SVG with attributes and a text. */
function drawn(tag, attributes, content = '') {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = content;
  return made;
}

/** About five round numbers from least to most. */
function ticks(least, most) {
  const rough = (most - least) / 5 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const apart = [1, 2, 5, 10].map(k => k * power).find(step => step >= rough), found = [];
  for (let k = Math.ceil(least / apart); k * apart <= most; k++) found.push(Number((k * apart).toPrecision(6)));
  return found;
}

/** The costs of a run against its epochs. rows: [epoch, mean training cost, validation cost or null]. */
function drawCosts(rows) {
  const W = Math.min(680, document.body.clientWidth - 32), H = 300, edge = {left: 44, right: 120, top: 12, bottom: 40};
  const all = rows.flatMap(row => row.slice(1)).filter(cost => cost !== null), last = rows[rows.length - 1][0];
  const least = Math.min(...all), most = Math.max(...all), first = rows[0][0];
  const x = epoch => edge.left + (epoch - first) / (last - first || 1) * (W - edge.left - edge.right);
  const y = cost => H - edge.bottom - (cost - least) / (most - least || 1) * (H - edge.top - edge.bottom);
  const svg = drawn('svg', {width: W, height: H, role: 'img', 'aria-label': 'Costs of its epochs'});
  for (const cost of ticks(least, most)) {
    svg.append(drawn('line', {class: 'grid', x1: edge.left, x2: W - edge.right, y1: y(cost), y2: y(cost)}),
      drawn('text', {x: edge.left - 8, y: y(cost) + 4, 'text-anchor': 'end'}, cost));
  }
  for (const epoch of ticks(first, last).filter(Number.isInteger)) {
    svg.append(drawn('text', {x: x(epoch), y: H - edge.bottom + 18, 'text-anchor': 'middle'}, epoch));
  }
  svg.append(drawn('text', {x: (edge.left + W - edge.right) / 2, y: H - 4, 'text-anchor': 'middle'}, 'epoch'));
  for (const [column, name] of [[1, 'training'], [2, 'validation']]) {
    const points = rows.filter(row => row[column] !== null), end = points[points.length - 1];
    if (!end) continue;
    svg.append(drawn('polyline', {class: name, points: points.map(row => `${x(row[0])},${y(row[column])}`).join(' ')}),
      drawn('text', {class: name, x: x(end[0]) + 8, y: y(end[column]) + 4}, `${name} ${end[column].toFixed(3)}`));
  }
  return [element('h2', '', 'What it cost while it learned'),
    element('p', 'quiet', 'In nats a character, for the training text and for the validation text.'), svg];
}

function prepareAbout() {
  for (const line of data.info) {
    const colon = line.indexOf(': ') + 1;
    if (colon) byId('info').append(element('dt', '', visible(line.slice(0, colon - 1))));
    byId('info').append(element('dd', '', visible(line.slice(colon).trim())));
  }
  if (data.epochs.length) byId('costs').append(...drawCosts(data.epochs));
}

// ---- which view

const view = () => document.body.dataset.view;

function show(name) {
  document.body.dataset.view = name;
  for (const other of VIEWS) {
    const chosen = other === name;
    byId('tab-' + other).setAttribute('aria-selected', chosen);
    byId('tab-' + other).tabIndex = chosen ? 0 : -1;
  }
  const reading = name === 'surprise' || name === 'cells';
  byId('reading-panel').hidden = !reading;
  byId('writing-panel').hidden = name !== 'writing';
  byId('about-panel').hidden = name !== 'about';
  byId('surprise-side').hidden = name !== 'surprise';
  byId('cells-side').hidden = name !== 'cells';
  if (reading) {
    byId('reading-panel').setAttribute('aria-labelledby', 'tab-' + name);
    name === 'cells' ? paintUnit() : paintCosts();
  }
}

function prepareViews() {
  const turn = by => VIEWS[(VIEWS.indexOf(view()) + by + VIEWS.length) % VIEWS.length];
  const go = name => {
    history.replaceState(null, '', '#' + name);
    show(name);
  };
  for (const name of VIEWS) byId('tab-' + name).addEventListener('click', () => go(name));
  onKeys(document.querySelector('[role=tablist]'), {ArrowRight: () => turn(1), ArrowLeft: () => turn(-1)}, name => {
    go(name);
    byId('tab-' + name).focus();
  });
  const named = () => VIEWS.find(name => location.hash === '#' + name) || 'surprise';
  window.addEventListener('hashchange', () => show(named()));
  show(named());
}

function prepare() {
  document.title = `What ${visible(data.name)} learned`;
  byId('name').textContent = visible(data.name);
  byId('model').textContent = visible(data.model);
  byId('source').textContent = visible(data.source);
  for (const scale of document.querySelectorAll('.scale')) {
    scale.append(...Array.from({length: LEVELS}, (_, level) => element('span', 'v' + level)));
  }
  followReader();
  prepareSurprise();
  prepareCells();
  prepareWriting();
  prepareAbout();
  prepareViews();
  lookAt(Math.min(1, n - 1));
}

prepare();

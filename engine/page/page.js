// What the views share: elements, the state of the page and its address, work in slices, and what is saved. A view is a
// function in a file of its own, which views() calls once, and of which these parts may be missing:
//
//   show     called when the view is chosen, and when another text is shown; it colours the text by text.paint()
//   follow   called when the reader looks at another character while the view is shown
//   table    returns the rows that the reader saves as CSV, the first of which has their names
//   figure   returns a drawing, an element of SVG, that the reader saves
//
// In page.html, an element is shown in the views that its data-view names. All files are one script, so a name is
// declared in only one of them. What else changes is inside of functions.

const isNarrow = matchMedia('(max-width: 56rem)');

// ---- elements

/** A new element of a class, with children: elements or texts. Texts and names are never taken for HTML. */
function element(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

/** A new element of SVG with attributes and a text. */
function drawn(tag, attributes, content = '') {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = content;
  return made;
}

/** The elements of a row of a bar chart: a name, a bar with a length from 0 to 1, a number. */
function bar(what, length, number, className = '') {
  const inner = element('div', '');
  inner.style.width = 100 * length + '%';
  return [element('span', 'what ' + className, element('bdi', '', what)), element('div', 'bar ' + className, inner),
    element('span', 'number ' + className, number)];
}

/** Calls act(event) when a control is clicked, changed or used, as `kind` says. */
const on = (id, kind, act) => byId(id).addEventListener(kind, act);

/** Calls act(steps[key]()) on each key that `steps` has, if when() is true. */
function onKeys(target, steps, act, when = () => true) {
  target.addEventListener('keydown', event => {
    if (!when() || !steps[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act(steps[event.key]());
  });
}

/** Makes a button play: a click calls begin(), and then act() every `pace` milliseconds. Returns what stops it. */
function playing(id, pace, act, begin = () => {}) {
  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    byId(id).textContent = 'Play';
  };
  on(id, 'click', () => {
    if (timer) return stop();
    begin();
    byId(id).textContent = 'Pause';
    timer = setInterval(act, pace);
  });
  return stop;
}

/** The whole number in a field. Throws an Error that says what was expected. */
function numberIn(id) {
  const {min, max, labels, valueAsNumber: value} = byId(id);
  if (byId(id).checkValidity() && !isNaN(value)) return value;
  throw new Error(`${labels[0].firstChild.textContent.trim()}: expected a whole number from ${min} to ` +
    format.grouped(Number(max)));
}

/** Shows a line in an element, which is hidden without one. */
function say(id, line) {
  if (byId(id).textContent !== line) byId(id).textContent = line;      // a screen reader says it anew each time
  byId(id).hidden = !line;
}

/** Calls act(), and shows its error in an element. */
function attempt(act, id) {
  say(id, '');
  try {
    act();
  } catch (error) {
    say(id, error.message);
  }
}

// ---- work in slices

/**
 * Runs a generator in slices, between which the page reacts to the reader. Calls show() after each slice with what was
 * yielded last, and then() at the end. Returns a function that stops it.
 */
function inSlices(work, show, then = () => {}) {
  const SLICE = 30;                                        // milliseconds between reactions to the reader
  let timer = 0;
  const slice = () => {
    const end = performance.now() + SLICE;
    let found = work.next();
    while (!found.done && performance.now() < end) found = work.next();
    if (found.done) return then(found.value);
    timer = setTimeout(slice);
    show(found.value);
  };
  slice();
  return () => clearTimeout(timer);
}

/** The work of the view that is shown: it ends when another one begins, or another view is shown. */
const work = {
  stop: () => {},

  begin(generator, show, then) {
    work.stop();
    work.stop = inSlices(generator, show, then);
  },
};

// ---- the state

/**
 * What the page shows. Only change() changes it, and the page's address says it after the #, so that a reload, a
 * bookmark or a link shows the same again:  #cells&place=620&feature=inside%20quotes&unit=C2:223&hold=C2:223=0.53
 *
 * view: its name; mode: of Surprise. place: the number of the character that the reader looks at; pinned: whether a
 * click or a key chose it, and pointing does not move it. unit: its name, or null for the first of the list. feature:
 * of that list, or null for the first. of: which number of a unit colours the text, 'C' or 'h'. hold: a unit and the
 * value of its C in Writing, {unit, value}, or null. words: a text of the reader's, or '' for that of the page. source:
 * of Learning, 'run' or 'here'.
 */
const state = {
  view: null, mode: 'surprise', place: 0, pinned: false, unit: null, feature: null, of: 'C', hold: null, words: '',
  source: 'run',

  followers: [],                                           // each {parts, act}, in the order in which they are called

  /** Calls act() whenever one of some parts has changed. parts: their names. */
  follow(parts, act) {
    state.followers.push({parts, act});
  },

  /** Changes parts, calls what follows them, and puts them into the address. parts: new values by name. */
  change(parts) {
    const changed = Object.keys(parts).filter(name => state[name] !== parts[name]);
    Object.assign(state, parts);
    for (const follower of state.followers) if (follower.parts.some(name => changed.includes(name))) follower.act();
    if (changed.length) address.writeSoon();
  },
};

const address = {
  timer: 0,
  known: '',                                               // what was read or written last

  /** Writes it a little later: a browser refuses more than 100 changes in 30 seconds. */
  writeSoon() {
    address.timer = address.timer || setTimeout(address.write, 400);
  },

  write() {
    address.timer = 0;
    if (location.hash !== address.known) return;           // the reader has followed a link: read() comes next
    const {view, mode, place, pinned, feature, unit, of, hold, words, source} = state;
    const parts = {mode: mode !== 'surprise' && mode, place: pinned && String(place), feature, unit, of: of !== 'C' && of,
      hold: hold && `${hold.unit}=${hold.value.toFixed(4)}`, words, source: source !== 'run' && source};
    const written = Object.entries(parts).filter(([, value]) => value).map(([name, value]) => (
      `&${name}=${encodeURIComponent(value.replace(/\p{Cs}/gu, '\ufffd')).replace(/%3A/g, ':').replace(/%3D/g, '=')}`));
    history.replaceState(null, '', '#' + view + written.join(''));
    address.known = location.hash;
  },

  /** The parts of the state that an address says; what is of no view or unit of this page is left out. */
  read(names) {
    address.known = location.hash;
    const [view, ...rest] = location.hash.slice(1).split('&'), said = new URLSearchParams(rest.join('&'));
    const found = {view: names.includes(view) ? view : state.view || names[0]};
    const [held, value] = (said.get('hold') || '').split('='), place = Number(said.get('place'));
    if (said.has('words')) found.words = said.get('words');
    if (said.get('place') && Number.isInteger(place) && place >= 0) Object.assign(found, {place, pinned: true});
    if (modes().includes(said.get('mode'))) found.mode = said.get('mode');
    if (said.get('feature') in data.correlations) found.feature = said.get('feature');
    if (units.of(said.get('unit'))) found.unit = units.nameOf(units.of(said.get('unit')));
    if (said.has('source')) found.source = said.get('source') === 'here' ? 'here' : 'run';
    if (said.has('of')) found.of = said.get('of') === 'h' ? 'h' : 'C';
    if (units.of(held) && value && isFinite(value)) {
      found.hold = {unit: units.nameOf(units.of(held)), value: Number(value)};
    }
    return found;
  },
};

// ---- what the reader saves as a file

const saving = {
  /** Adds the buttons of a view that has a table() or a figure() to its element of page.html. */
  addButtons(name, {table, figure}) {
    const stem = data.name.replace(/\.npz$/, '').replace(/[^\p{L}\p{N}._-]+/gu, '_');
    const add = (label, type, content) => {
      const button = element('button', 'quiet link', `Save ${label}`);
      button.type = 'button';
      button.addEventListener('click', () => saving.save(`${stem}_${name}.${label.toLowerCase()}`, type, content()));
      byId(name + '-save').append(button);
    };
    if (table) add('CSV', 'text/csv', () => saving.csv(table()));
    if (figure) add('SVG', 'image/svg+xml', () => saving.svg(figure()));
  },

  /** Makes the browser save a file. */
  save(name, type, content) {
    const link = element('a', '');
    link.href = URL.createObjectURL(new Blob([content], {type}));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);          // the browser may ask the reader first
  },

  /** Rows of values as CSV, as RFC 4180 has it. */
  csv(rows) {
    const cell = value => /[",\r\n]/.test(value) ? `"${String(value).replace(/"/g, '""')}"` : String(value);
    return rows.map(row => row.map(cell).join(',') + '\r\n').join('');
  },

  /** An SVG of the page as the text of a file, with its looks in its attributes, on the background of the page. */
  svg(svg) {
    const copy = svg.cloneNode(true), copies = [copy, ...copy.querySelectorAll('*')];
    [svg, ...svg.querySelectorAll('*')].forEach((original, k) => {
      const style = getComputedStyle(original);
      for (const name of ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'font-size', 'font-family']) {
        copies[k].setAttribute(name, style.getPropertyValue(name));
      }
      copies[k].removeAttribute('class');
    });
    const [x, y, width, height] = svg.getAttribute('viewBox').split(' ');
    copy.prepend(drawn('rect', {x, y, width, height, fill: getComputedStyle(document.documentElement).backgroundColor}));
    return new XMLSerializer().serializeToString(copy);
  },
};

// ---- the views

/** The views by name, in the order of their tabs. */
const views = once(() => ({surprise: surpriseView(), cells: cellsView(), inside: insideView(), writing: writingView(),
  learning: learningView()}));

/** Calls a part of the view that is shown, if the view has it. */
const call = part => views()[state.view][part]?.();

function showView() {
  work.stop();
  document.body.dataset.view = state.view;
  for (const part of document.querySelectorAll('main [data-view]')) {
    part.hidden = !part.dataset.view.split(' ').includes(state.view);
  }
  for (const link of byId('tabs').children) {
    if (link.hash === '#' + state.view) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  byId('tabs').querySelector('[aria-current]').scrollIntoView({block: 'nearest', inline: 'center'});
  scrollTo(0, 0);
  call('show');
  if (state.pinned || state.view === 'surprise' || isNarrow.matches) text.bringIntoSight();
}

function prepare() {
  document.title = `What ${format.visible(data.name)} learned`;
  byId('name').textContent = format.visible(data.name);
  byId('source').textContent = format.visible(data.source);
  colour.fillScales();
  // In a narrow window an explanation would cover half of the text.
  for (const details of document.querySelectorAll('aside details')) details.open = !isNarrow.matches;
  text.prepare();
  text.show(array(data.text), expectedOf(data));
  for (const [name, view] of Object.entries(views())) saving.addButtons(name, view);
  const names = Object.keys(views()), links = Array.from(byId('tabs').children), tab = () => document.activeElement;
  const turn = by => links[(links.indexOf(tab()) + by + links.length) % links.length];
  onKeys(byId('tabs'), {ArrowRight: () => turn(1), ArrowLeft: () => turn(-1), Home: () => links[0],
    End: () => links[links.length - 1]}, link => link.focus());
  new ResizeObserver(([{target}]) => (                     // what sticks below the tabs, however large letters are
    document.documentElement.style.setProperty('--header', target.offsetHeight + 'px'))).observe(byId('tabs'));
  state.follow(['words'], text.takeWords);
  state.follow(['place', 'pinned'], text.mark);
  state.follow(['view'], showView);
  state.follow(['place'], () => call('follow'));
  window.addEventListener('hashchange', () => state.change(address.read(names)));
  window.addEventListener('pagehide', () => address.timer && address.write());
  state.change({place: text.strikingPlace(), ...address.read(names)});
}

document.addEventListener('DOMContentLoaded', prepare);

// What the views share: elements, the state of the page and its address, and work in slices. Each view is a function in
// a file of its own, which views() calls once. It returns an object with some of these functions:
//
//   show     called when the view is chosen or the text changes; colours the text with text.paint()
//   follow   called when the reader looks at another character while the view is shown
//   idle     called when its work is done
//
// In page.html, data-view lists the views that show an element. All files are joined into one script.

const isNarrow = matchMedia('(max-width: 56rem)');

/** Return a new element with a class and children (elements or texts). Texts are never parsed as HTML. */
function element(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

/** Return a new SVG element with attributes and a text. */
function drawn(tag, attributes, content = '') {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = content;
  return made;
}

/** Return a button, for a mouse and for keys. */
function button(className, content, act) {
  const made = element('button', className, ...content);
  made.addEventListener('click', act);
  return made;
}

/** Return the elements of a row of a bar chart: a name, which may be a button, a bar of length 0 to 1, and a number. */
function bar(what, length, number, className = '', act = null) {
  const inner = element('div', ''), name = element('bdi', '', what);
  inner.style.width = 100 * length + '%';
  return [act ? button('what key', [name], act) : element('span', 'what ' + className, name),
    element('div', 'bar ' + className, inner), element('span', 'number ' + className, number)];
}

/** Call act(event) on each event of type `kind` of a control. */
const on = (id, kind, act) => byId(id).addEventListener(kind, act);

/** Call act(steps[key]()) on each press of a key in `steps`. */
function onKeys(target, steps, act) {
  target.addEventListener('keydown', event => {
    if (!steps[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act(steps[event.key]());
  });
}

/** Return play(goesOn) of a button: it calls next() after pace() milliseconds, again and again until that is false. */
function player(id, next, pace) {
  let timer = 0;
  const play = goesOn => {
    clearTimeout(timer);
    timer = goesOn ? setTimeout(() => play(next()), pace()) : 0;
    byId(id).textContent = timer ? 'Pause' : 'Play';
  };
  on(id, 'click', () => play(!timer));
  return play;
}

/** Show a line in an element, or hide the element if the line is empty. */
function say(id, line) {
  if (byId(id).textContent !== line) byId(id).textContent = line;      // a screen reader repeats each change
  byId(id).hidden = !line;
}

/** Return a worker, which runs one generator at a time, after `wait` ms. idle: called when no other has begun. */
function worker(idle, wait) {
  const SLICE = 30;                                        // milliseconds between reactions to the reader
  let job = null, timer = 0;
  const own = {
    isBusy: () => job !== null,

    stop() {
      clearTimeout(timer);
      job = null;
    },

    /** Run a generator in slices, between which the page reacts. Calls show(last value) after each, then(result). */
    begin(generator, show, then = () => {}) {
      own.stop();
      job = generator;
      const slice = () => {
        const end = performance.now() + SLICE;
        let found = generator.next();
        while (!found.done && performance.now() < end) found = generator.next();
        if (job !== generator) return;                     // it was stopped by what it called
        if (!found.done) {
          timer = setTimeout(slice);
          return show(found.value);
        }
        job = null;
        then(found.value);
        if (!job) idle();
      };
      if (wait) timer = setTimeout(slice, wait);
      else slice();
    },
  };
  return own;
}

/** The reading or training of the current view, and its writing. They stop when another view is shown. */
const work = worker(() => call('idle'), 0), writing = worker(() => {}, 1);      // what was typed is shown first

const DEFAULTS = {mode: 'surprise', of: 'C', temperature: data.learner.temperature, seed: 1, source: 'run',
  formula: data.cell.source || data.learner.formulas['no forget gate'], size: '2x64'};         // not in the address

/**
 * What the page shows. Only change() changes it. The page's address stores it after the #, so that a reload, a bookmark
 * or a link shows the same state:  #surprise&place=620&words=it%20was&hold=C2:223=0.53
 *
 * view: its name. mode: the mode of Surprise. place: index of the character that the reader looks at. pinned: true if
 * it was chosen by a click or a key, so that pointing does not change it. unit: a name, or null for the first in the
 * list. feature: its name, or null for the first. of: the value of a unit that colours the text, 'C', 'h' or a row.
 * hold: a held unit and its state, {unit, value}, or null. words: the reader's own text, or '' for the page's text.
 * temperature, seed: of what the network writes. source: what Learning shows, 'run' or 'here'. formula: of the cell in
 * Lab. size: of networks to train, layers x units of each.
 */
const state = {
  ...DEFAULTS, view: null, place: 0, pinned: false, unit: null, feature: null, hold: null, words: '',

  followers: [],                                           // each {parts, act}, called in this order

  /** Call act() whenever one of some parts has changed. parts: their names. */
  follow(parts, act) {
    state.followers.push({parts, act});
  },

  /** Change parts, call their followers, and update the address. parts: new values by name. */
  change(parts) {
    const changed = Object.keys(parts).filter(name => state[name] !== parts[name]);
    Object.assign(state, parts);
    for (const follower of state.followers) if (follower.parts.some(name => changed.includes(name))) follower.act();
    if (changed.length) address.writeSoon();
  },
};

const address = {
  timer: 0,
  known: '',                                               // the hash that was last read or written

  /** Write the address a little later: browsers refuse more than 100 changes in 30 seconds. */
  writeSoon() {
    address.timer = address.timer || setTimeout(address.write, 400);
  },

  write() {
    address.timer = 0;
    if (location.hash !== address.known) return;           // the reader has followed a link: read() comes next
    const {followers, follow, change, ...shown} = state, {place, pinned, hold} = shown;
    const parts = {...shown, view: '', place: pinned ? place : '', pinned: '',
      hold: hold && `${hold.unit}=${hold.value.toFixed(4)}`};
    const encode = value => encodeURIComponent(String(value).replace(/\p{Cs}/gu, '\ufffd'));
    const written = Object.entries(parts).filter(([name, value]) => ![null, '', DEFAULTS[name]].includes(value))
      .map(([name, value]) => `&${name}=${encode(value).replace(/%3A/g, ':').replace(/%3D/g, '=')}`);
    history.replaceState(shown, '', '#' + state.view + written.join(''));
    address.known = location.hash;
  },

  /** Return the parts of the state in the address, except those that name no view, feature or unit of this page. */
  read() {
    address.known = location.hash;
    const [view, ...rest] = location.hash.slice(1).split('&'), said = new URLSearchParams(rest.join('&'));
    const found = {view: Object.hasOwn(views(), view) ? view : state.view || 'surprise'};
    const [held, value] = (said.get('hold') || '').split('='), place = Number(said.get('place'));
    const kinds = {mode: Object.keys(modes()), feature: Object.keys(data.correlations), source: ['run', 'here'],
      of: ['C', 'h', ...Object.keys(units.rows)], size: Array.from(byId('learn-size').options, each => each.value)};
    for (const [name, values] of Object.entries(kinds)) {
      if (values.includes(said.get(name))) found[name] = said.get(name);
    }
    for (const name of ['words', 'formula']) if (said.has(name)) found[name] = said.get(name);
    for (const [name, most] of [['temperature', 2], ['seed', 2 ** 32 - 1]]) {
      if (Number(said.get(name) || NaN) >= 0) found[name] = Math.min(most, Number(said.get(name)));
    }
    if (said.get('place') && Number.isInteger(place) && place >= 0) Object.assign(found, {place, pinned: true});
    if (units.of(said.get('unit'))) found.unit = said.get('unit');
    if (units.of(held) && value && isFinite(value)) found.hold = {unit: held, value: Number(value)};
    return found;
  },
};

/** The views by name, in the order of their tabs. */
const views = once(() => ({surprise: surpriseView(), cells: cellsView(), inside: insideView(), learning: learningView(),
  lab: labView(), about: {}}));

/** Call a function of the current view, if the view has it. */
const call = part => views()[state.view][part]?.();

/** Fill in what is known of the model, its cell and its training. */
function fillAbout() {
  for (const id of ['name', 'about-name']) byId(id).textContent = format.visible(data.title);
  for (const id of ['about-sizes', 'inside-sizes']) byId(id).textContent = data.layers;
  for (const part of document.querySelectorAll('[data-standard]')) {
    part.hidden = part.dataset.standard !== String(data.cell.standard);
  }
  for (const [name, said] of data.info) {
    byId('info').append(element('dt', '', format.visible(name)), element('dd', '', format.visible(said)));
  }
}

/** Fill the links that try something, and an example: with the best-known cell, its range, and striking places. */
function fillLinks() {
  const {name: BEST = units.all()[0], feature: KNOWN = ''} = gallery.features()[0] || {};
  const [LOW, HIGH] = units.rangeOf(BEST), SHOWS = gallery.good().at(-1)?.name || BEST;
  const values = {BEST, KNOWN, LOW, HIGH, SHOWS, WHY: modes().why.strikingPlace(), BEFORE: text.strikingPlace() - 1,
    USUAL: DEFAULTS.temperature, GATE: Object.keys(units.rows)[0], END: text.spelled.indexOf('\n', 100)};
  for (const link of document.querySelectorAll('main a')) {
    link.hash = link.hash.replace(/[A-Z]{3,}/g, name => values[name]);
  }
  const quote = gallery.good().find(({feature}) => feature === 'inside quotes');
  if (quote) gallery.hold(byId('speaks'), quote.name, quote.match).parentNode.hidden = false;
  byId('cells-example').textContent = `${BEST} is unit ${units.of(BEST).number} of layer ${units.of(BEST).layer}`;
}

function showView() {
  work.stop();
  writing.stop();
  document.body.dataset.view = state.view;
  for (const part of document.querySelectorAll('main [data-view]')) {
    part.hidden = !part.dataset.view.split(' ').includes(state.view);
  }
  for (const link of byId('tabs').children) link.ariaCurrent = link.hash === '#' + state.view ? 'page' : null;
  byId('tabs').querySelector('[aria-current]').scrollIntoView({block: 'nearest', inline: 'center'});
  scrollTo(0, 0);
  call('show');
  showPlace();
}

/** Scroll to what a link is for; a tab opens at the top. */
function showPlace() {
  if (/&(place|mode=why)/.test(location.hash)) text.bringIntoSight('center');
  else if (/&of=/.test(location.hash)) byId('reading').scrollIntoView();
}

function prepare() {
  document.title = `What a network learned from ${format.visible(data.title)}`;
  for (const id of ['how', 'all-cells']) byId(id).open = !isNarrow.matches;            // would cover half of the text
  text.prepare();
  text.show(array(data.text), {costs: array(data.costs), best: array(data.best), chances: array(data.chances)});
  views();                                                 // their followers are called before those below
  new ResizeObserver(([{target}]) => (                     // elements stick below the tabs at any font size
    document.documentElement.style.setProperty('--header', target.offsetHeight + 'px'))).observe(byId('tabs'));
  fillAbout();
  live.prepare();
  state.follow(['words'], text.takeWords);
  fillLinks();
  state.follow(['place', 'pinned'], text.mark);
  state.follow(['view'], showView);
  state.follow(['place'], () => call('follow'));
  window.addEventListener('hashchange', () => {
    state.change({...address.read(), ...history.state});   // which the browser's Back has
    showPlace();
  });
  window.addEventListener('pagehide', () => address.timer && address.write());
  const linked = address.read(), opensWith = linked.mode === 'why' ? modes().why : text;
  state.change({place: opensWith.strikingPlace(), ...linked});
  if (state.view === 'surprise' && !/&(place|mode)/.test(location.hash)) byId('words').focus({preventScroll: true});
}

document.addEventListener('DOMContentLoaded', () => {
  if (PRODUCT) prepare();
  else document.body.replaceChildren('This page needs WebAssembly with SIMD, which this browser does not have.');
});

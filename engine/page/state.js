// What the page shows, in one object. The page's address says it after the #, so that a reload, a bookmark or a link
// shows the same again:
//
//     #cells&place=620&feature=inside%20quotes&unit=C2:223&hold=C2:223=0.53&words=It%20is

/**
 * view: its name. place: the number of the character that the reader looks at; pinned: whether a click or a key chose
 * it, and pointing does not move it. unit: its name, such as C2:223, or null for the first of the list. feature: of
 * the list of units, or null for the first. of: which number of a unit colours the text, 'C' or 'h'. held: a Map from
 * units that are held, as numbers of data.units, to bytes of C. inside: what Inside reads, 'text' or 'words'. words:
 * what the reader types there and in Your words, null before an edit. note: on held units that the address says and the
 * page did not take as they are, '' without any. scrolls: positions, by panel. Only change() changes these.
 */
const state = {
  view: null, place: 0, pinned: false, unit: null, feature: null, of: 'C', held: new Map(), inside: 'text', words: null,
  note: '', scrolls: {},

  MOST_TYPED: 20_000,                                      // characters of what is typed that are read and kept
  followers: [],                                           // each {parts, act}, in the order in which they are called

  /** Calls act() whenever one of some parts has changed. parts: their names. */
  follow(parts, act) {
    state.followers.push({parts, act});
  },

  /** What is read and kept of a text that is typed: its first characters, and a line on the rest, '' without one. */
  cut(text) {
    const {MOST_TYPED: most} = state, found = Vocabulary.firstOf(text, most);
    const rest = found.length > most ? `Only the first ${format.grouped(most)} characters are read and kept.` : '';
    return {characters: found.slice(0, most), rest};
  },

  /** Changes parts, calls what follows them, and puts them into the address. parts: new values by name. */
  change(parts) {
    const changed = Object.keys(parts).filter(name => state[name] !== parts[name]);
    Object.assign(state, parts);
    for (const follower of state.followers) if (follower.parts.some(name => changed.includes(name))) follower.act();
    if (changed.length) address.writeSoon();
  },
};

/** The page's address, from its # on. */
const address = {
  timer: 0,

  /** Writes it a little later: a browser refuses more than 100 changes in 30 seconds. */
  writeSoon() {
    address.timer = address.timer || setTimeout(address.write, 400);
  },

  write() {
    address.timer = 0;
    history.replaceState({scrolls: state.scrolls}, '', address.written());
  },

  /** The address of the state. */
  written() {
    const {view, place, pinned, feature, unit, of, held, inside, words} = state, parts = [view];
    const code = text => encodeURIComponent(text.replace(/\p{Cs}/gu, '\ufffd'));
    if (pinned) parts.push(`place=${place}`);
    if (feature !== null) parts.push('feature=' + code(feature));
    if (unit !== null) parts.push('unit=' + unit);
    if (of !== 'C') parts.push('of=' + of);
    const ofUnits = Array.from(held, ([u, byte]) => `${units.nameOf(u)}=${units.cellState(u, byte).toFixed(4)}`);
    if (held.size) parts.push('hold=' + ofUnits.join());
    if (inside !== 'text') parts.push('inside=' + inside);
    if (words !== null) parts.push('words=' + code(state.cut(words).characters.join('')));
    return '#' + parts.join('&');
  },

  /** The held units that an address says: {held, note} as in the state. text: what follows hold=. */
  heldIn(text) {
    const ROUNDING = 1e-4;                                 // of the values that written() writes, and more
    const held = new Map(), notes = [];
    for (const said of text.split(',').filter(Boolean)) {
      const [name, value] = said.split('='), u = units.numberOf(name), C = address.numberIn(value);
      if (u < 0 || !isFinite(C)) {
        notes.push(` ${said} was not taken: this page has no such unit, or the value is no number.`);
        continue;
      }
      const {least, most} = data.units[u], byte = units.byteOf(u, C);
      held.set(u, byte);
      if (C >= least - ROUNDING && C <= most + ROUNDING) continue;
      notes.push(` ${said} became ${format.twoDigits(units.cellState(u, byte))}, the nearest C in this text.`);
    }
    return {held, note: format.visible(notes.join('') && 'Held units of the address:' + notes.join(''))};
  },

  /** The number in a text, NaN if it has none. */
  numberIn: text => Number(text && text.trim() || NaN),

  /** The parts of the state that an address says. What is missing, or not of this page, is as at first. */
  read(hash, views, places) {
    const [view, ...rest] = hash.slice(1).split('&'), said = new URLSearchParams(rest.join('&'));
    const place = address.numberIn(said.get('place')), pinned = Number.isInteger(place) && 0 <= place && place < places;
    const [, layer, number] = /^C([12]):(0|[1-9]\d*)$/.exec(said.get('unit')) || [];
    return {
      view: views.includes(view) ? view : views[0], place: pinned ? place : Math.min(1, places - 1), pinned,
      feature: Object.keys(data.correlations).includes(said.get('feature')) ? said.get('feature') : null,
      unit: Number(number) < data.snapshots.sizes[2 * layer - 1] ? said.get('unit') : null,
      of: said.get('of') === 'h' ? 'h' : 'C', ...address.heldIn(said.get('hold') || ''),
      inside: said.get('inside') === 'words' ? 'words' : 'text', words: said.get('words'),
    };
  },
};

// The text, a span a character: its colours, and the character that the reader looks at.

const LEVELS = 16;                                         // shades of a colour
const MARKS = {'\n': '\u21b5\n', '\t': '\u2192\t', '': '\xb7'};   // of characters that are invisible by themselves
const text = array(data.text), n = text.length, spelled = Array.from(text, speller()), spans = spelled.map(spanOf);
let here = Math.min(1, n - 1);                             // the number of the character that the reader looks at

function spanOf(character) {
  const span = element('span', character in MARKS ? 'faint' : '', MARKS[character] || visible(character));
  if (visible(character) !== character) span.dir = 'ltr';  // an escape, also in a line from right to left
  return span;
}

/** Colours a character by a level from -1 to 1. 0 has no colour, and those below 0 another one. */
function tint(span, level) {
  const kept = ['faint', 'here', 'unknown'].filter(name => span.classList.contains(name));
  span.className = [...kept, 'v' + Math.min(LEVELS - 1, Math.floor(Math.abs(level) * LEVELS))].join(' ');
  span.classList.toggle('negative', level < 0);
}

/** Colours the text by level(k) for each character. */
function paint(level) {
  spans.forEach((span, k) => tint(span, level(k)));
  spans[here].classList.add('here');
}

/** The text before a character, on a line. */
function before(k) {
  return '\u2026' + onOneLine(spelled.slice(Math.max(0, k - 24), k).join(''));
}

/** The text before a character, and a mark for the character. */
function contextOf(k) {
  return element('div', 'context', element('bdi', '', before(k)), element('span', 'asked', '?'));
}

/** The name of a character, in bold; number: as for named. */
const inBold = number => element('b', '', element('bdi', '', named(number)));

function lookAt(k) {
  spans[here].classList.remove('here');
  here = Math.max(0, Math.min(n - 1, k));
  spans[here].classList.add('here');
  call(view(), 'follow');
  showPassage();
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

function prepareText() {
  const steps = {ArrowRight: () => here + 1, ArrowLeft: () => here - 1, ArrowDown: () => lineAway(1),
    ArrowUp: () => lineAway(-1), Home: () => 0, End: () => n - 1};
  byId('text').append(...spans);
  for (const scale of document.querySelectorAll('.scale')) {
    scale.append(...Array.from({length: LEVELS}, (_, level) => element('span', 'v' + level)));
  }
  onKeys(byId('text'), steps, k => {
    lookAt(k);
    spans[here].scrollIntoView({block: 'nearest'});
  });
  for (const kind of ['pointerover', 'click']) {
    byId('text').addEventListener(kind, event => {
      const k = spans.indexOf(event.target);
      if (k >= 0 && !(kind === 'pointerover' && views.get(view()).clicks)) lookAt(k);
    });
  }
}

// The text, a span a character: its colours, and the character that the reader looks at.

const LEVELS = 16;                                         // shades of a colour
const MARKS = {'\n': '\u21b5\n', '\t': '\u2192\t', '': '\xb7'};   // of characters that are invisible by themselves

/** A character as it is shown. */
const marked = character => MARKS[character] || visible(character);

function spanOf(character) {
  const span = element('span', character in MARKS ? 'faint' : '', marked(character));
  if (visible(character) !== character) span.dir = 'ltr';  // an escape, also in a line from right to left
  return span;
}

/** Colours a character by a level from -1 to 1. 0 has no colour, and those below 0 another one. */
function tint(span, level) {
  const kept = ['faint', 'here', 'unknown'].filter(name => span.classList.contains(name));
  span.className = [...kept, 'v' + Math.min(LEVELS - 1, Math.floor(Math.abs(level) * LEVELS))].join(' ');
  span.classList.toggle('negative', level < 0);
}

/** The name of a character, in bold; number: as for named. */
const inBold = number => element('b', '', element('bdi', '', named(number)));

/**
 * Shows the text of the page. numbers: of its characters. Calls follow() when the reader looks at another character;
 * pointing() tells whether one looks at a character by pointing at it. Returns what the views use.
 */
function shownText(numbers, follow, pointing) {
  const n = numbers.length, spelled = Array.from(numbers, speller()), spans = spelled.map(spanOf);
  let here = Math.min(1, n - 1);                           // the number of the character that the reader looks at

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

  function lookAt(k) {
    spans[here].classList.remove('here');
    here = Math.max(0, Math.min(n - 1, k));
    spans[here].classList.add('here');
    follow();
  }

  function scrollTo(k) {
    lookAt(k);
    spans[here].scrollIntoView({block: 'nearest'});
  }

  /** The character on the line below (direction 1) or above (-1) that is nearest to the one looked at. */
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

  const steps = {ArrowRight: () => here + 1, ArrowLeft: () => here - 1, ArrowDown: () => lineAway(1),
    ArrowUp: () => lineAway(-1), Home: () => 0, End: () => n - 1};
  byId('text').append(...spans);
  onKeys(byId('text'), steps, scrollTo);
  for (const kind of ['pointerover', 'click']) {
    byId('text').addEventListener(kind, event => {
      const k = spans.indexOf(event.target);
      if (k >= 0 && (kind === 'click' || pointing())) lookAt(k);
    });
  }
  return {numbers, spelled, spans, paint, before, contextOf, scrollTo, get here() { return here; }};
}

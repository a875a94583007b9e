// How deep the characters and the units are coloured: by levels from 0 to 1, or from -1, which has another colour.

const colour = {
  LEVELS: 16,                                              // shades of a colour
  DEAREST: 6,                                              // cost in nats of the deepest one

  /** The level of the character k by costs, of all characters but the first; k: its number. */
  ofCost: (costs, k) => k ? costs[k - 1] / colour.DEAREST : 0,

  /** The values that get the palest and the deepest colour: not the extremes, so that a few outliers do not decide. */
  ends(values, reversed) {
    const sorted = Float64Array.from(values).sort(), last = sorted.length - 1;       // by number, as Array does not
    const ends = [sorted[Math.floor(0.02 * sorted.length)], sorted[Math.floor(0.98 * last)]];
    return reversed ? ends.reverse() : ends;
  },

  /** The level of a value, if `pale` gets the palest colour and `deep` the deepest. */
  between: (value, pale, deep) => Math.max(0, Math.min(1, (value - pale) / (deep - pale || 1))),

  /** Colours an element by a level from -1 to 1. 0 has no colour, and those below 0 another one. */
  tint(made, level) {
    const kept = ['faint', 'here', 'pinned', 'unknown'].filter(name => made.classList.contains(name));
    const classes = [...kept, 'v' + Math.min(colour.LEVELS - 1, Math.floor(Math.abs(level) * colour.LEVELS))];
    made.setAttribute('class', level < 0 ? [...classes, 'negative'].join(' ') : classes.join(' '));
  },
};

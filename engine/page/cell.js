// The cell of a layer as data, made by cell.py: what it declares, its formula, and the formula's gradient.
//
//     cell.forward    computes after, h, kept from a, before, cell_p, M
//     cell.backward   computes da, factors, d_before, d_cell_p from kept, before, after, cell_p, M, dh, d_after
//
// a: rows, such as a_f. before, after: the states. cell_p: own parameters and constants. kept: what the gradient reads.
// M: such matrices, which are followed by their width. A pair [k, v, g] of cell.pairs is two vectors of da and factors,
// v and g, whose product is a part of the gradient of matrix k.
// Both are code: inputs, outputs, and lines [name, operation, arguments], as ['t4', 'Mul', ['t3', 'before[0]']]. An
// argument is an input, an earlier line, or a number as text. An interpreter computes a line for all units, then the
// next: a page may not run scripts made from them.

/** Return a loop that computes f for each of H units. */
const each = f => (n, to, x, y, z, H) => {
  for (let k = 0; k < H; k++) n[to + k] = f(n[x + k], n[y + k], n[z + k]);
};

/** Loops that set H numbers of n, from index `to` on, by those from x, y and z on. Comparisons are 0 or 1. */
const LOOPS = {
  Identity: (n, to, x, y, z, H) => n.copyWithin(to, x, x + H),         // frequent ones are written out: f() is slow
  TrueDiv: (n, to, x, y, z, H) => { for (let k = 0; k < H; k++) n[to + k] = n[x + k] / n[y + k]; },
  Neg: (n, to, x, y, z, H) => { for (let k = 0; k < H; k++) n[to + k] = -n[x + k]; },
  Exp: (n, to, x, y, z, H) => { for (let k = 0; k < H; k++) n[to + k] = Math.exp(n[x + k]); },
  Add: each((x, y) => x + y), Sub: each((x, y) => x - y), Mul: each((x, y) => x * y), Pow: each((x, y) => x ** y),
  Expm1: each(Math.expm1), Log: each(Math.log), Log1p: each(Math.log1p), Sqrt: each(Math.sqrt), Sgn: each(Math.sign),
  Tanh: each(Math.tanh), ScalarSigmoid: each(x => 1 / (1 + Math.exp(-x))),
  ScalarSoftplus: each(x => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))),
  Minimum: each((x, y) => Math.min(x, y)), Maximum: each((x, y) => Math.max(x, y)), Abs: each(Math.abs),
  Sum: (n, to, x, y, z, H) => n.fill(n.subarray(x, x + H).reduce((a, b) => a + b), to, to + H),
  Max: (n, to, x, y, z, H) => n.fill(n.subarray(x, x + H).reduce((a, b) => Math.max(a, b)), to, to + H),
  Units: (n, to, x, y, z, H) => n.fill(H, to, to + H),
  Dot: (n, to, x, M, width, H) => {
    n.fill(0, to, to + H);
    for (let k = 0; k < H; k++) for (let j = 0; j < H; j++) n[to + j] += n[x + k] * n[M + k * width + j];
  },
  DotT: (n, to, x, M, width, H) => {
    n.fill(0, to, to + H);
    for (let j = 0; j < H; j++) for (let k = 0; k < H; k++) n[to + j] += n[x + k] * n[M + j * width + k];
  },
  Switch: each((which, yes, no) => which !== 0 ? yes : no),
  Clip: each((x, low, high) => x < low ? low : x > high ? high : x), LT: each((x, y) => Number(x < y)),
  GT: each((x, y) => Number(x > y)), LE: each((x, y) => Number(x <= y)), GE: each((x, y) => Number(x >= y)),
  EQ: each((x, y) => Number(x === y)), NEQ: each((x, y) => Number(x !== y)),
};
Object.assign(LOOPS, {AND: LOOPS.Mul, OR: LOOPS.Maximum});             // of 0 and 1

/** n values of H numbers side by side in a place, from a row on, as Program.run() takes them. */
const valuesIn = ({at, width}, row, n, H) => Array.from({length: n}, (_, k) => ({at: at + row * width + k * H, width}));

/** Code, ready to be run in a memory, whose numbers are an array of any type. */
class Program {
  /** memory: {numbers, place, loops}, as in network.js. width: the most units. */
  constructor({inputs, lines, outputs}, memory, width) {
    const places = this.places = new Map(inputs.map((name, k) => [name, outputs.length + k])), between = [];
    const placeOf = name => {
      if (!places.has(name)) places.set(name, outputs.length + inputs.length + between.push(name) - 1);
      return places.get(name);
    };
    // Outputs that no line computes are copied: rows at first, so that the lines read a held value, and others at last.
    const rows = inputs.filter(name => name.startsWith('a[') && outputs.includes(name));
    const computed = [...rows.map(row => [row, 'Identity', [row]]), ...lines], names = computed.map(([name]) => name);
    const copies = outputs.map((value, k) => ['', 'Identity', [value], k])
      .filter(([, , [value], k]) => !names.includes(value) || outputs.indexOf(value) < k);
    this.lines = [...computed, ...copies].map(([name, operation, values, to = outputs.indexOf(name)]) => {
      const [x, y = x, z = x] = values.map(placeOf);
      if (to >= 0) places.set(name, to);
      return {loop: memory.loops[operation], to: placeOf(name), x, y, z};
    });
    const first = outputs.length + inputs.length, room = memory.place(between.length, width);
    this.memory = memory;
    this.at = [];                                          // for each place, the index of its first number
    between.forEach((name, k) => {                         // lines, and numbers, which stay as they are
      const at = this.at[first + k] = room.at + k * room.width;
      memory.numbers.fill(Number(name), at, at + width);
    });
  }

  /**
   * Compute the outputs for H units of B streams. values: of outputs and inputs, each {at, width}: where the first
   * stream's begins, and the distance to the next one's. held: a list of [unit, value] for outputs with held units.
   */
  run(H, B, values, held = []) {
    const {at, lines, memory: {numbers}} = this;
    values.forEach((value, k) => { at[k] = value.at; });
    for (let s = 0; s < B; s++) {
      if (s) for (let k = 0; k < values.length; k++) at[k] += values[k].width;
      for (const {loop, to, x, y, z} of lines) {
        loop(numbers, at[to], at[x], at[y], at[z], H);
        if (held[to]) for (const [unit, value] of held[to]) numbers[at[to] + unit] = value;
      }
    }
  }

  /** Return a unit's number of a value by name, or of a number as text, in the last stream of run(). */
  valueOf(name, unit) {
    const {at, places, memory: {numbers}} = this;
    return places.has(name) ? numbers[at[places.get(name)] + unit] : Number(name);
  }
}

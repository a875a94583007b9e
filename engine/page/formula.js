// A cell as text, in the notation of charlstm.py, becomes data as in cell.js: the language of the laboratory.
//
//     cell(a_f, a_o, a_g, C_prev, p=0)          declares rows, states and parameters as in Python
//     f = sigmoid(a_f)
//     C = f*C_prev + (1 - f)*tanh(a_g)          h, and each state, must be set
//     h = sigmoid(a_o + p*C)*tanh(C)
//
// Python's own form is read, too: remembers = {'z': 1} before the cell as in a class, def, return, and a, b = x, y.
'use strict';

// Operations of cell.js, or functions that add several, as Theano defines them, and the number of their arguments.
const FUNCTIONS = {__proto__: null, sigmoid: ['ScalarSigmoid', 1], tanh: ['Tanh', 1], softplus: ['ScalarSoftplus', 1],
  relu: [(add, x) => add('Mul', '0.5', add('Add', x, add('Abs', x))), 1], exp: ['Exp', 1], log: ['Log', 1],
  sqrt: ['Sqrt', 1], abs: ['Abs', 1], minimum: ['Minimum', 2], maximum: ['Maximum', 2],
  clip: [(add, x, low, high) => add('Minimum', add('Maximum', x, low), high), 3]};
const OPERATORS = [{__proto__: null, '+': 'Add', '-': 'Sub'}, {__proto__: null, '*': 'Mul', '/': 'TrueDiv'}];

/** The chain rule: from the gradient g of a line's value r, those of its arguments. Of equal ones, the first has it. */
const GRADIENTS = {
  Add: (add, g) => [g, g],
  Sub: (add, g) => [g, add('Neg', g)],
  Mul: (add, g, r, x, y) => [add('Mul', g, y), add('Mul', g, x)],
  TrueDiv: (add, g, r, x, y) => [add('TrueDiv', g, y), add('Neg', add('TrueDiv', add('Mul', g, r), y))],
  Neg: (add, g) => [add('Neg', g)],
  Pow: (add, g, r, x, n) => [add('Mul', add('Mul', g, n), add('Pow', x, String(n - 1)))],          // n is a number
  ScalarSigmoid: (add, g, r) => [add('Mul', g, add('Mul', r, add('Sub', '1', r)))],
  Tanh: (add, g, r) => [add('Mul', g, add('Sub', '1', add('Mul', r, r)))],
  ScalarSoftplus: (add, g, r, x) => [add('Mul', g, add('ScalarSigmoid', x))],
  Exp: (add, g, r) => [add('Mul', g, r)],
  Log: (add, g, r, x) => [add('TrueDiv', g, x)],
  Sqrt: (add, g, r) => [add('TrueDiv', g, add('Add', r, r))],
  Abs: (add, g, r, x) => [add('Mul', g, add('Sgn', x))],
  Maximum: (add, g, r, x, y) => shared(add, g, add('GE', x, y)),
  Minimum: (add, g, r, x, y) => shared(add, g, add('LE', x, y)),
};
const shared = (add, g, first) => [add('Mul', g, first), add('Mul', g, add('Sub', '1', first))];

const isNumber = value => !isNaN(value);                   // a number as text, not the name of a line or an input

/** Return lines, and a function that adds one and returns its name; equal lines are one. prefix: of names. */
function linesWith(prefix) {
  const lines = [], names = new Map();
  const add = (operation, ...values) => {
    if (typeof operation === 'function') return operation(add, ...values);
    const key = [operation, ...values].join();
    if (operation === 'Neg' && isNumber(values[0])) return String(-values[0]);
    if (!names.has(key)) {
      names.set(key, prefix + lines.length);
      lines.push([names.get(key), operation, values]);
    }
    return names.get(key);
  };
  return [lines, add];
}

/** Return the gradients of values by name, in a Map. seeds: pairs of a value and its gradient. add: as above. */
function gradientsOf(lines, seeds, add) {
  const found = new Map();
  const receive = (value, g) => {
    if (!isNumber(value)) found.set(value, found.has(value) ? add('Add', found.get(value), g) : g);
  };
  for (const seed of seeds) receive(...seed);
  for (const [name, operation, values] of lines.toReversed()) {
    if (!found.has(name)) continue;
    GRADIENTS[operation](add, found.get(name), name, ...values).forEach((g, k) => receive(values[k], g));
  }
  return found;
}

/** A reader of a formula, by recursive descent. values: of names. shown: [name, expression, value] of what is set. */
class Parser {
  static TOKEN = /[ \t\r]*(?:tt\.(?:nnet\.)?(?=\w))?((?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|[a-z_]\w*|\*\*|\n\s*|[^]|$)/iy;
  static NUMBER = /^\.?\d/;
  static TAKEN = /^(U|W|b|h|M_.*|t\d+|(m|state|weights|carried|validation)_.*)$/;  // as in engine/kernel/cell.py

  constructor(source) {
    const [lines, add] = linesWith('t');
    Object.assign(this, {source, lines, add, end: signatureOf(source), values: new Map(), shown: []});
    this.next();
  }

  /** Return the token {text, at} and go on to the next one. */
  next() {
    const {token} = this;
    Parser.TOKEN.lastIndex = this.before = this.end;
    const [all, text] = Parser.TOKEN.exec(this.source);
    this.end += all.length;
    this.token = {text: text[0] === '\n' ? '\n' : text, at: this.end - text.length};
    return token;
  }

  /** Throw an error, with what is wrong as {at, text}. */
  fail(message, token = this.token) {
    throw Object.assign(new SyntaxError(message), {token});
  }

  /** Fail since something else was expected. */
  lacks(expected) {
    const [found, wanted] = [this.token.text || 'the end', expected].map(text => text === '\n' ? 'a line end' : text);
    this.fail(`${found} found, ${wanted} expected`);
  }

  takes(text) {
    return this.token.text === text && Boolean(this.next());
  }

  expect(text) {
    if (!this.takes(text)) this.lacks(text);
  }

  name() {
    return /^[a-z_]/i.test(this.token.text) ? this.next() : this.lacks('a name');
  }

  newName() {
    const token = this.name();
    if (this.values.has(token.text)) this.fail(`${token.text} is set already: choose another name`, token);
    return token.text;
  }

  number() {
    return Parser.NUMBER.test(this.token.text) ? this.next().text : this.lacks('a number');
  }

  /** Return what read() returns for each part of a list with commas. */
  list(read) {
    const found = [read()];
    while (this.takes(',')) found.push(read());
    return found;
  }

  /** Read the signature. Returns what it declares, as in cell.js. */
  signature() {
    const kinds = {x: [], a: [], h: [], state: []}, own = {__proto__: null};
    if (!this.takes('cell')) this.lacks('cell( ... ), which declares what the cell reads,');
    this.expect('(');
    this.list(() => this.argument(kinds, own));
    this.expect(')');
    this.takes(':');
    const {x, a, h, state} = kinds, names = [...x, ...a, ...h];
    if (!state.length || !(x.length + a.length)) {
      this.fail('declare a state, such as C_prev, and a row that reads the input, such as a_g');
    }
    names.forEach((name, k) => this.values.set(name, `a[${k}]`));
    state.forEach((name, k) => this.values.set(name + '_prev', `before[${k}]`));
    Object.keys(own).forEach((name, k) => this.values.set(name, `own[${k}]`));
    return {names, rows: names.length, ofU: x.length + a.length, ofW: a.length + h.length, states: state, own};
  }

  /** Read an argument of the signature. */
  argument(kinds, own) {
    const token = this.name(), {text: name} = token, [, state, row] = /^(\w+)_prev$|^([axh])_.|/.exec(name);
    if (this.values.has(name)) this.fail(`${name} is declared twice`, token);
    if (!row && Parser.TAKEN.test(state ?? name)) this.fail(`${state ?? name} is taken: choose another name`, token);
    this.values.set(name, '');
    if (!state && !row && this.takes('=')) own[name] = Number((this.takes('-') ? '-' : '') + this.number());
    else if (state || row) kinds[row ?? 'state'].push(state ?? name);
    else this.fail(`${name} is no row (a_${name}), no state (${name}_prev) and no parameter (${name}=0)`, token);
  }

  /** Read a line: names = expressions, or return and expressions of `results`. */
  statement(results) {
    const isReturn = this.takes('return'), names = isReturn ? results : this.list(() => this.newName());
    if (!isReturn) this.expect('=');
    const found = this.list(() => {
      const {at} = this.token, value = this.expression();
      return [this.source.slice(at, this.before).trim().replace(/\btt\.(nnet\.)?/g, ''), value];
    });
    if (found.length !== names.length) this.fail(`${names.length} values expected: ${names.join(', ')}`);
    names.forEach((name, k) => {
      this.values.set(name, found[k][1]);
      if (found[k][0] !== name) this.shown.push([name, ...found[k]]);
    });
    if (this.token.text) this.expect('\n');
  }

  /** Read an expression whose operators have at least a level. */
  expression(level = 0) {
    if (level === OPERATORS.length) return this.signed();
    const next = () => this.expression(level + 1), operators = OPERATORS[level];
    let value = next();
    while (this.token.text in operators) value = this.add(operators[this.next().text], value, next());
    return value;
  }

  signed() {
    if (this.takes('-')) return this.add('Neg', this.signed());
    const value = this.operand();
    return this.takes('**') ? this.add('Pow', value, (this.takes('-') ? '-' : '') + this.number()) : value;
  }

  operand() {
    if (Parser.NUMBER.test(this.token.text)) return this.number();
    if (this.takes('(')) {
      const value = this.expression();
      this.expect(')');
      return value;
    }
    const token = this.name(), {text: name} = token;
    if (!this.takes('(')) return this.values.get(name) ?? this.fail(`${name} is not declared`, token);
    const [operation, count] = FUNCTIONS[name] ?? [], values = this.list(() => this.expression());
    if (!operation) this.fail(`${name}( ) is none of ${Object.keys(FUNCTIONS).join(', ')}`, token);
    this.expect(')');
    if (values.length !== count) this.fail(`${name}( ) takes ${count} values, not ${values.length}`, token);
    return this.add(operation, ...values);
  }
}

/** Return where the signature of a cell begins, 0 if there is none. */
function signatureOf(source) {
  const found = /^[ \t]*(def +)?(?=cell *\()/m.exec(source);
  return found ? found.index + found[0].length : 0;
}

const uncommented = source => source.replace(/#.*/g, all => ' '.repeat(all.length));
const REMEMBERS = /\bremembers *= *\{(.*)\}/;

/** Return the cell of a formula, as in cell.js, with its `source`. Throws SyntaxError, with `token`. */
function cellOf(source) {
  const parser = new Parser(uncommented(source)), declared = parser.signature();
  const {names, states, own} = declared, results = ['h', ...states];
  if (parser.token.text) parser.expect('\n');
  while (parser.token.text) parser.statement(results);
  for (const name of results) if (!parser.values.has(name)) parser.lacks(name + ' = ...');
  const [, said] = REMEMBERS.exec(uncommented(source)) || [0, "'f': 1, 'i': -1"];     // as in the class
  const remembers = Array.from(said.matchAll(/(\w+)['"] *: *(-?1)/g), ([, name, sign]) => (
    [names.findIndex(row => row.slice(2) === name), Number(sign)]));
  return {...declared, source, matrices: [], factors: 0, pairs: [], standard: false, formula: parser.shown,
    remembers: Object.fromEntries(remembers.filter(([row]) => row >= 0)),
    ...programsOf(parser.lines, results.map(name => parser.values.get(name)), names.length, Object.keys(own).length)};
}

const places = (name, n) => Array.from({length: n}, (_, k) => `${name}[${k}]`);

/** Return code of lines that compute h and the states, and of their gradient: {forward, backward}. */
function programsOf(lines, [h, ...after], countOfRows, countOfOwn) {
  const S = after.length, [before, d_after, afterwards] = ['before', 'd_after', 'after'].map(name => places(name, S));
  const rows = places('a', countOfRows), own = places('own', countOfOwn), inputs = [...rows, ...before, ...own];
  const [all, add] = linesWith('d');
  const gradients = gradientsOf(lines, [[h, 'dh'], ...after.map((value, k) => [value, d_after[k]])], add);
  const outputs = inputs.map(value => gradients.get(value) ?? '0'), read = new Set(outputs);
  for (const [name, , values] of all.toReversed()) if (read.has(name)) values.forEach(value => read.add(value));
  const computed = [...rows, ...lines.map(([name]) => name)];
  const kept = computed.filter(value => read.has(value) && !after.includes(value));
  const names = [...places('kept', kept.length), ...afterwards], values = [...kept, ...after];
  const renamed = value => computed.includes(value) ? names[values.indexOf(value)] : value;
  return {
    forward: {inputs, lines, outputs: [...after, h, ...kept]},
    backward: {inputs: [...names.slice(0, kept.length), ...before, ...afterwards, ...own, 'dh', ...d_after],
      lines: all.filter(([name]) => read.has(name)).map(([name, operation, values]) => (
        [name, operation, values.map(renamed)])), outputs: outputs.map(renamed)},
  };
}

const PYTHON = `from charlstm import CharLSTM, tt

sigmoid, softplus, relu, tanh, exp = tt.nnet.sigmoid, tt.nnet.softplus, tt.nnet.relu, tt.tanh, tt.exp
log, sqrt, minimum, maximum, clip = tt.log, tt.sqrt, tt.minimum, tt.maximum, tt.clip


class Mine(CharLSTM):
`;

/** Return a formula as a class in Python, for train.py --cell mine.py:Mine. */
function classOf(source) {
  const {states} = cellOf(source), [remembers] = REMEMBERS.exec(uncommented(source)) || [];
  const [signature, ...body] = source.slice(signatureOf(source)).split('\n').map(line => line.trim()).filter(Boolean);
  if (!body.some(line => /^return\b/.test(line))) body.push(`return ${['h', ...states].join(', ')}`);
  return PYTHON + [...remembers ? [`    ${remembers}\n`] : [], '    @staticmethod',
    `    def ${/.*?\)/.exec(signature)[0]}:`, ...body.map(line => `        ${line}`), ''].join('\n');
}

// A cell as text, in the notation of charlstm.py, becomes data as in cell.js: the language of the laboratory.
//
//     cell(a_f, a_o, a_g, C_prev, p=0)          declares rows, states and parameters as in Python
//     f = sigmoid(a_f)
//     C = f*C_prev + (1 - f)*tanh(a_g)          h, and each state, must be set
//     h = sigmoid(a_o + p*C)*tanh(C)
//
// Python's own form is read, too: remembers = {'z': 1} before the cell as in a class, def, return, and a, b = x, y.

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

const TOKEN = /[ \t\r]*(?:tt\.(?:nnet\.)?(?=\w))?((?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|[a-z_]\w*|\*\*|\n\s*|.|$)/isy;
const NUMBER = /^\.?\d/;
const TAKEN = /^(U|W|b|h|M_.*|t\d+|(m|state|weights|carried|validation|stream)_.*)$/;             // as in cell.py
const REMEMBERS = /\bremembers *= *\{(.*)\}/;

/** Return a formula with spaces in place of comments, so that its characters keep their places. */
const uncommented = source => source.replace(/#.*/g, all => ' '.repeat(all.length));

/** Return where the signature of a cell begins, 0 if there is none. */
function signatureOf(source) {
  const found = /^[ \t]*(def +)?(?=cell *\()/m.exec(source);
  return found ? found.index + found[0].length : 0;
}

/**
 * Read a formula, by recursive descent. Return what its signature declares, as in cell.js, with `lines`, `outputs` (the
 * values of h and the states), and `formula`: [name, expression, value] of what is set. Throws as cellOf().
 */
function parsed(source) {
  const [lines, add] = linesWith('t'), values = new Map(), formula = [];
  const kinds = {x: [], a: [], h: [], state: []}, cell_p = {__proto__: null};
  let token = null, end = signatureOf(source), before = 0, depth = 0;

  // ---- tokens: {text, at}

  function next() {                                        // returns the token, and goes on to the next one
    const last = token;
    TOKEN.lastIndex = before = end;
    const [all, text] = TOKEN.exec(source);
    end += all.length;
    token = {text: text[0] === '\n' ? '\n' : text, at: end - text.length};
    return last;
  }

  function fail(message, at = token) {
    throw Object.assign(new SyntaxError(message), {token: at});
  }

  function lacks(expected) {
    const [found, wanted] = [token.text || 'the end', expected].map(text => text === '\n' ? 'a line end' : text);
    fail(found === '^' ? 'a power is written with **, not ^' : `${found} found, ${wanted} expected`);
  }

  const takes = text => token.text === text && Boolean(next());
  const expect = text => takes(text) || lacks(text);
  const name = () => /^[a-z_]/i.test(token.text) ? next() : lacks('a name');
  const number = () => (takes('-') ? '-' : '') + (NUMBER.test(token.text) ? next().text : lacks('a number'));

  function list(read) {                                    // of parts with commas
    const found = [read()];
    while (takes(',')) found.push(read());
    return found;
  }

  // ---- the signature

  function argument() {
    const at = name(), {text} = at, [, state, row] = /^(\w+)_prev$|^([axh])_.|/.exec(text), called = state ?? text;
    if (values.has(text)) fail(`${text} is declared twice`, at);
    if (!row && TAKEN.test(called)) fail(`${called} is taken: choose another name`, at);
    values.set(text, '');
    if (state || row) kinds[row ?? 'state'].push(called);
    else if (takes('=')) cell_p[text] = Number(number());
    else fail(`${text} is no row (a_${text}), no state (${text}_prev) and no parameter (${text}=0)`, at);
  }

  function signature() {
    if (!takes('cell')) lacks('cell( ... ), which declares what the cell reads,');
    expect('(');
    list(argument);
    expect(')');
    takes(':');
    const {x, a, h, state} = kinds, names = [...x, ...a, ...h];
    if (!state.length || !(x.length + a.length)) {
      fail('declare a state, such as C_prev, and a row that reads the input, such as a_g');
    }
    for (const [of, all] of [['a', names], ['before', state.map(s => s + '_prev')], ['cell_p', Object.keys(cell_p)]]) {
      all.forEach((each, k) => values.set(each, `${of}[${k}]`));
    }
    return {names, rows: names.length, ofU: x.length + a.length, ofW: a.length + h.length, states: state, cell_p};
  }

  // ---- expressions, and lines that set names to them

  function expression(level = 0) {                         // whose operators have at least this level
    if (level === OPERATORS.length) return signed();
    const operators = OPERATORS[level];
    let value = expression(level + 1);
    while (token.text in operators) value = add(operators[next().text], value, expression(level + 1));
    return value;
  }

  function signed() {
    if (++depth > 100) fail('more than 100 brackets or signs within each other');          // Python allows 200
    const negative = takes('-'), value = negative ? signed() : operand();
    depth--;
    return negative ? add('Neg', value) : takes('**') ? add('Pow', value, number()) : value;
  }

  function operand() {
    if (NUMBER.test(token.text)) return next().text;
    if (takes('(')) {
      const value = expression();
      expect(')');
      return value;
    }
    const at = name(), {text} = at;
    if (!takes('(')) return values.get(text) ?? fail(`${text} is not declared`, at);
    const [operation, count] = FUNCTIONS[text] ?? [], found = list(() => expression());
    if (!operation) fail(`${text}( ) is none of ${Object.keys(FUNCTIONS).join(', ')}`, at);
    expect(')');
    if (found.length !== count) fail(`${text}( ) takes ${count} values, not ${found.length}`, at);
    return add(operation, ...found);
  }

  function newName() {
    const at = name(), {text} = at;
    if (values.has(text)) fail(`${text} is set already: choose another name`, at);
    return text;
  }

  function statement(results) {                            // names = expressions, or return and those of the results
    const isReturn = takes('return'), names = isReturn ? results : list(newName);
    if (!isReturn) expect('=');
    const found = list(() => {
      const {at} = token, value = expression();
      return [source.slice(at, before).trim().replace(/\btt\.(nnet\.)?/g, ''), value];
    });
    if (found.length !== names.length) fail(`${names.length} values expected: ${names.join(', ')}`);
    names.forEach((each, k) => {
      values.set(each, found[k][1]);
      if (found[k][0] !== each) formula.push([each, ...found[k]]);
    });
    if (token.text) expect('\n');
  }

  next();
  const declared = signature(), results = ['h', ...declared.states];
  if (token.text) expect('\n');
  while (token.text) statement(results);
  for (const each of results) if (!values.has(each)) lacks(each + ' = ...');
  return {...declared, lines, outputs: results.map(each => values.get(each)), formula};
}

/** Return the cell of a formula, as in cell.js, with its `source`. Throws SyntaxError, with the `token` at fault. */
function cellOf(source) {
  const code = uncommented(source), {lines, outputs, ...declared} = parsed(code), {names, cell_p} = declared;
  const [, said] = REMEMBERS.exec(code) || [0, "'f': 1, 'i': -1"];      // as in the class
  const remembers = Array.from(said.matchAll(/(\w+)['"] *: *(-?1)/g), ([, name, sign]) => (
    [names.findIndex(row => row.slice(2) === name), Number(sign)]));
  return {...declared, source, matrices: [], constants: {}, factors: 0, pairs: [], standard: false,
    remembers: Object.fromEntries(remembers.filter(([row]) => row >= 0)),
    ...programsOf(lines, outputs, names.length, Object.keys(cell_p).length)};
}

const places = (name, n) => Array.from({length: n}, (_, k) => `${name}[${k}]`);

/** Return code of lines that compute h and the states, and of their gradient: {forward, backward}. */
function programsOf(lines, [h, ...after], countOfRows, countOfCellP) {
  const S = after.length, [before, d_after, afterwards] = ['before', 'd_after', 'after'].map(name => places(name, S));
  const rows = places('a', countOfRows), cell_p = places('cell_p', countOfCellP);
  const inputs = [...rows, ...before, ...cell_p];
  const [all, add] = linesWith('d'), gradients = new Map();            // by value
  const receive = (value, g) => {
    if (!isNumber(value)) gradients.set(value, gradients.has(value) ? add('Add', gradients.get(value), g) : g);
  };
  [h, ...after].forEach((value, k) => receive(value, ['dh', ...d_after][k]));
  for (const [name, operation, values] of lines.toReversed()) {
    if (!gradients.has(name)) continue;
    GRADIENTS[operation](add, gradients.get(name), name, ...values).forEach((g, k) => receive(values[k], g));
  }
  const outputs = inputs.map(value => gradients.get(value) ?? '0'), read = new Set(outputs);
  for (const [name, , values] of all.toReversed()) if (read.has(name)) values.forEach(value => read.add(value));
  const computed = [...rows, ...lines.map(([name]) => name)];
  const kept = computed.filter(value => read.has(value) && !after.includes(value));
  const names = [...places('kept', kept.length), ...afterwards], values = [...kept, ...after];
  const renamed = value => computed.includes(value) ? names[values.indexOf(value)] : value;
  return {
    forward: {inputs, lines, outputs: [...after, h, ...kept]},
    backward: {inputs: [...names.slice(0, kept.length), ...before, ...afterwards, ...cell_p, 'dh', ...d_after],
      lines: all.filter(([name]) => read.has(name)).map(([name, operation, values]) => (
        [name, operation, values.map(renamed)])), outputs: outputs.map(renamed)},
  };
}

/** Return a formula as a class in Python, for train.py --cell mine.py:Mine. */
function classOf(source) {
  const {states} = cellOf(source), [remembers] = REMEMBERS.exec(uncommented(source)) || [];
  const [signature, ...body] = source.slice(signatureOf(source)).split('\n').map(line => line.trim()).filter(Boolean);
  if (!body.some(line => /^return\b/.test(line))) body.push(`return ${['h', ...states].join(', ')}`);
  const inTheano = line => line.replace(/(?<![\w.])(sigmoid|softplus|relu)(?= *\()/g, 'tt.nnet.$1')
    .replace(/(?<![\w.])(tanh|exp|log|sqrt|minimum|maximum|clip)(?= *\()/g, 'tt.$1');
  return ['from charlstm import CharLSTM, tt\n\n\nclass Mine(CharLSTM):', ...remembers ? [`    ${remembers}\n`] : [],
    '    @staticmethod', `    def ${/.*?\)/.exec(signature)[0]}:`,
    ...body.map(line => `        ${inTheano(line)}`), ''].join('\n');
}

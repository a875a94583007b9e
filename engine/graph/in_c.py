"""Write the code of a cell in C, as in cell.h: with sums over its units, or products, it is cut into stages."""
import collections
from typing import NamedTuple

from engine.graph.cell import places
from engine.graph.formula import COSTLY, IN_C, PRODUCTS, REDUCTIONS, Code, filled, of_row, written


class StageProduct(NamedTuple):
    """A product of a vector and a matrix, both names in code, and the number of the stage that reads it."""
    stage: int
    name: str
    operation: str
    vector: str
    matrix: str


class Stage(NamedTuple):
    """A stage as in cell.h. row: what it computes once for a row. units: what it computes for each unit.

    products: the names of those that it reads. The outputs of units are the values that it carries to later stages,
    what it adds to its sums, vectors for products of the next stage and, in the last stage, the results.
    """
    row: Code
    units: Code
    products: list
    carries: list
    sums: list
    vectors: list


class Staged:
    """The stages of code. of_row, carried, sums, vectors: names of values in the order of their places.

    maxima: the sums that are maxima, and what of; its equality with them must not depend on rounding, so it is carried.
    products: StageProducts in the order of stages. early: the inputs that only the first stage can read.
    """

    def __init__(self, code, early):
        self._lines, self._early = {line[0]: line for line in code.lines}, early
        self._levels = collections.Counter()               # the stage that computes a value, or adds to a sum
        self.carried, self.sums = [], [name for name, operation, _ in code.lines if operation in REDUCTIONS]
        self.maxima = {name: arguments[0] for name, operation, arguments in code.lines if operation == 'Max'}
        self.of_row = of_row(code.lines)
        for name, operation, arguments in code.lines:
            self._levels[name] = max([0, *map(self._first, arguments)]) + (operation in PRODUCTS)
        self.products = sorted([StageProduct(self._levels[name], name, operation, *arguments)
                                for name, operation, arguments in code.lines if operation in PRODUCTS],
                               key=lambda product: product.stage)
        self.vectors = [*dict.fromkeys(product.vector for product in self.products)]
        last = max([0, *map(self._first, code.outputs)])
        self._needed = [set() for _ in range(last + 1)]    # what each stage computes for each unit
        for stage in range(last + 1):
            for value in [*self._addends_of(stage), *self._vectors_of(stage)]:
                self._need(value, stage)
        for value in code.outputs:
            self._need(value, last)
        self.stages = [self._stage(k, code.outputs if k == last else ()) for k in range(last + 1)]

    def _first(self, value):
        """Return the first stage that can read a value."""
        return self._levels[value] + (value in self.sums)

    def _sums_of(self, stage):
        return [name for name in self.sums if self._levels[name] == stage]

    def _addends_of(self, stage):
        return [self._lines[name][2][0] for name in self._sums_of(stage)]

    def _vectors_of(self, stage):
        return [*dict.fromkeys(product.vector for product in self.products if product.stage == stage + 1)]

    def _is_at_hand(self, value):
        """Return whether a later stage can read a value or compute it again, from what is carried so far."""
        if value in self.carried or value in self.of_row:
            return True
        if value not in self._lines:
            return value not in self._early
        _, operation, arguments = self._lines[value]
        return operation not in COSTLY and value not in self.maxima.values() and all(map(self._is_at_hand, arguments))

    def _need(self, value, stage):
        """Let a stage have a value: computed in it, or carried to it, unless it has it anyway."""
        if value in self._needed[stage] or stage and value in self.of_row:
            return
        if value not in self._lines and (value not in self._early or stage == 0):
            return
        if value in self._lines and (self._levels[value] == stage or
                                     value not in self.carried and self._is_at_hand(value)):
            self._needed[stage].add(value)
            _, operation, arguments = self._lines[value]
            for argument in arguments if operation not in PRODUCTS else ():            # the stage before has these
                self._need(argument, stage)
        elif value not in self.carried:
            self.carried.append(value)
            self._need(value, self._levels[value])

    def _stage(self, k, results):
        # What depends on the number of units alone is known from the start, but the first row is that of stage 1.
        known = [v for v in self.of_row if k and max(1, self._first(v)) == k]
        carries, vectors = [v for v in self.carried if self._levels[v] == k], self._vectors_of(k)
        products = [product.name for product in self.products if product.stage == k]
        outputs = (*carries, *self._addends_of(k), *vectors, *results)

        def lines(names):
            return tuple(line for line in self._lines.values() if line[0] in names)
        row = Code(lines({*known} - {*self.sums}), tuple(known))
        units = Code(lines(self._needed[k] - {*products}), outputs)
        return Stage(row, units, products, carries, self._sums_of(k), vectors)


def bodies_of(staged, results):
    """Return the bodies of a cell's function in C, and of its function of a row. results: places of the outputs."""
    bodies, of_rows = [], []
    places = {v: f'm->of_row[{k}]' for k, v in enumerate(staged.of_row)}
    numbers = {v: f'{int(v in staged.maxima)}, {k}' for k, v in enumerate(staged.sums)}          # 1 if it is a maximum
    for row, units, products, carries, sums, vectors in staged.stages:
        totals = {v: f'total{k}' for k, v in enumerate(staged.sums) if v in row.outputs}
        names = {v: f'number({place})' for v, place in places.items()}
        statements, values = written(row, {**{v: names[v] for v in names if v not in row.outputs}, **totals}, **IN_C)
        of_rows.append([*[f'const vector {name} = total(m, {numbers[v]});' for v, name in totals.items()],
                        *statements, *[f'{places[v]} = {value}[0];' for v, value in zip(row.outputs, values)]])
        names.update({v: f'load(m->carried + {k} * m->width, LANES)' for k, v in enumerate(staged.carried)})
        computed = {*carries, *[name for name, *_ in units.lines]}
        names = {v: name for v, name in names.items() if v not in computed}
        names.update({v: f'product_at(m, {k})' for k, v in enumerate(products)})
        statements, values = written(units, names, **IN_C)
        formats = [*[f'store(m->carried + {staged.carried.index(v)} * m->width, {{}}, LANES);' for v in carries],
                   *[f'add_up(m, {numbers[v]}, {{}});' for v in sums],
                   *[f'pack_vector(m, {staged.vectors.index(v)}, {{}});' for v in vectors],
                   *[f'{v} = {{}};' for v in results]]
        bodies.append([*statements, *[text.format(value) for text, value in zip(formats, values)]])
    return _in_stages(bodies), _in_stages(of_rows)


def products_of(staged):
    """Return the numbers of each product in a struct cell_product of between.h."""
    return [(product.stage, product.matrix[2:-1], int(product.operation == 'DotT'),
             staged.vectors.index(product.vector)) for product in staged.products]


def _in_stages(bodies):
    """Return the body of a function of `stage` from lists of statements for each."""
    cases = ' else '.join(['\n        '.join([f'if (stage == {k}) {{', *statements]) + '\n    }'
                           for k, statements in enumerate(bodies)])
    return '(void)stage, (void)m;\n    ' + ('\n    '.join(bodies[0]) if len(bodies) == 1 else cases)


def c_functions(program, template):
    """Return the code of a cell in C. template: cell.h."""
    counts, after = program.counts, places('after', program.counts.S)
    forward = Staged(program.forward, places('a', counts.b))
    backward = Staged(program.backward, ['dh'])
    bodies = [*bodies_of(forward, ['*h', *after, *places('kept', program.kept)]), *bodies_of(
        backward, [*places('da', counts.b), *places('factors', program.factors), *places('d_before', counts.S),
                   *places('d_cell_p', counts.cell_p)])]
    both, names = (forward, backward), ('forward', 'forward_row', 'backward', 'backward_row')
    sizes = dict(ROWS=counts.b, OF_U=counts.U, OF_W=counts.W, STATES=counts.S, CELL_P=counts.cell_p, KEPT=program.kept,
                 MATRICES=counts.M, FACTORS=program.factors, PAIRS=len(program.pairs),
                 STAGES=len(forward.stages), BACKWARD_STAGES=len(backward.stages),
                 PRODUCTS=len(forward.products), BACKWARD_PRODUCTS=len(backward.products),
                 AT_ONCE=max(len(stage.products) for each in both for stage in each.stages))
    sizes.update({name.upper(): max(len(getattr(each, name)) for each in both)
                  for name in ('carried', 'sums', 'of_row', 'vectors')})
    tables = dict(forward_products=products_of(forward), backward_products=products_of(backward),
                  factor_pairs=program.pairs)
    parts = dict(zip(names, bodies), sizes=', '.join(f'{name} = {n}' for name, n in sizes.items()),
                 **{name: ', '.join(f'{{{", ".join(map(str, row))}}}' for row in rows).join('{}')
                    for name, rows in tables.items()})                # an array of structs each
    return filled(template.partition('*/\n')[2], parts)           # without its comment, so that an edit there is none

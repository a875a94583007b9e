"""Describe a cell for a page as data, which cell.js computes: no JavaScript is written."""
import json
import re

import numpy as np

from engine.graph.cell import cell_p_places, initial_cell_parameters, inputs_of, places, reads_of
from engine.graph.formula import COSTLY, PRODUCTS, code_of, equations, of_row

# Functions that formula.js knows, and the signature.
IN_LAB = {'cell', 'sigmoid', 'tanh', 'softplus', 'exp', 'log', 'sqrt', 'abs', 'minimum', 'maximum', 'clip'}


def as_text(value):
    """Return the name of a value, or a number as text in JavaScript: JSON itself has no infinity."""
    return value if isinstance(value, str) else json.dumps(value)


def code_for_page(inputs, code, outputs):
    """Return code as a dict. inputs, outputs: in the order of cell.js. Products also read the width of a matrix."""
    return dict(inputs=inputs, outputs=[*map(as_text, outputs)],
                lines=[[name, operation, [*map(as_text, arguments), *['width'] * (operation in PRODUCTS)]]
                       for name, operation, arguments in code.lines])


def formula_for_page(cell):
    """Return the formula of a Cell for inside.js: lines of a name, an expression, and the value's name in cell.forward.

    Names are h, the states, parameters, constants, f for the last costly function of the row a_f and of no other one,
    if it is not the same for all units, and t0, t1 ... for other values that are read twice.
    """
    S, forward, rows = cell.counts.S, cell.program.forward, places('a', cell.counts.b)
    outputs, results, gates = forward.outputs[:1 + S], ('h', *cell.states), {}
    lines = {name: (operation, *arguments) for name, operation, arguments in forward.lines}
    reads, same = reads_of(lines, outputs[1:], rows), of_row(forward.lines)
    for name, (operation, *_) in reversed(lines.items()):
        of_rows = [row[2:] for row, place in zip(cell.rows, rows) if place in reads[name]]
        taken = {*results, *cell.read, *gates.values()}
        if operation in COSTLY and name not in same and len(of_rows) == 1 and of_rows[0] not in taken:
            gates[name] = of_rows[0]
    values = {**{gate: name for name, gate in gates.items()}, **dict(zip(results, outputs))}
    shown = [line.split(' = ', 1) for line in equations(code_of(lines, outputs), {**gates, **cell.named}, results,
                                                        '{:.6g}'.format)]
    if cell.standard:                                      # in the order of textbooks
        shown.sort(key=lambda line: 'figCoh'.index(line[0]))
    return [[name, expression, as_text(values.get(name, name))] for name, expression in shown]


def source_for_page(cell, initial, described):
    """Return a cell as the laboratory reads it, or None if it cannot.

    initial: of the cell's parameters. described: as from formula_for_page.
    """
    signs = {cell.rows[k][2:]: sign for k, sign in cell.remembers.items()}
    arguments = [*cell.rows, *[f'{name}_prev' for name in cell.states],
                 *[f'{name}={value}' for name, value in initial.items()]]
    lines = [f'{name} = {expression}' for name, expression, _ in described]
    source = '\n'.join([f'remembers = {signs}', f'cell({", ".join(arguments)})', *lines])
    source = re.sub(r'\b(max|min)\(', r'\1imum(', source)
    return source if {*re.findall(r'(\w+)\(', source)} <= IN_LAB else None


def cell_for_page(cell, sizes=()):
    """Return a Cell as a dict for cell.js, network.js, learner.js and inside.js. sizes: units of layers to train."""
    b, of_U, of_W, S, cell_p, M = counts = cell.program.counts
    _, n_kept, forward, backward, pairs = cell.program
    h, after, kept = forward.outputs[0], forward.outputs[1:1 + S], forward.outputs[1 + S:]
    width, arrays = ['width'] * bool(M), {H: initial_cell_parameters(cell, H, np.random.default_rng(1)) for H in sizes}
    described = formula_for_page(cell)
    # Of parameters (H,) and constants by name: a number or, by size, a list.
    constants = {each.name: {H: each.array(H).ravel().tolist() for H in sizes} for each in cell.constants}
    initial = {name: {H: p[name].tolist() for H, p in arrays.items()} if callable(value) else value
               for name, value in {**cell.parameters, **constants}.items() if name in cell.read[:cell_p]}
    read = *places('kept', n_kept), *places('before', S), *places('after', S), *cell_p_places(counts), *width, 'dh'
    return dict(rows=b, ofU=of_U, ofW=of_W, matrices=cell.read[cell_p:], constants=constants,
                factors=cell.program.factors, pairs=pairs, names=cell.rows, states=cell.states, cell_p=initial,
                remembers=cell.remembers, standard=cell.standard, formula=described,
                source=None if cell.standard else source_for_page(cell, initial, described),
                forward=code_for_page((*inputs_of(counts), *width), forward, (*after, h, *kept)),
                backward=code_for_page((*read, *places('d_after', S)), backward, backward.outputs))

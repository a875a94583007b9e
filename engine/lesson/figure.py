"""Draw the figure of README.md: python -m engine.lesson.figure

It writes network.svg in this folder, light or dark as the reader's system is. Lengths are pixels of a narrow phone.
"""
import os

from engine.files import write_whole
from engine.terminal import Parser

WIDTH, HEIGHT = 390, 640
FIGURE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'network.svg')
STYLE = '''
svg { --paper: #fbfaf6; --raised: #fff; --ink: #1c1b18; --quiet: #66625a; --flow: #a33b16; --memory: #1c5f9c }
@media (prefers-color-scheme: dark) {
svg { --paper: #15161a; --raised: #1d1f24; --ink: #e9e6df; --quiet: #a09b90; --flow: #f0936b; --memory: #7fb6e6 } }
text { font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink); text-anchor: middle }
.title { font-weight: 600; text-anchor: start } .start { text-anchor: start } .end { text-anchor: end }
.quiet { fill: var(--quiet) } .memory { fill: var(--memory) }
rect, circle { fill: var(--raised); stroke: var(--ink) } .paper { fill: var(--paper); stroke: none }
path { fill: none; stroke: var(--flow); stroke-width: 2 } path.memory { fill: none; stroke: var(--memory) }
.flow-head { fill: var(--flow) } .memory-head { fill: var(--memory) }
'''


def text(x, y, words, kind=''):
    return f'<text x="{x}" y="{y}" class="{kind}">{words}</text>'


def box(x, y, width, height, *lines):
    """Return a box around x, from y down, with a line of text in each of lines."""
    first = y + height / 2 + 5 - 9 * (len(lines) - 1)
    return ''.join([f'<rect x="{x - width / 2}" y="{y}" width="{width}" height="{height}" rx="5"/>',
                    *[text(x, first + 18 * k, words) for k, words in enumerate(lines)]])


def node(x, y, sign):
    return f'<circle cx="{x}" cy="{y}" r="11"/>' + text(x, y + 5, sign)


def arrow(points, kind='flow'):
    """Return an arrow along points such as '10,20 10,50'. kind: 'flow' of a step, or 'memory' between steps."""
    return f'<path class="{kind}" d="M{points.replace(" ", " L")}" marker-end="url(#{kind})"/>'


def network():
    """Return the upper half: the two layers at one step, and the shapes of all steps."""
    parts = [text(12, 24, 'The network, at step t', 'title'),
             text(195, 52, 'cost −log p[y]'), text(378, 52, '(T,B)', 'end quiet'), arrow('195,82 195,60'),
             box(195, 82, 178, 30, 'p = softmax(V·h₂ + c)'), text(378, 102, '(T,B,V)', 'end quiet')]
    for layer, k, y, up in ((2, '₂', 152, 'U₂·h₁'), (1, '₁', 242, 'U₁·x')):
        a = f'a = {up} + W{k}·<tspan class="memory">h{k}</tspan> + b{k}'               # h of t-1 in its colour
        parts += [arrow(f'195,{y} 195,{y - 37}'), text(205, y - 14, f'h{k}', 'start'),
                  text(378, y - 14, f'(T,B,H{k})', 'end quiet'),
                  box(195, y, 178, 50, f'layer {layer}: the cell of', a),
                  arrow(f'58,{y + 25} 103,{y + 25}', 'memory'), arrow(f'284,{y + 25} 329,{y + 25}', 'memory'),
                  text(34, y + 21, f'h{k}, C{k}', 'memory'), text(34, y + 38, 'of t−1', 'memory'),
                  text(356, y + 21, 'to t+1', 'memory'), text(356, y + 38, f'(B,H{k})', 'memory')]
    return parts + [arrow('195,322 195,295'), text(195, 338, 'x: the character at t'),
                    text(378, 338, '(T,B)', 'end quiet')]


def cell():
    """Return the lower half: the inside of a cell, whose numbers are of one unit in one sequence."""
    parts = [text(12, 378, 'The cell, for each unit', 'title'),
             arrow('50,418 69,418', 'memory'), text(27, 423, 'C_prev', 'memory'),
             arrow('91,418 165,418', 'memory'), arrow('187,418 352,418', 'memory'), text(368, 423, 'C', 'memory'),
             arrow('296,419 296,442'), arrow('296,466 296,489'), arrow('307,500 352,500'), text(368, 505, 'h'),
             arrow('80,556 80,431'), arrow('140,556 140,500 163,500'), arrow('212,556 212,500 189,500'),
             arrow('176,489 176,431'), arrow('296,556 296,513'),
             node(80, 418, '×'), node(176, 418, '+'), node(176, 500, '×'), node(296, 500, '×'),
             box(296, 443, 52, 24, 'tanh'), text(68, 492, 'keep', 'end quiet'), text(164, 470, 'write', 'end quiet'),
             text(308, 535, 'show', 'start quiet')]
    for x, gate, function in ((80, 'f', 'σ(a_f)'), (140, 'i', 'σ(a_i)'), (212, 'g', 'tanh(a_g)'), (296, 'o', 'σ(a_o)')):
        parts += [box(x, 556, 78 if gate == 'g' else 56, 26, function), text(x, 602, gate)]
    return parts + [text(195, 626, 'a_f, a_i, a_o, a_g: the four parts of a, (4,B,H)', 'quiet')]


def figure():
    """Return the figure as SVG."""
    heads = ''.join(f'<marker id="{kind}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="4" markerHeight="4" '
                    f'orient="auto"><path class="{kind}-head" style="stroke:none" d="M0 0 L8 4 L0 8 z"/></marker>'
                    for kind in ('flow', 'memory'))
    return '\n'.join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
                      f'height="{HEIGHT}">', f'<style>{STYLE}</style>', f'<defs>{heads}</defs>',
                      f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}"/>', *network(), *cell(), '</svg>', ''])


if __name__ == '__main__':
    Parser(prog='figure.py', description='Draw the figure of README.md: write network.svg in this folder.').parse_args()
    with write_whole(FIGURE) as file:
        file.write(figure().encode('utf-8'))

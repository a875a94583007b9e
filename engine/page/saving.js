// What the reader saves as a file: the numbers of a view as CSV, its figure as SVG, named after the model and the view.

const saving = {
  /** Adds the buttons of a view that has a table() or a figure() to its element of page.html. */
  addButtons(name, {table, figure}) {
    const buttons = [];
    const stem = data.name.replace(/\.npz$/, '').replace(/[^\p{L}\p{N}._-]+/gu, '_');
    const add = (label, type, content) => {
      const button = element('button', 'button', `Save ${label}`), ending = label.toLowerCase();
      button.type = 'button';
      button.id = `${name}-${ending}`;
      button.addEventListener('click', () => saving.save(`${stem}_${name}.${ending}`, type, content()));
      buttons.push(button);
    };
    if (table) add('CSV', 'text/csv', () => saving.csv(table()));
    if (figure) add('SVG', 'image/svg+xml', () => saving.svg(figure()));
    const place = byId(name + '-side') || byId(name + '-panel');
    if (buttons.length) place.append(element('div', 'row save', ...buttons));
  },

  /** Makes the browser save a file. content: a text or bytes. */
  save(name, type, content) {
    const link = element('a', '');
    link.href = URL.createObjectURL(new Blob([content], {type}));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);        // the browser may ask the reader first
  },

  /** Rows of values as CSV, as RFC 4180 has it. */
  csv(rows) {
    const cell = value => /[",\r\n]/.test(value) ? `"${String(value).replace(/"/g, '""')}"` : String(value);
    return rows.map(row => row.map(cell).join(',') + '\r\n').join('');
  },

  /** A drawing as the text of a file, on the background of the page, without which a dark page's is unreadable. */
  svg(drawing) {
    const [x, y, width, height] = drawing.getAttribute('viewBox').split(' ');
    const fill = getComputedStyle(document.documentElement).backgroundColor;
    drawing.prepend(drawn('rect', {x, y, width, height, fill}));
    return new XMLSerializer().serializeToString(drawing);
  },

  /** A copy of an SVG of the page, with its looks in its attributes. */
  styled(svg) {
    const copy = svg.cloneNode(true), copies = [copy, ...copy.querySelectorAll('*')];
    [svg, ...svg.querySelectorAll('*')].forEach((original, k) => {
      const style = getComputedStyle(original);
      for (const name of ['fill', 'stroke', 'stroke-width', 'vector-effect', 'stroke-dasharray', 'font-size',
        'font-family']) {
        copies[k].setAttribute(name, style.getPropertyValue(name));
      }
      copies[k].removeAttribute('class');
    });
    return copy;
  },

  /** A drawing of coloured characters around one of them, or the last ones, as the page shows them. spans: elements. */
  ofText(spans, place) {
    const COLUMNS = 80, SHOWN = 1200, W = 8.4, H = 20;     // characters; the size of one in pixels
    const DOUBLE = /[\p{scx=Han}\p{scx=Hangul}\p{scx=Hiragana}\p{scx=Katakana}\p{Emoji_Presentation}\uff01-\uff60]/u;
    const columnsOf = shown => Array.from(shown).reduce((sum, one) => sum + (DOUBLE.test(one) ? 2 : 1), 0);
    const ends = k => spans[k].textContent.endsWith('\n');
    const around = Math.min(place, spans.length);
    const earliest = Math.max(0, Math.min(around - SHOWN / 2, spans.length - SHOWN));
    let first = earliest, line = 0, column = 0;
    while (first > 0 && first < around && !ends(first - 1)) first++;
    if (first >= around) first = earliest;                 // no line begins before that character
    const shown = spans.slice(first, first + SHOWN), parts = [];
    for (const span of shown) {
      const {backgroundColor, color} = getComputedStyle(span);
      const character = format.visible(span.textContent.replace(/[\n\t]$/, ''));
      const columns = Math.max(1, columnsOf(character));
      if (column + columns > COLUMNS) [line, column] = [line + 1, 0];
      const x = column * W, y = line * H;
      if (!/, 0\)$|transparent/.test(backgroundColor)) {
        parts.push(drawn('rect', {x, y, width: columns * W, height: H - 1, fill: backgroundColor}));
      }
      parts.push(drawn('text', {x, y: y + 14, fill: color}, character));
      column += columns;
      if (span.textContent.endsWith('\n')) [line, column] = [line + 1, 0];
    }
    const svg = drawn('svg', {viewBox: `0 0 ${COLUMNS * W} ${(line + 1) * H}`, 'font-family': 'monospace',
      'font-size': 14, 'xml:space': 'preserve'});
    svg.append(...parts);
    return svg;
  },
};

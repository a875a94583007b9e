// The costs of a run against its epochs, drawn.

const curve = {
  /** Five to twelve round numbers from least to most. */
  ticks(least, most) {
    const fewest = 5, power = 10 ** Math.floor(Math.log10((most - least) / fewest || 1)), found = [];
    const count = apart => Math.floor(most / apart) - Math.ceil(least / apart) + 1;
    const apart = [10, 5, 2, 1, 0.5].map(k => k * power).find(step => count(step) >= fewest) || power / 2;
    for (let k = Math.ceil(least / apart); k * apart <= most; k++) found.push(Number((k * apart).toPrecision(6)));
    return found;
  },

  /** Where the costs of a run are in a drawing of W x H pixels: functions x(epoch) and y(cost), and their ranges. */
  placesOf(rows, W, H) {
    const edge = {left: 44, right: 20, top: 12, bottom: 40}, costs = rows.flatMap(row => row.slice(1));
    const numbers = costs.filter(cost => cost !== null), least = Math.min(...numbers), most = Math.max(...numbers);
    const first = rows[0][0], last = rows[rows.length - 1][0];
    return {least, most, first, last, left: edge.left, right: W - edge.right, bottom: H - edge.bottom,
      x: epoch => edge.left + (epoch - first) / (last - first || 1) * (W - edge.left - edge.right),
      y: cost => H - edge.bottom - (cost - least) / (most - least || 1) * (H - edge.top - edge.bottom)};
  },

  drawAxes(svg, {x, y, least, most, first, last, left, right, bottom}, axis) {
    for (const cost of curve.ticks(least, most)) {
      svg.append(drawn('line', {class: 'grid', x1: left, x2: right, y1: y(cost), y2: y(cost)}),
        drawn('text', {x: left - 8, y: y(cost) + 4, 'text-anchor': 'end'}, cost));
    }
    for (const epoch of curve.ticks(first, last).filter(Number.isInteger)) {
      svg.append(drawn('text', {x: x(epoch), y: bottom + 18, 'text-anchor': 'middle'}, epoch));
    }
    svg.append(drawn('text', {x: (left + right) / 2, y: bottom + 36, 'text-anchor': 'middle'}, axis));
  },

  /**
   * The costs of a run against its epochs, with the last ones below.
   * rows: [epoch, mean training cost, validation cost or null]. W: width in pixels. axis: what an epoch is called.
   */
  draw(rows, W, axis = 'epoch') {
    const H = 300, places = curve.placesOf(rows, W, H), names = element('figcaption', '');
    const svg = drawn('svg', {viewBox: `0 0 ${W} ${H}`, width: W, role: 'img', 'aria-label': `Costs by ${axis}`});
    curve.drawAxes(svg, places, axis);
    for (const [column, name] of [[1, 'training'], [2, 'validation']]) {
      const known = rows.filter(row => row[column] !== null), end = known[known.length - 1];
      if (!end) continue;
      const points = known.map(row => `${places.x(row[0])},${places.y(row[column])}`).join(' ');
      svg.append(drawn('polyline', {class: name, points}));
      names.append(element('span', name, `${name} ${format.natsAndBits(end[column])}`));
    }
    return element('figure', '', svg, names);
  },

  /** What a view that draws the costs into an element offers to save: its table and its figure. */
  saved(id) {
    return {table: () => [['epoch', 'training', 'validation'], ...data.epochs.map(row => row.map(cost => cost ?? ''))],
      figure: () => saving.styled(byId(id).querySelector('svg'))};
  },
};

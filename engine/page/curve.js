// The costs of a run against its epochs, drawn.

/** About five round numbers from least to most. */
function ticks(least, most) {
  const rough = (most - least) / 5 || 1, power = 10 ** Math.floor(Math.log10(rough));
  const apart = [1, 2, 5, 10].map(k => k * power).find(step => step >= rough), found = [];
  for (let k = Math.ceil(least / apart); k * apart <= most; k++) found.push(Number((k * apart).toPrecision(6)));
  return found;
}

/** The costs of a run against its epochs. rows: [epoch, mean training cost, validation cost or null]. */
function drawCosts(rows) {
  const W = Math.min(680, document.body.clientWidth - 32), H = 300, edge = {left: 44, right: 120, top: 12, bottom: 40};
  const all = rows.flatMap(row => row.slice(1)).filter(cost => cost !== null), last = rows[rows.length - 1][0];
  const least = Math.min(...all), most = Math.max(...all), first = rows[0][0];
  const x = epoch => edge.left + (epoch - first) / (last - first || 1) * (W - edge.left - edge.right);
  const y = cost => H - edge.bottom - (cost - least) / (most - least || 1) * (H - edge.top - edge.bottom);
  const svg = drawn('svg', {width: W, height: H, role: 'img', 'aria-label': 'Costs of its epochs'});
  for (const cost of ticks(least, most)) {
    svg.append(drawn('line', {class: 'grid', x1: edge.left, x2: W - edge.right, y1: y(cost), y2: y(cost)}),
      drawn('text', {x: edge.left - 8, y: y(cost) + 4, 'text-anchor': 'end'}, cost));
  }
  for (const epoch of ticks(first, last).filter(Number.isInteger)) {
    svg.append(drawn('text', {x: x(epoch), y: H - edge.bottom + 18, 'text-anchor': 'middle'}, epoch));
  }
  svg.append(drawn('text', {x: (edge.left + W - edge.right) / 2, y: H - 4, 'text-anchor': 'middle'}, 'epoch'));
  for (const [column, name] of [[1, 'training'], [2, 'validation']]) {
    const points = rows.filter(row => row[column] !== null), end = points[points.length - 1];
    if (!end) continue;
    svg.append(drawn('polyline', {class: name, points: points.map(row => `${x(row[0])},${y(row[column])}`).join(' ')}),
      drawn('text', {class: name, x: x(end[0]) + 8, y: y(end[column]) + 4}, `${name} ${end[column].toFixed(3)}`));
  }
  return [element('h2', '', 'What it cost while it learned'),
    element('p', 'quiet', 'In nats a character, for the training text and for the validation text.'), svg];
}

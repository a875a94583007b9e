// The view About: what --info prints, and the costs of the run.

function aboutView() {
  for (const line of data.info) {
    const colon = line.indexOf(': ') + 1;
    if (colon) byId('info').append(element('dt', '', format.visible(line.slice(0, colon - 1))));
    byId('info').append(element('dd', '', format.visible(line.slice(colon).trim())));
  }
  byId('costs').hidden = !data.epochs.length;

  function show() {
    const width = Math.min(680, byId('about-panel').clientWidth);
    if (data.epochs.length) byId('curve').replaceChildren(curve.draw(data.epochs, width));
  }

  return {title: 'About', show, ...data.epochs.length && curve.saved('curve')};
}

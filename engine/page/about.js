// The view About: what --info prints, and the costs of the run.

function prepareAbout() {
  for (const line of data.info) {
    const colon = line.indexOf(': ') + 1;
    if (colon) byId('info').append(element('dt', '', visible(line.slice(0, colon - 1))));
    byId('info').append(element('dd', '', visible(line.slice(colon).trim())));
  }
  if (data.epochs.length) byId('costs').append(...drawCosts(data.epochs));
}

addView('about', {title: 'About', prepare: prepareAbout});

// The views: one tab each. A view is a function in a file of its own, which SCRIPTS of page.py names. allViews() calls
// it once, with what it needs. In page.html it has an element: NAME-side beside the text, with a status on the
// character that the reader looks at, or NAME-panel, a panel without the text. Its looks are in page.css.
//
// A view returns the title of its tab, what others use of it, and these parts, which may be missing:
//   show     called when the view is chosen; of a view beside the text, it colours the text by text.paint()
//   follow   called when the reader looks at another character of the text while the view is shown
//   leave    called before another view is shown
//   table    returns the rows that the reader saves as CSV, the first of which has their names
//   figure   returns a drawing, an element of SVG, that the reader saves
//
// What the reader chose is in the state (state.js), and a view changes it by change(). All files are one script, so a
// name is declared in only one of them. What else changes is inside of functions.

/** The views by name, in the order of their tabs. text: as of shownText; model: as of expectationsOf. */
function allViews(text, model) {
  const cells = cellsView(text);
  return {
    surprise: surpriseView(text, model), why: whyView(text, model),
    ...data.against && {against: againstView(text, model)},
    cells, inside: insideView(text, cells), words: wordsView(text, cells), writing: writingView(cells),
    guess: guessView(text, model), learn: learnView(),
    ...data.learning && {learning: learningView()}, about: aboutView(),
  };
}

/** Makes the tabs of views, which show the view of the state. places: characters of the text. */
function prepareTabs(views, places) {
  const names = Object.keys(views);
  const panelOf = name => byId(name + '-panel') || byId('reading-panel');
  let shown = null;                                        // the view that is shown

  /** Calls a function of a view, if the view has it. */
  const call = (name, part) => { if (name && views[name][part]) views[name][part](); };

  function show() {
    const name = state.view;
    call(shown, 'leave');
    shown = name;
    document.body.dataset.view = name;
    for (const other of names) {
      const chosen = other === name, side = byId(other + '-side');
      byId('tab-' + other).setAttribute('aria-selected', chosen);
      byId('tab-' + other).tabIndex = chosen ? 0 : -1;
      if (side) side.hidden = !chosen;
      if (side && chosen) byId('text').setAttribute('aria-describedby', side.querySelector('[role=status]').id);
    }
    for (const panel of document.querySelectorAll('[role=tabpanel]')) panel.hidden = panel !== panelOf(name);
    panelOf(name).setAttribute('aria-labelledby', 'tab-' + name);
    centreTab(name);
    call(name, 'show');
    scrollTo(0, state.scrolls[panelOf(name).id] || 0);
  }

  /** In a window that is too narrow for all tabs, scrolls them. */
  function centreTab(name) {
    const tabs = byId('tabs'), tab = byId('tab-' + name);
    tabs.scrollLeft = tab.offsetLeft - (tabs.clientWidth - tab.offsetWidth) / 2;
  }

  function tabOf(name) {
    const tab = element('button', '', views[name].title);
    tab.id = 'tab-' + name;
    tab.setAttribute('role', 'tab');
    tab.setAttribute('aria-controls', panelOf(name).id);
    tab.addEventListener('click', () => change({view: name}));
    return tab;
  }

  /** Takes the state that the page's address says. */
  function takeAddress() {
    change(address.read(location.hash, names, places));
  }

  const turn = by => names[(names.indexOf(state.view) + by + names.length) % names.length];
  byId('tabs').append(...names.map(tabOf));
  onKeys(byId('tabs'), {ArrowRight: () => turn(1), ArrowLeft: () => turn(-1)}, name => {
    change({view: name});
    byId('tab-' + name).focus();
  });
  new ResizeObserver(([{target}]) => (                     // what sticks below the tabs, however large letters are
    document.documentElement.style.setProperty('--tabs', target.offsetHeight + 'px'))).observe(byId('tabs'));
  follows(['view'], show);
  follows(['place'], () => call(shown, 'follow'));
  window.addEventListener('hashchange', takeAddress);
  window.addEventListener('pagehide', () => address.timer && address.write());
  window.addEventListener('scroll', () => {
    const panel = panelOf(state.view).id;
    if (shown === state.view) change({scrolls: {...state.scrolls, [panel]: Math.round(scrollY)}});
  }, {passive: true});
  history.scrollRestoration = 'manual';
  if (history.state) state.scrolls = history.state.scrolls;
  takeAddress();
}

/** Opens and closes the help, whose names of views lead there. */
function prepareHelp(views) {
  const dialog = byId('help');
  for (const button of dialog.querySelectorAll('[data-to]')) {
    const missing = !views[button.dataset.to];
    button.parentElement.hidden = button.parentElement.nextElementSibling.hidden = missing;
    button.addEventListener('click', () => {
      dialog.close();
      change({view: button.dataset.to});
    });
  }
  byId('help-open').addEventListener('click', () => dialog.showModal());
  byId('help-close').addEventListener('click', () => dialog.close());
}

function preparePage() {
  document.title = `What ${visible(data.name)} learned`;
  byId('name').textContent = visible(data.name);
  byId('model').textContent = visible(data.model);
  byId('source').textContent = visible(data.source);
  const wide = !matchMedia('(max-width: 56rem)').matches;  // elsewhere an explanation would cover half of the text
  for (const details of document.querySelectorAll('aside details')) details.open = wide;
  for (const scale of document.querySelectorAll('.scale')) {
    scale.append(...Array.from({length: LEVELS}, (_, level) => element('span', 'v' + level)));
  }
  const model = expectationsOf(data), text = shownText(model.text);
  if (data.copies) copiedPassages(text);
  const views = allViews(text, model);
  for (const [name, view] of Object.entries(views)) saving.addButtons(name, view);
  prepareTabs(views, text.numbers.length);
  prepareHelp(views);
  for (const input of document.querySelectorAll('[data-least]')) sayLimits(input.id);
  if (state.pinned && !history.state) text.spans[state.place].scrollIntoView({block: 'center'});
}

document.addEventListener('DOMContentLoaded', preparePage);

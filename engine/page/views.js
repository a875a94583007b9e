// The views: one tab each. A view is a function in a file of its own, which SCRIPTS of page.py names. allViews() calls
// it once, with what it needs. In page.html it has an element: NAME-side beside the text, with a status on the
// character that the reader looks at, or NAME-panel, a panel without the text. Its looks are in page.css.
//
// A view returns the title of its tab, what others use of it, and these parts, which may be missing:
//   show     called when the view is chosen; of a view beside the text, it colours the text by text.paint()
//   follow   called after show, and when the reader looks at another character of the text
//   leave    called before another view is shown
//   clicks   true where only a click chooses the character that the reader looks at, and pointing does not
//
// All files are one script, so a name is declared in only one of them. What changes is inside of functions.

/** The name of the view that is shown. */
const shownView = () => document.body.dataset.view;

/** The views by name, in the order of their tabs. text: as of shownText; model: as of expectationsOf. */
function allViews(text, model) {
  const cells = cellsView(text);
  return {
    surprise: surpriseView(text, model), why: whyView(text), ...data.against && {against: againstView(text, model)},
    cells, words: wordsView(cells), writing: writingView(cells), guess: guessView(text, model),
    learn: learnView(),
    ...data.learning && {learning: learningView()}, about: aboutView(),
  };
}

/** Makes the tabs of views, and shows the view that the page's address names, or the first. */
function prepareTabs(views) {
  const names = Object.keys(views);
  const panelOf = name => byId(name + '-panel') || byId('reading-panel');

  /** Calls a function of a view, if the view has it. */
  const call = (name, part) => { if (views[name][part]) views[name][part](); };

  function show(name) {
    if (shownView()) call(shownView(), 'leave');
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
    call(name, 'follow');
  }

  /** In a window that is too narrow for all tabs, scrolls them. */
  function centreTab(name) {
    const tabs = byId('tabs'), tab = byId('tab-' + name);
    tabs.scrollLeft = tab.offsetLeft - (tabs.clientWidth - tab.offsetWidth) / 2;
  }

  /** Shows a view, and puts its name into the page's address. */
  function go(name) {
    history.replaceState(null, '', '#' + name);
    show(name);
  }

  function tabOf(name) {
    const tab = element('button', '', views[name].title);
    tab.id = 'tab-' + name;
    tab.setAttribute('role', 'tab');
    tab.setAttribute('aria-controls', panelOf(name).id);
    tab.addEventListener('click', () => go(name));
    return tab;
  }

  const turn = by => names[(names.indexOf(shownView()) + by + names.length) % names.length];
  byId('tabs').append(...names.map(tabOf));
  onKeys(byId('tabs'), {ArrowRight: () => turn(1), ArrowLeft: () => turn(-1)}, name => {
    go(name);
    byId('tab-' + name).focus();
  });
  const named = () => names.find(name => location.hash === '#' + name) || names[0];
  window.addEventListener('hashchange', () => show(named()));
  show(named());
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
  const model = expectationsOf(data), text = shownText(model.text, follow, () => !views[shownView()].clicks);
  const showPassage = data.copies ? copiedPassages(text) : () => {}, views = allViews(text, model);

  function follow() {
    const view = views[shownView()];
    if (view.follow) view.follow();
    showPassage();
  }

  prepareTabs(views);
}

document.addEventListener('DOMContentLoaded', preparePage);

// The views: one tab each. A view is a file that calls addView, its name in VIEWS of page.py, and in page.html an
// element: NAME-side beside the text, with a status on the character that the reader looks at, or NAME-panel, a panel
// without the text. Its looks are in page.css.
//
// All files are one script, so a name is declared in only one of them. They are joined in the order of page.py.

const views = new Map();                                   // by name, in the order of their tabs

/**
 * Adds a view. Its parts are functions, and all but the title may be missing.
 *   title    of the tab
 *   prepare  called once, before any view is shown
 *   show     called when the view is chosen; of a view beside the text, it colours the text by paint()
 *   follow   called after show, and when the reader looks at another character of the text
 */
function addView(name, parts) {
  views.set(name, parts);
}

/** The name of the view that is shown. */
const view = () => document.body.dataset.view;

const panelOf = name => byId(name + '-panel') || byId('reading-panel');

function show(name) {
  document.body.dataset.view = name;
  for (const other of views.keys()) {
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

/** Calls a function of a view, if the view has it. */
function call(name, part) {
  if (views.get(name)[part]) views.get(name)[part]();
}

/** Shows a view, and puts its name into the page's address. */
function go(name) {
  history.replaceState(null, '', '#' + name);
  show(name);
}

function tabOf(name) {
  const tab = element('button', '', views.get(name).title);
  tab.id = 'tab-' + name;
  tab.setAttribute('role', 'tab');
  tab.setAttribute('aria-controls', panelOf(name).id);
  tab.addEventListener('click', () => go(name));
  return tab;
}

function prepareTabs() {
  const names = Array.from(views.keys());
  const turn = by => names[(names.indexOf(view()) + by + names.length) % names.length];
  byId('tabs').append(...names.map(tabOf));
  onKeys(byId('tabs'), {ArrowRight: () => turn(1), ArrowLeft: () => turn(-1)}, name => {
    go(name);
    byId('tab-' + name).focus();
  });
  const named = () => names.find(name => location.hash === '#' + name) || names[0];
  window.addEventListener('hashchange', () => show(named()));
  show(named());
}

function prepare() {
  document.title = `What ${visible(data.name)} learned`;
  byId('name').textContent = visible(data.name);
  byId('model').textContent = visible(data.model);
  byId('source').textContent = visible(data.source);
  const wide = !matchMedia('(max-width: 56rem)').matches;  // elsewhere an explanation would cover half of the text
  for (const details of document.querySelectorAll('aside details')) details.open = wide;
  prepareText();
  for (const name of views.keys()) call(name, 'prepare');
  prepareTabs();
}

document.addEventListener('DOMContentLoaded', prepare);    // after the whole script, with all views

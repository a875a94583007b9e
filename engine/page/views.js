// The views: one tab each. A view is a function in a file of its own, which SCRIPTS of page.py names. page.views()
// calls it once, with what it needs. In page.html it has an element: NAME-side beside the text, with a status on the
// character that the reader looks at, or NAME-panel, a panel without the text. Its looks are in page.css.
//
// A view returns the title of its tab, what others use of it, and these parts, which may be missing:
//   show     called when the view is chosen; of a view beside the text, it colours the text by text.paint()
//   follow   called when the reader looks at another character of the text while the view is shown
//   leave    called before another view is shown
//   table    returns the rows that the reader saves as CSV, the first of which has their names
//   figure   returns a drawing, an element of SVG, that the reader saves
//
// What the reader chose is in the state (state.js), and a view changes it by state.change(). All files are one script,
// so a name is declared in only one of them. What else changes is inside of functions.

const page = {
  /** The views by name, in the order of their tabs. text: as of shownText; expected: Expectations. */
  views(text, expected) {
    const cells = cellsView(text);
    return {
      surprise: surpriseView(text, expected), why: whyView(text, expected),
      ...data.against && {against: againstView(text, expected)},
      cells, inside: insideView(text, cells), words: wordsView(text, cells), writing: writingView(cells),
      guess: guessView(text, expected), learn: learnView(),
      ...data.learning && {learning: learningView()}, about: aboutView(),
    };
  },

  /** Makes the tabs of views, which show the view of the state. text: as of shownText. */
  prepareTabs(views, text) {
    const names = Object.keys(views), ofAddress = () => address.read(location.hash, names, text.numbers.length);
    const panelOf = name => byId(name + '-panel') || byId('reading-panel');
    const isBesideText = name => panelOf(name).id === 'reading-panel';
    let shown = null;                                        // the view that is shown
    let inSight = null;                                      // the place that the scroll position of the text is for

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
      if (isBesideText(name)) showPlace();
    }

    /** Scrolls to the place if it was chosen while the text was hidden, or by the address. */
    function showPlace() {
      if (state.pinned && state.place !== inSight) text.spans[state.place].scrollIntoView({block: 'nearest'});
      inSight = state.place;
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
      tab.addEventListener('click', () => state.change({view: name}));
      return tab;
    }

    /** Takes the state that the page's address says. */
    function takeAddress() {
      const {view} = state, before = inSight;
      state.change(ofAddress());
      if (state.view !== view) return;                       // it is shown already
      inSight = before;
      show();
    }

    /** Lets the view that is shown follow the reader to another character. */
    function follow() {
      if (shown && isBesideText(shown)) inSight = state.place;
      call(shown, 'follow');
    }

    const turn = by => names[(names.indexOf(state.view) + by + names.length) % names.length];
    byId('tabs').append(...names.map(tabOf));
    onKeys(byId('tabs'), {ArrowRight: () => turn(1), ArrowLeft: () => turn(-1)}, name => {
      state.change({view: name});
      byId('tab-' + name).focus();
    });
    new ResizeObserver(([{target}]) => (                     // what sticks below the tabs, however large letters are
      document.documentElement.style.setProperty('--tabs', target.offsetHeight + 'px'))).observe(byId('tabs'));
    state.follow(['view'], show);
    state.follow(['place'], follow);
    window.addEventListener('hashchange', takeAddress);
    window.addEventListener('pagehide', () => address.timer && address.write());
    window.addEventListener('scroll', () => {
      const panel = panelOf(state.view).id;
      if (shown === state.view) state.change({scrolls: {...state.scrolls, [panel]: Math.round(scrollY)}});
    }, {passive: true});
    history.scrollRestoration = 'manual';
    if (history.state) {
      const {view, place} = ofAddress();
      state.scrolls = history.state.scrolls;
      if (isBesideText(view)) inSight = place;
    }
    takeAddress();
  },

  /** Opens and closes the help, whose names of views lead there. */
  prepareHelp(views) {
    const dialog = byId('help');
    for (const button of dialog.querySelectorAll('[data-to]')) {
      const missing = !views[button.dataset.to];
      button.parentElement.hidden = button.parentElement.nextElementSibling.hidden = missing;
      button.addEventListener('click', () => {
        dialog.close();
        state.change({view: button.dataset.to});
      });
    }
    byId('help-open').addEventListener('click', () => dialog.showModal());
    byId('help-close').addEventListener('click', () => dialog.close());
  },

  prepare() {
    document.title = `What ${format.visible(data.name)} learned`;
    byId('name').textContent = format.visible(data.name);
    byId('model').textContent = format.visible(data.model);
    byId('source').textContent = format.visible(data.source);
    const wide = !matchMedia('(max-width: 56rem)').matches;  // elsewhere an explanation would cover half of the text
    for (const details of document.querySelectorAll('aside details')) details.open = wide;
    for (const scale of document.querySelectorAll('.scale')) {
      scale.append(...Array.from({length: colour.LEVELS}, (_, level) => element('span', 'v' + level)));
    }
    const expected = new Expectations(data), text = shownText(expected.text);
    if (data.copies) copiedPassages(text);
    const views = page.views(text, expected);
    for (const [name, view] of Object.entries(views)) saving.addButtons(name, view);
    page.prepareTabs(views, text);
    page.prepareHelp(views);
    for (const input of document.querySelectorAll('[data-least]')) form.sayLimits(input.id);
  },
};

document.addEventListener('DOMContentLoaded', page.prepare);

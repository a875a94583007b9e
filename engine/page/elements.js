// Elements that several views use. Texts and names are set as text, never as HTML.

/** A new element of a class, with children: elements or texts. */
function element(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

/** The elements of a row of a bar chart: a name, a bar with a length from 0 to 1, a number. */
function bar(what, length, number, className) {
  const inner = element('div', '');
  inner.style.width = 100 * length + '%';
  return [element('span', 'what ' + className, element('bdi', '', what)), element('div', 'bar ' + className, inner),
    element('span', 'number ' + className, number)];
}

/** Calls act(steps[key]()) on each key that `steps` has, if when() is true. */
function onKeys(target, steps, act, when = () => true) {
  target.addEventListener('keydown', event => {
    if (!when() || !steps[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act(steps[event.key]());
  });
}

/** Makes a button play: a click calls begin(), and then act() every `pace` milliseconds. Returns what stops it. */
function playing(button, pace, act, begin = () => {}) {
  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    button.textContent = 'Play';
  };
  button.addEventListener('click', () => {
    if (timer) return stop();
    begin();
    button.textContent = 'Pause';
    timer = setInterval(act, pace);
  });
  return stop;
}

/** A new element of SVG with attributes and a text. */
function drawn(tag, attributes, content = '') {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = content;
  return made;
}

/** A list of page.html, of whose items the reader chooses one. Its items have keys. */
class Listbox {
  /** id: of the list. item: how the ids of its items begin. choose: called with the key of the item that is chosen. */
  constructor(id, item, choose) {
    Object.assign(this, {list: byId(id), item, choose, keys: [], selected: null});
    onKeys(this.list, {ArrowDown: () => 1, ArrowUp: () => -1, PageDown: () => 8, PageUp: () => -8,
      Home: () => -Infinity, End: () => Infinity}, by => this.step(by));
  }

  /** Lists items, of which none is selected. childrenOf(key): the elements of an item. */
  fill(keys, childrenOf) {
    this.keys = keys;
    this.list.replaceChildren(...keys.map(key => {
      const made = element('li', '', ...childrenOf(key));
      made.id = `${this.item}-${key}`;
      made.setAttribute('role', 'option');
      made.addEventListener('click', () => this.choose(key));
      return made;
    }));
    this.list.removeAttribute('aria-activedescendant');
  }

  /** Marks an item as the one that is selected, and scrolls the list to it. Where it has no such item, none is. */
  select(key) {
    const {list} = this, at = this.keys.indexOf(key);
    this.selected = key;
    Array.from(list.children).forEach((made, k) => made.setAttribute('aria-selected', k === at));
    if (at < 0) return;
    const {id, offsetTop: top, offsetHeight} = list.children[at];
    list.setAttribute('aria-activedescendant', id);
    list.scrollTop = Math.max(top + offsetHeight - list.clientHeight, Math.min(top, list.scrollTop));
  }

  /** Chooses the item that is `by` places further down than the selected one; the first if none is. */
  step(by) {
    const {keys} = this, at = keys.indexOf(this.selected);
    if (keys.length) this.choose(keys[at < 0 ? 0 : Math.max(0, Math.min(keys.length - 1, at + by))]);
  }
}

/** Fields of page.html, and what is said of them. */
const form = {
  /** What a field of page.html takes, by its attributes: {least, most, whole}. */
  limitsOf(id) {
    const {least, most} = byId(id).dataset;
    return {least: Number(least), most: Number(most), whole: byId(id).inputMode === 'numeric'};
  },

  /** Says below a field which numbers it takes. */
  sayLimits(id) {
    const {least, most} = form.limitsOf(id);
    byId(id).after(element('small', 'number', `${least} to ${format.grouped(most)}`));
  },

  /** The number in a field, also with a decimal comma. Throws an Error that says what was expected. */
  number(id) {
    const {least, most, whole} = form.limitsOf(id), typed = byId(id).value.trim();
    const value = Number((whole ? typed : typed.replace(',', '.')) || NaN);
    const name = byId(id).parentElement.firstChild.textContent.trim();
    const fits = value >= least && value <= most && (!whole || value % 1 === 0);
    byId(id).setAttribute('aria-invalid', !fits);
    if (fits) return value;
    throw new Error(`${name}: expected a ${whole ? 'whole ' : ''}number from ${least} to ${format.grouped(most)}`);
  },

  /** Calls act(), and shows its error in an element, which is hidden if there is none. */
  attempt(act, place) {
    place.hidden = true;
    try {
      act();
    } catch (error) {
      place.textContent = error.message;
      place.hidden = false;
    }
  },

  /** Says in an element, hidden otherwise, which characters the model does not have, and more. */
  sayUnknown(place, characters, more = '') {
    const unknown = Vocabulary.unknownOf(characters);
    const lines = [unknown ? `The model never saw ${unknown}: it reads the text without.` : '', more];
    const line = lines.join(' ').trim();
    if (place.textContent !== line) place.textContent = line;        // a screen reader says it anew each time
    place.hidden = !line;
  },
};

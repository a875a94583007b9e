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

/** A new item of a listbox, with children: elements or texts. Calls choose() when it is clicked. */
function listItem(id, choose, ...children) {
  const item = element('li', '', ...children);
  item.id = id;
  item.setAttribute('role', 'option');
  item.addEventListener('click', choose);
  return item;
}

/** A new option of a select, with the value that it stands for. */
function selectOption(value, name) {
  const option = element('option', '', name);
  option.value = value;
  return option;
}

/** Marks an item of a listbox as the one that is selected, and scrolls the list to it. */
function selectItem(list, item) {
  for (const other of list.children) other.setAttribute('aria-selected', other === item);
  list.setAttribute('aria-activedescendant', item.id);
  const top = item.offsetTop;
  list.scrollTop = Math.max(top + item.offsetHeight - list.clientHeight, Math.min(top, list.scrollTop));
}

/** Calls act(steps[key]()) on each key that `steps` has, if when() is true. */
function onKeys(target, steps, act, when = () => true) {
  target.addEventListener('keydown', event => {
    if (!when() || !steps[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act(steps[event.key]());
  });
}

/** Calls step(by) on the keys that move in a list of at most `most` items: by so many places down, or up if below 0. */
function onListKeys(list, most, step) {
  onKeys(list, {ArrowDown: () => 1, ArrowUp: () => -1, PageDown: () => 8, PageUp: () => -8,
    Home: () => -most, End: () => most}, step);
}

/** A new element of SVG with attributes and a text. */
function drawn(tag, attributes, content = '') {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = content;
  return made;
}

/** What a field of page.html takes, by its attributes: {least, most, whole}. */
function limitsOf(id) {
  const {least, most} = byId(id).dataset;
  return {least: Number(least), most: Number(most), whole: byId(id).inputMode === 'numeric'};
}

/** Says below a field which numbers it takes. */
function sayLimits(id) {
  const {least, most} = limitsOf(id);
  byId(id).after(element('small', 'number', `${least} to ${grouped(most)}`));
}

/** The number in a field. Throws an Error that says what was expected. */
function field(id) {
  const value = Number(byId(id).value.trim() || NaN), name = byId(id).parentElement.firstChild.textContent.trim();
  const {least, most, whole} = limitsOf(id), wrong = !(value >= least && value <= most && (!whole || value % 1 === 0));
  byId(id).setAttribute('aria-invalid', wrong);
  if (wrong) throw new Error(`${name}: expected a ${whole ? 'whole ' : ''}number from ${least} to ${grouped(most)}`);
  return value;
}

/** Calls act(), and shows its error in an element, which is hidden if there is none. */
function attempt(act, place) {
  place.hidden = true;
  try {
    act();
  } catch (error) {
    place.textContent = error.message;
    place.hidden = false;
  }
}

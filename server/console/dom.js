// Makes and changes elements. All text is set as text, never as HTML, so that names and messages
// that come from clients are inert.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// An element with attributes and children, which are elements or texts.
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function byId(id) {
  return document.getElementById(id);
}

// Sets a text only if it is another one, so that screen readers are not told again.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Shows a text in a node that is hidden without one.
export function showText(node, text) {
  setText(node, text);
  node.hidden = text === "";
}

// Makes the children of `parent` stand for `items`, in their order. A child is kept as long as
// its item's key is there, so focus and selection stay. `make(item)` returns a new child, and
// `update(child, item)` shows the item in it.
export function keep(parent, items, keyOf, make, update) {
  const children = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const key = String(keyOf(item));
    const child = children.get(key) ?? make(item);
    child.dataset.key = key;
    update(child, item);
    children.delete(key);
    return child;
  });
  for (const child of children.values()) child.remove();
  wanted.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
}

// Replaces the children of `parent` if `state` is not what they were made from.
export function redraw(parent, state, ...children) {
  const text = JSON.stringify(state);
  if (parent.dataset.state === text) return;
  parent.dataset.state = text;
  parent.replaceChildren(...children.map((child) => (typeof child === "function" ? child() : child)));
}

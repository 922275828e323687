// Building the page: text always becomes text nodes, never markup, so a product's title cannot inject anything.

export const byId = (id) => document.getElementById(id);

/** An element with properties (or attributes, where there is no such property) and children; null children are left out. */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "dataset") Object.assign(node.dataset, value);
    else if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** One of the symbols of icons.svg. */
export function icon(name) {
  const svg = drawing("svg", { class: "icon", "aria-hidden": "true" });
  svg.append(drawing("use", { href: `/page/icons.svg#${name}` }));
  return svg;
}

/** An SVG element with attributes and children. */
export function drawing(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** A button with an optional icon before its words. */
export function button(words, { iconName, onclick, ...properties } = {}) {
  return element("button", { type: "button", onclick, ...properties }, iconName ? icon(iconName) : null, words);
}

/** localStorage that never throws: with storage refused, nothing is remembered. */
export const memory = {
  get(name) {
    try {
      return localStorage.getItem(`freshlens.${name}`);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`freshlens.${name}`, value);
    } catch {
      // Nothing to do: the page works, it only forgets.
    }
  },
};

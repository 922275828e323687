// Filters: what the form says as the filter of a search, and the values it offers, learnt from the results seen so far.
import { button, byId, element } from "./elements.js";
import { fact } from "./product_facts.js";

const OPERATORS = { ">=": "gte", ">": "gt", "<=": "lte", "<": "lt" };
const CLAUSE = /^\s*([^\s=!<>][^=!<>]*?)\s*(!=|>=|<=|=|>|<)\s*(.+?)\s*$/;
const COLOUR_NAMES = ["color", "colour"];
const SWATCHES_MAX = 32;
// Shop colours that CSS does not name; the rest is tried without its spaces ("forest green").
const SHADES = { burgundy: "#7a1f36", charcoal: "#3b4045", cream: "#f3e8cd", gold: "#d0a63e", lilac: "#c0a2d8", mint: "#a8e6cf", mustard: "#d9a521", rose: "#e8909c", rust: "#b0502b", sand: "#d9c6a0" };

/** "12" → 12, "true" → true, '"12"' → "12": a filter's value has the type that the attribute has. */
export function typedValue(words) {
  const quoted = /^"(.*)"$/.exec(words);
  if (quoted) return quoted[1];
  if (words === "true" || words === "false") return words === "true";
  return words !== "" && Number.isFinite(Number(words)) ? Number(words) : words;
}

/** "brand = acme, nord" → {brand: ["acme", "nord"]}, "size >= 40" → {size: {gte: 40}}; null if it is no clause. */
export function parseClause(words) {
  const match = CLAUSE.exec(words);
  if (!match) return null;
  const [, name, operator, rest] = match;
  if (operator in OPERATORS) return { [name]: { [OPERATORS[operator]]: typedValue(rest) } };
  const values = rest.split(",").map((part) => typedValue(part.trim()));
  const equals = { [name]: values.length === 1 ? values[0] : values };
  return operator === "=" ? equals : { not: equals };
}

/** The JSON filter of a choice, or null where it lets everything pass. */
export function filterOf({ category, colours, colourName, from, to, inStock, clauses }) {
  const parts = [];
  if (category) parts.push({ category });
  if (colours.length) parts.push({ [colourName]: colours.length === 1 ? colours[0] : colours });
  const price = { ...(from === null ? {} : { gte: from }), ...(to === null ? {} : { lte: to }) };
  if (Object.keys(price).length) parts.push({ price });
  if (inStock) parts.push({ in_stock: true });
  parts.push(...clauses.map(parseClause));
  if (!parts.length) return null;
  return combined(parts);
}

// Two clauses about one field cannot share an object, so those that clash go into "all".
function combined(parts) {
  const names = parts.flatMap(Object.keys);
  return new Set(names).size === names.length ? Object.assign({}, ...parts) : { all: parts };
}

const NOTHING = { category: "", colours: [], from: null, to: null, inStock: false, clauses: [] };
const amount = (input) => (input.value === "" || !input.checkValidity() ? null : Number(input.value));

export class Filters {
  constructor({ changed }) {
    this.changed = changed;
    this.colourName = "color";
    this.forget();
    this.choice = structuredClone(NOTHING);
    byId("filter-form").addEventListener("submit", (event) => event.preventDefault());
    byId("category").addEventListener("change", (event) => this.#choose({ category: event.target.value }));
    byId("price-min").addEventListener("change", (event) => this.#choose({ from: amount(event.target) }));
    byId("price-max").addEventListener("change", (event) => this.#choose({ to: amount(event.target) }));
    byId("in-stock").addEventListener("change", (event) => this.#choose({ inStock: event.target.checked }));
    byId("clause").addEventListener("keydown", (event) => this.#addClause(event));
    byId("clause").addEventListener("input", (event) => event.target.setCustomValidity(""));
    byId("filters-clear").addEventListener("click", () => this.clear());
    this.draw();
  }

  get filter() {
    return filterOf({ ...this.choice, colourName: this.colourName });
  }

  get count() {
    const { category, colours, from, to, inStock, clauses } = this.choice;
    return (category ? 1 : 0) + (colours.length ? 1 : 0) + (from !== null || to !== null ? 1 : 0) + (inStock ? 1 : 0) + clauses.length;
  }

  /** Another catalogue: its values are not known yet. */
  forget() {
    this.seen = { category: new Map(), colour: new Map(), names: new Set() };
  }

  /** Offers the values of these results too. */
  learn(results) {
    for (const result of results) {
      count(this.seen.category, fact(result, "category"));
      for (const name of Object.keys(result.attributes ?? {})) this.seen.names.add(name);
      const colourName = COLOUR_NAMES.find((name) => fact(result, name) !== null);
      if (!colourName) continue;
      this.colourName = colourName;
      for (const colour of [fact(result, colourName)].flat()) count(this.seen.colour, colour);
    }
    this.draw();
  }

  set(choice) {
    this.choice = structuredClone({ ...NOTHING, ...choice });
    this.draw();
  }

  clear() {
    this.set(NOTHING);
    this.changed();
  }

  #choose(part) {
    Object.assign(this.choice, part);
    this.draw();
    this.changed();
  }

  #addClause(event) {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    const words = event.target.value.trim();
    if (!words) return;
    if (!parseClause(words)) {
      event.target.setCustomValidity("Write it as: attribute = value");
      event.target.reportValidity();
      return;
    }
    event.target.value = "";
    this.#choose({ clauses: [...this.choice.clauses, words] });
  }

  #toggleColour(colour) {
    const { colours } = this.choice;
    this.#choose({ colours: colours.includes(colour) ? colours.filter((each) => each !== colour) : [...colours, colour] });
  }

  draw() {
    const { category, colours, from, to, inStock, clauses } = this.choice;
    const categories = inOrder(this.seen.category, [category]).map((name) => element("option", { value: name }, name));
    byId("category").replaceChildren(element("option", { value: "" }, "Any"), ...categories);
    byId("category").value = category;
    byId("price-min").value = from ?? "";
    byId("price-max").value = to ?? "";
    byId("in-stock").checked = inStock;
    byId("attribute-names").replaceChildren(...[...this.seen.names].sort().map((name) => element("option", { value: `${name} = ` })));
    byId("clauses").replaceChildren(...clauses.map((words) => this.#chip(words)));
    this.#drawSwatches(colours);
    byId("filters-clear").hidden = this.count === 0;
    byId("filter-count").hidden = this.count === 0;
    byId("filter-count").textContent = this.count;
  }

  #drawSwatches(colours) {
    const focused = document.activeElement?.dataset.colour;
    const known = inOrder(this.seen.colour, colours).slice(0, SWATCHES_MAX);
    byId("colours").hidden = known.length === 0;
    byId("colours-chosen").textContent = colours.join(", ");
    byId("swatches").replaceChildren(...known.map((colour) => this.#swatch(colour, colours.includes(colour))));
    if (focused) byId("swatches").querySelector(`[data-colour="${CSS.escape(focused)}"]`)?.focus();
  }

  #swatch(colour, pressed) {
    const dot = element("span", { className: "dot" });
    const shade = SHADES[colour.toLowerCase()] ?? colour.replaceAll(" ", "");
    if (CSS.supports("color", shade)) dot.style.setProperty("--dot", shade);
    const properties = { className: "swatch", title: colour, "aria-label": colour, "aria-pressed": String(pressed), dataset: { colour } };
    return element("button", { type: "button", ...properties, onclick: () => this.#toggleColour(colour) }, dot);
  }

  #chip(words) {
    const remove = () => this.#choose({ clauses: this.choice.clauses.filter((each) => each !== words) });
    return element("li", { className: "chip" }, words, button("", { iconName: "close", "aria-label": `Remove ${words}`, onclick: remove }));
  }
}

function count(counts, value) {
  if (typeof value === "string" && value) counts.set(value, (counts.get(value) ?? 0) + 1);
}

// Chosen values stay offered even when no result has them any more; alphabetical, so that nothing jumps.
function inOrder(counts, chosen) {
  return [...new Set([...counts.keys(), ...chosen.filter(Boolean)])].sort((a, b) => a.localeCompare(b));
}

// Filters: what the form says as the filter of a search, and the values it offers, counted by the API.
import { colourNameIn, fieldsOf, isPick, questionsOf, wordsIn } from "./counts.js";
import { button, byId, element } from "./elements.js";

const OPERATORS = { ">=": "gte", ">": "gt", "<=": "lte", "<": "lt" };
const CLAUSE = /^\s*([^\s=!<>][^=!<>]*?)\s*(!=|>=|<=|=|>|<)\s*(.+?)\s*$/;
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
export function filterOf({ category, colours, colourName, picks = {}, from, to, inStock, clauses }) {
  const parts = [];
  if (category) parts.push({ category });
  if (colours.length) parts.push({ [colourName]: colours.length === 1 ? colours[0] : colours });
  const price = { ...(from === null ? {} : { gte: from }), ...(to === null ? {} : { lte: to }) };
  if (Object.keys(price).length) parts.push({ price });
  if (inStock) parts.push({ in_stock: true });
  parts.push(...Object.entries(picks).filter(([, value]) => value).map(([name, value]) => ({ [name]: value })));
  parts.push(...clauses.map(parseClause));
  if (!parts.length) return null;
  return combined(parts);
}

// Two clauses about one field cannot share an object, so those that clash go into "all".
function combined(parts) {
  const names = parts.flatMap(Object.keys);
  return new Set(names).size === names.length ? Object.assign({}, ...parts) : { all: parts };
}

const NOTHING = { category: "", colours: [], picks: {}, from: null, to: null, inStock: false, clauses: [] };

function typed(input) {
  // Drawn anew whatever it is: what is no price does not filter, and should not look so.
  delete input.dataset.drawn;
  return input.value === "" || !input.checkValidity() ? null : Number(input.value);
}

/** Shows a price in its field, and leaves that alone where it was shown already: another may be typed there. */
function write(input, price) {
  if (input.dataset.drawn !== String(price)) input.value = price;
  input.dataset.drawn = price;
}

export class Filters {
  constructor({ changed }) {
    this.changed = changed;
    this.colourName = "color";
    this.forget();
    this.choice = structuredClone(NOTHING);
    byId("filter-form").addEventListener("submit", (event) => event.preventDefault());
    byId("category").addEventListener("change", (event) => this.#choose({ category: event.target.value }));
    byId("price-min").addEventListener("change", (event) => this.#choose({ from: typed(event.target) }));
    byId("price-max").addEventListener("change", (event) => this.#choose({ to: typed(event.target) }));
    byId("in-stock").addEventListener("change", (event) => this.#choose({ inStock: event.target.checked }));
    byId("clause").addEventListener("keydown", (event) => this.#addClause(event));
    byId("clause").addEventListener("input", (event) => event.target.setCustomValidity(""));
    byId("filters-clear").addEventListener("click", () => this.clear());
    this.draw();
  }

  get filter() {
    return this.#filterOf(this.choice);
  }

  get count() {
    const { category, colours, picks, from, to, inStock, clauses } = this.choice;
    return (category ? 1 : 0) + (colours.length ? 1 : 0) + Object.keys(picks).length + (from !== null || to !== null ? 1 : 0) + (inStock ? 1 : 0) + clauses.length;
  }

  #filterOf(choice) {
    return filterOf({ ...choice, colourName: this.colourName });
  }

  /** Another catalogue: its values are not known yet. */
  forget() {
    this.counting = null;
    this.facets = {};
    this.names = new Set();
    this.pickable = new Set();
    this.colourName = "color";
  }

  /** The values of a field that were counted last. */
  values(name) {
    return [...wordsIn(this.facets[name]).keys()].sort();
  }

  /** Offers the attributes of these results, and counts anew what there is to choose from. */
  async learn(results, api) {
    for (const result of results) for (const name of Object.keys(result.attributes ?? {})) this.names.add(name);
    this.draw();
    this.counting = this.#counted(api);
    const [mine, facets] = [this.counting, await this.counting];
    if (mine !== this.counting || !facets) return;
    this.facets = facets;
    // A list that was offered once stays, also when a filter leaves it one value: the panel would jump.
    for (const name of Object.keys(facets)) if (isPick(name, facets[name])) this.pickable.add(name);
    this.colourName = colourNameIn(facets) ?? this.colourName;
    this.draw();
  }

  // Without an answer the panel stays as it is: it is a help, and the search has told what is wrong.
  async #counted(api) {
    const questions = questionsOf(fieldsOf(this.names), this.choice, (choice) => this.#filterOf(choice));
    try {
      return Object.assign({}, ...(await Promise.all(questions.map(([names, filter]) => api.facets(names, filter)))));
    } catch {
      return null;
    }
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

  #pick(name, value) {
    const { [name]: _, ...others } = this.choice.picks;
    this.#choose({ picks: value ? { ...others, [name]: value } : others });
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
    const { category, from, to, inStock, clauses } = this.choice;
    offer(byId("category"), wordsIn(this.facets.category), category);
    write(byId("price-min"), from ?? "");
    write(byId("price-max"), to ?? "");
    byId("price-min").placeholder = bound("from", this.facets.price?.least);
    byId("price-max").placeholder = bound("to", this.facets.price?.greatest);
    byId("in-stock").checked = inStock;
    byId("in-stock-count").textContent = this.facets.in_stock?.values.find(({ value }) => value === true)?.count ?? "";
    byId("attribute-names").replaceChildren(...[...this.names].sort().map((name) => element("option", { value: `${name} = ` })));
    byId("clauses").replaceChildren(...clauses.map((words) => this.#chip(words)));
    this.#drawSwatches();
    this.#drawPicks();
    byId("filters-clear").hidden = this.count === 0;
    byId("filter-count").hidden = this.count === 0;
    byId("filter-count").textContent = this.count;
  }

  #drawSwatches() {
    const { colours } = this.choice;
    const focused = document.activeElement?.dataset.colour;
    const counts = wordsIn(this.facets[this.colourName]);
    const known = inOrder([...counts.keys()].slice(0, SWATCHES_MAX), colours);
    byId("colours").hidden = known.length === 0;
    byId("colours-chosen").textContent = colours.join(", ");
    byId("swatches").replaceChildren(...known.map((colour) => this.#swatch(colour, counts.get(colour), colours.includes(colour))));
    if (focused) byId("swatches").querySelector(`[data-colour="${CSS.escape(focused)}"]`)?.focus();
  }

  #swatch(colour, count, pressed) {
    const dot = element("span", { className: "dot" });
    const shade = SHADES[colour.toLowerCase()] ?? colour.replaceAll(" ", "");
    if (CSS.supports("color", shade)) dot.style.setProperty("--dot", shade);
    const words = counted(colour, count);
    const properties = { className: "swatch", title: words, "aria-label": words, "aria-pressed": String(pressed), dataset: { colour } };
    return element("button", { type: "button", ...properties, onclick: () => this.#toggleColour(colour) }, dot);
  }

  // Lists stay where they are while they are used: they are only made when there is another set of fields.
  #drawPicks() {
    const { picks } = this.choice;
    const names = inOrder([...this.pickable], Object.keys(picks));
    const row = byId("picks");
    row.hidden = names.length === 0;
    if (row.dataset.names !== names.join()) row.replaceChildren(...names.map((name) => this.#list(name)));
    row.dataset.names = names.join();
    for (const list of row.querySelectorAll("select")) offer(list, wordsIn(this.facets[list.name]), picks[list.name] ?? "");
  }

  #list(name) {
    const list = element("select", { name, onchange: (event) => this.#pick(name, event.target.value) });
    return element("label", { className: "field" }, element("span", {}, name.replaceAll("_", " ")), list);
  }

  #chip(words) {
    const remove = () => this.#choose({ clauses: this.choice.clauses.filter((each) => each !== words) });
    return element("li", { className: "chip" }, words, button("", { iconName: "close", "aria-label": `Remove ${words}`, onclick: remove }));
  }
}

const counted = (value, count) => (count === undefined ? value : `${value} (${count})`);
const bound = (word, number) => (Number.isFinite(number) ? `${word} ${number}` : word);

/** Fills a list with values and their counts, and leaves it alone where nothing changed: it may be open. */
function offer(list, counts, chosen) {
  const words = inOrder([...counts.keys()], [chosen]).map((value) => [value, counted(value, counts.get(value))]);
  const drawn = JSON.stringify(words);
  if (list.dataset.drawn !== drawn) list.replaceChildren(element("option", { value: "" }, "Any"), ...words.map(([value, said]) => element("option", { value }, said)));
  list.dataset.drawn = drawn;
  list.value = chosen;
}

// Chosen values stay offered even when no product has them any more; alphabetical, so that nothing jumps.
function inOrder(values, chosen) {
  return [...new Set([...values, ...chosen.filter(Boolean)])].sort((a, b) => a.localeCompare(b));
}

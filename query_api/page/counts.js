// What the filter panel offers: the values of each field and how often they occur, as the API counts them.

export const COLOUR_NAMES = ["color", "colour"];
const ALWAYS = ["category", ...COLOUR_NAMES, "price", "in_stock"];
// Told apart already, or free text: nothing to pick from a list.
const NO_PICK = [...ALWAYS, "product_id", "title", "description", "currency", "stock"];
const FIELDS_MAX = 8;
const PICK_VALUES_MAX = 40;

/** Fields to count; `names` are attributes that products were seen to have. Fields that none has do no harm. */
export function fieldsOf(names) {
  return [...ALWAYS, ...[...names].filter((name) => !NO_PICK.includes(name)).sort()].slice(0, FIELDS_MAX);
}

/**
 * The questions to ask, as [fields, filter]. A field that is chosen from is counted without its own choice, or only
 * the chosen value would be left to choose.
 */
export function questionsOf(fields, choice, filterOf) {
  const chosen = chosenIn(choice);
  const own = fields.filter((name) => name in chosen);
  const others = fields.filter((name) => !(name in chosen));
  return [[others, filterOf(choice)], ...own.map((name) => [[name], filterOf({ ...choice, ...chosen[name] })])];
}

// Field → the change that takes its choice away.
function chosenIn({ category, colours, picks, from, to, inStock }) {
  const chosen = {};
  if (category) chosen.category = { category: "" };
  if (colours.length) for (const name of COLOUR_NAMES) chosen[name] = { colours: [] };
  if (from !== null || to !== null) chosen.price = { from: null, to: null };
  if (inStock) chosen.in_stock = { inStock: false };
  for (const name of Object.keys(picks)) chosen[name] = { picks: { ...picks, [name]: "" } };
  return chosen;
}

/** Values that are words, with their counts: a Map. */
export const wordsIn = (facet) => new Map((facet?.values ?? []).filter(({ value }) => typeof value === "string").map(({ value, count }) => [value, count]));

/** Whether a field is worth a list of its own: a few values, more than one of them. */
export const isPick = (name, facet) => !NO_PICK.includes(name) && facet.kind === "string" && facet.distinct > 1 && facet.distinct <= PICK_VALUES_MAX;

/** The colour field that products have. */
export const colourNameIn = (facets) => COLOUR_NAMES.find((name) => facets[name]?.values.length) ?? null;

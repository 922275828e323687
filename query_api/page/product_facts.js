// What a result says about its product, in words.

const OFFER = ["price", "currency", "stock", "in_stock"];

/** An offer field, which answers may carry beside the attributes or among them. */
export function fact(result, name) {
  return result[name] ?? result.attributes?.[name] ?? null;
}

export const titleOf = (result) => result.title || fact(result, "category") || result.product_id;

export function priceOf(result) {
  const price = fact(result, "price");
  if (price === null) return null;
  const currency = fact(result, "currency");
  try {
    return new Intl.NumberFormat(undefined, currency ? { style: "currency", currency } : {}).format(price);
  } catch {
    return `${price} ${currency ?? ""}`.trim();
  }
}

export function stockOf(result) {
  const stock = fact(result, "stock");
  const inStock = fact(result, "in_stock") ?? (stock === null || stock > 0);
  if (!inStock) return "Out of stock";
  return stock === null ? "In stock" : `${stock} in stock`;
}

export const isInStock = (result) => stockOf(result) !== "Out of stock";

/** Whether the product is still in the live part of the index, which new products reach first. */
export const isFresh = (result) => Boolean(result.source) && result.source !== "main";

/** Attributes besides the offer, as [name, value] in words. */
export function attributesOf(result) {
  return Object.entries(result.attributes ?? {})
    .filter(([name, value]) => !OFFER.includes(name) && value !== null)
    .map(([name, value]) => [name.replaceAll("_", " "), Array.isArray(value) ? value.join(", ") : String(value)]);
}

/** When a version of microseconds was made; null for a tenant that counts its versions otherwise. */
export function madeAt(version) {
  const date = new Date(version / 1000);
  const year = date.getUTCFullYear();
  return year >= 2000 && year < 2100 ? date : null;
}

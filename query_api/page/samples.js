// Pictures of the catalogue to try a search with, while nothing is asked yet.
import { byId, element } from "./elements.js";
import { picture } from "./key.js";
import { fact, titleOf } from "./product_facts.js";

const SAMPLES = 7;

/** One product of each category first, so that the samples show how broad the catalogue is; `search(product)`: one was pressed. */
export function drawSamples(products, { thumbnail, search }) {
  const pictured = products.filter((product) => product.thumbnail);
  const distinct = [...new Map(pictured.map((product) => [fact(product, "category") ?? product.product_id, product])).values()];
  const chosen = [...new Set([...distinct, ...pictured])].slice(0, SAMPLES);
  byId("samples").hidden = chosen.length < 3;
  byId("sample-row").replaceChildren(...chosen.map((product) => {
    const shown = picture({ src: thumbnail(product, 96), alt: "" });
    return element("button", { type: "button", className: "sample", "aria-label": `Search with the picture of ${titleOf(product)}`, onclick: () => search(product) }, shown);
  }));
}

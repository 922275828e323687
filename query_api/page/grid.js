// The grid of pictures: cards, skeletons while loading, and arrow keys that follow the rows as they are drawn.
import { button, byId, element, icon } from "./elements.js";
import { picture } from "./key.js";
import { isFresh, isInStock, priceOf, titleOf } from "./product_facts.js";

const SKELETONS = 12;

export class Grid {
  /** `open(result)` shows a product; `like(result)` searches for more of it; `thumbnail(result, size)` is an address. */
  constructor(list, { open, like, thumbnail }) {
    Object.assign(this, { list, open, like, thumbnail });
    this.list.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Grey plates where results will be. Results that are there stay, dimmed: less flicker than emptying the page. */
  wait() {
    byId("results").setAttribute("aria-busy", "true");
    if (this.list.querySelector(".card")) return;
    this.list.replaceChildren(...Array.from({ length: SKELETONS }, skeleton));
  }

  show(results) {
    byId("results").setAttribute("aria-busy", "false");
    this.results = results;
    this.list.replaceChildren(...results.map((result, index) => this.#card(result, index)));
  }

  focusFirst() {
    this.list.querySelector(".open")?.focus();
  }

  /** The product vanishes from the grid before the index says so; a later search is the truth. */
  dim(productId) {
    for (const card of this.list.children) if (card.dataset.productId === productId) card.classList.add("leaving");
  }

  #card(result, index) {
    const words = titleOf(result);
    const tabIndex = index === 0 ? 0 : -1;
    const open = element(
      "button",
      { type: "button", className: "open", tabIndex, onclick: () => this.open(result), onfocus: () => this.#rove(index) },
      element("span", { className: "plate" }, this.#picture(result, words, index), scoreBadge(result)),
      element("span", { className: "title" }, words),
      element("span", { className: "facts" }, element("span", { className: "price" }, priceOf(result) ?? ""), freshMark(result)),
      isInStock(result) ? null : element("span", { className: "sold-out" }, "Out of stock"),
    );
    const like = button("", { iconName: "like", className: "more-like square", tabIndex, title: "More like this", "aria-label": `More like ${words}` });
    like.onclick = () => this.like(result);
    const card = element("li", { className: "card", dataset: { productId: result.product_id } }, open, like);
    card.style.setProperty("--i", Math.min(index, 16));
    return card;
  }

  #picture(result, words, index) {
    const src = this.thumbnail(result, 256);
    if (!src) return element("span", { className: "no-picture" }, icon("image"));
    const larger = this.thumbnail(result, 512);
    const properties = { src, srcset: `${src} 256w, ${larger} 512w`, sizes: "(max-width: 600px) 46vw, 230px" };
    const image = picture({ alt: `Picture of ${words}`, loading: index < 12 ? "eager" : "lazy", decoding: "async", ...properties });
    image.onerror = () => image.replaceWith(element("span", { className: "no-picture" }, icon("image")));
    return image;
  }

  // One card is in the tab order at a time, so that Tab leaves the grid instead of walking through all of it.
  #rove(index) {
    for (const [at, card] of [...this.list.children].entries()) {
      for (const control of card.querySelectorAll("button")) control.tabIndex = at === index ? 0 : -1;
    }
  }

  #key(event) {
    const cards = [...this.list.querySelectorAll(".card")];
    const at = cards.indexOf(event.target.closest(".card"));
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "m") return void this.like(this.results[at]);
    const to = target(event.key, at, cards.length, columns(cards));
    if (to === null) return;
    event.preventDefault();
    cards[to].querySelector(".open").focus();
  }
}

function columns(cards) {
  const top = cards[0].offsetTop;
  const second = cards.findIndex((card) => card.offsetTop > top);
  return second < 0 ? cards.length : second;
}

/** Where a key leads from position `at` of `total` in rows of `wide`; null for keys that are not ours. */
export function target(key, at, total, wide) {
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -wide, ArrowDown: wide };
  if (key === "Home") return 0;
  if (key === "End") return total - 1;
  if (!(key in steps)) return null;
  const to = at + steps[key];
  return to >= 0 && to < total ? to : at;
}

function scoreBadge(result) {
  if (!(result.score > 0)) return null;
  const words = result.score.toFixed(2);
  return element("span", { className: "score", title: `Score ${words}, similarity ${(result.similarity ?? result.score).toFixed(2)}` }, element("span", { className: "unseen" }, "score "), words);
}

function freshMark(result) {
  if (!isFresh(result)) return null;
  return element("span", { className: "fresh", title: "New: answered by the live index" }, element("span", { className: "unseen" }, "new"));
}

function skeleton() {
  const plate = element("span", { className: "plate shimmer" });
  return element("li", { className: "card skeleton", "aria-hidden": "true" }, plate, element("span", { className: "line shimmer" }), element("span", { className: "line short shimmer" }));
}

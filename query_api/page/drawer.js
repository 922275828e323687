// One product in full, in a dialog from the side.
import { button, byId, element, icon } from "./elements.js";
import { picture } from "./key.js";
import { attributesOf, isFresh, isInStock, madeAt, priceOf, stockOf, titleOf } from "./product_facts.js";
import { viewsSection } from "./views.js";
import { whySection } from "./why.js";

export class Drawer {
  /**
   * `thumbnail(result, size)`: an address. `product(id)`: all that is known of it.
   * `like`, `cart`, `remove`: what the buttons do with the result shown.
   */
  constructor({ thumbnail, product, like, cart, remove }) {
    Object.assign(this, { thumbnail, product, like, cart, remove });
    this.dialog = byId("drawer");
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
  }

  show(result, { query }) {
    const views = element("div", { className: "views-place" });
    this.dialog.replaceChildren(
      button("", { iconName: "close", className: "quiet square dismiss", "aria-label": "Close", onclick: () => this.dialog.close() }),
      this.#picture(result),
      element("div", { className: "body" }, heading(result), this.#actions(result, query), description(result), whySection(result), views, facts(result, query)),
    );
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
    this.#addViews(views, result);
  }

  // They come from another request, and to a place below everything that is pressed: nothing moves away under a finger.
  async #addViews(place, result) {
    const product = await this.product(result.product_id).catch(() => null);
    if (!product) return;
    const chosen = (view) => this.dialog.querySelector(".hero").replaceWith(this.#picture({ ...result, thumbnail: view.thumbnail }));
    place.replaceChildren(...[viewsSection(product, { thumbnail: this.thumbnail, chosen })].filter(Boolean));
  }

  close() {
    this.dialog.close();
  }

  #picture(result) {
    const src = this.thumbnail(result, 512);
    if (!src) return element("div", { className: "hero" }, element("span", { className: "no-picture" }, icon("image")));
    return element("div", { className: "hero" }, picture({ src, alt: `Picture of ${titleOf(result)}` }));
  }

  #actions(result, query) {
    const closing = (act) => () => (this.dialog.close(), act(result));
    return element(
      "div",
      { className: "actions" },
      query ? button("Add to cart", { iconName: "cart", className: "primary", onclick: () => this.cart(result), disabled: !isInStock(result) }) : null,
      button("More like this", { iconName: "like", className: "button", onclick: closing(this.like) }),
      this.#deletion(result),
    );
  }

  // Deleting asks twice, in place: the first press arms the button for some seconds.
  #deletion(result) {
    const node = button("Delete", { iconName: "trash", className: "quiet danger" });
    node.onclick = () => {
      if (node.dataset.armed) {
        this.dialog.close();
        this.remove(result);
        return;
      }
      node.dataset.armed = "yes";
      node.lastChild.textContent = "Really delete?";
      setTimeout(() => {
        delete node.dataset.armed;
        node.lastChild.textContent = "Delete";
      }, 4000);
    };
    return node;
  }
}

function heading(result) {
  const price = priceOf(result);
  return element(
    "header",
    {},
    element("h2", { id: "drawer-title" }, titleOf(result)),
    element("p", { className: "offer" }, price ? element("strong", {}, price) : null, element("span", { className: isInStock(result) ? "in" : "out" }, stockOf(result))),
  );
}

function description(result) {
  return result.description ? element("p", { className: "description" }, result.description) : null;
}

function facts(result, query) {
  const rows = [...attributesOf(result), ["product", result.product_id]];
  if (query) {
    rows.push(["position", result.position], ["similarity", result.similarity?.toFixed(3)], ["score", result.score?.toFixed(3)]);
  }
  rows.push(["index", isFresh(result) ? "live (newest changes)" : result.source === "main" ? "main" : null]);
  const made = madeAt(result.version);
  rows.push(["version", made ? `${result.version} (${made.toLocaleString()})` : result.version]);
  const known = rows.filter(([, value]) => value !== null && value !== undefined);
  return element("dl", { className: "facts-table" }, known.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, String(value)))));
}

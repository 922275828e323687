// Adding a product from the page, and watching until a search by its own photo finds it.
import { toastError } from "./announce.js";
import { button, byId, element, icon } from "./elements.js";
import { elapsed, watchUntil } from "./freshness.js";
import { askForKey, refusalOf } from "./key.js";
import { listenForFiles, PRODUCT_SIDE_MAX, shrink } from "./upload.js";

const CURRENCIES = ["EUR", "USD", "GBP", "CHF", "JPY", "SEK", "PLN"];

/** The product of the form as POST /v1/products takes it; keys left blank are left out. */
export function productOf(fields, base64, colourName = "color") {
  const product = { product_id: fields.product_id.trim(), title: fields.title.trim(), image: { base64 } };
  if (fields.category.trim()) product.category = fields.category.trim();
  if (fields.colour.trim()) product[colourName] = fields.colour.trim();
  if (fields.price !== "") Object.assign(product, { price: Number(fields.price), currency: fields.currency });
  if (fields.stock !== "") product.stock = Number(fields.stock);
  return product;
}

const newId = () => `photo-${Date.now().toString(36)}`;

export class AddProduct {
  /** `api()`: the current Api. `categories()`: names to offer. `search(photo)`: shows the new product among its likes.
   * `colourName()`: what this catalogue calls the attribute. */
  constructor(page) {
    this.page = page;
    this.dialog = byId("add");
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
  }

  get isOpen() {
    return this.dialog.open;
  }

  open() {
    const again = () => (this.dialog.close(), this.open());
    this.attempt = new Attempt({ ...this.page, api: this.page.api(), close: () => this.dialog.close(), again });
    this.dialog.replaceChildren(this.attempt.form, this.attempt.keyPlace);
    this.dialog.showModal();
  }

  /** A picture that was picked, dropped or pasted while the dialog is open. */
  take(file) {
    return this.attempt.take(file);
  }
}

/** One product on its way, in a form of its own: one that is still being looked for says nothing in the form of the next. */
class Attempt {
  constructor(parts) {
    Object.assign(this, parts);
    this.shrinking = this.drawn = null;
    this.form = this.#form();
    this.keyPlace = element("div");
  }

  async take(file) {
    // Kept as a promise, so that Publish may be pressed while the photo is still being shrunk.
    const mine = (this.shrinking = shrink(file, PRODUCT_SIDE_MAX));
    try {
      const photo = await mine;
      if (mine === this.shrinking) this.#draw(photo);
    } catch (error) {
      if (mine !== this.shrinking) return;
      this.shrinking = this.drawn;
      toastError(error);
    }
  }

  #draw(photo) {
    this.drawn = this.shrinking;
    this.picker.replaceChildren(element("img", { src: photo.url, alt: "Photo of the new product" }));
    this.picker.setAttribute("aria-label", "Replace the photo");
    this.picker.classList.add("filled");
  }

  #form() {
    const file = element("input", { type: "file", accept: "image/*", hidden: true, id: "add-file", "aria-label": "Photo file of the product" });
    listenForFiles(file, (picked) => this.take(picked));
    this.picker = element("button", { type: "button", className: "drop", id: "add-photo", onclick: () => file.click() }, icon("image"), element("strong", {}, "Photo"), element("span", {}, "drop, paste or choose"));
    this.progress = element("ol", { className: "progress", role: "status", hidden: true });
    this.submit = button("Publish", { className: "primary", type: "submit" });
    this.buttons = element("div", { className: "actions" }, this.submit, button("Cancel", { className: "quiet", onclick: this.close }));
    const title = element("header", {}, element("h2", { id: "add-title" }, "Add a product"), element("p", {}, `It goes to the catalogue “${this.api.tenant}” and is searchable at once.`));
    const columns = element("div", { className: "sheet-columns" }, element("div", {}, this.picker, file), this.#fields());
    return element("form", { id: "add-form", onsubmit: (event) => (event.preventDefault(), this.#publish()) }, title, columns, this.progress, this.buttons);
  }

  #fields() {
    const options = this.categories().map((name) => element("option", { value: name }));
    const categories = element("datalist", { id: "add-categories" }, options);
    const category = field("Category", "category", { maxLength: 200 });
    category.querySelector("input").setAttribute("list", "add-categories");
    const currency = element("label", { className: "field" }, element("span", {}, "Currency"), element("select", { name: "currency" }, CURRENCIES.map((code) => element("option", { value: code }, code))));
    return element(
      "div",
      { className: "fields" },
      field("Title", "title", { required: true, maxLength: 500, autocomplete: "off" }),
      field("Product id", "product_id", { required: true, maxLength: 200, value: newId(), autocomplete: "off", spellcheck: false }),
      category,
      field("Colour", "colour", { maxLength: 100 }),
      field("Price", "price", { type: "number", min: 0, step: "any", inputMode: "decimal" }),
      currency,
      field("Stock", "stock", { type: "number", min: 0, step: 1, inputMode: "numeric" }),
      element("label", { className: "switch", title: "For a few products that cannot wait for what is queued" }, element("input", { type: "checkbox", name: "hot", role: "switch" }), element("span", { className: "track", "aria-hidden": "true" }), "Ahead of everything queued"),
      categories,
    );
  }

  #step(words, state = "done") {
    this.progress.hidden = false;
    this.progress.append(element("li", { className: state }, state === "done" ? icon("check") : state === "failed" ? icon("alert") : element("span", { className: "spinner" }), element("span", {}, words)));
  }

  #lastStep(words, state) {
    this.progress.lastElementChild?.remove();
    this.#step(words, state);
  }

  async #publish() {
    this.progress.replaceChildren();
    this.keyPlace.replaceChildren();
    if (!this.shrinking) {
      this.#step("A photo is needed: that is what it is found by.", "failed");
      this.picker.focus();
      return;
    }
    this.submit.disabled = true;
    try {
      const photo = await this.shrinking;
      const fields = Object.fromEntries(new FormData(this.form));
      await this.#publishAndWatch(productOf(fields, photo.base64, this.colourName()), photo, { hot: "hot" in fields });
    } catch (error) {
      this.#lastStep(`${error.message} (${error.code ?? "unexpected"})`, "failed");
      this.submit.disabled = false;
      if (refusalOf(error)) askForKey(this.keyPlace, () => this.form.requestSubmit());
    }
  }

  async #publishAndWatch(product, photo, options) {
    const startedAt = performance.now();
    this.#step("Publishing…", "running");
    const { read_token: token } = await this.api.publish(product, options);
    this.#lastStep(`Published in ${elapsed(performance.now() - startedAt)}`);
    this.#step("Searching for it by its photo…", "running");
    const body = { image: { base64: photo.base64 }, k: 10 };
    const has = (answer) => answer.results.some((result) => result.product_id === product.product_id);
    const { ms, seen } = await watchUntil(this.api, body, token, has, startedAt);
    if (!seen) {
      this.#lastStep("Not found by its photo. It may have been refused: see “freshlens dead-letters list”.", "failed");
      this.submit.disabled = false;
      return;
    }
    this.#lastStep(`Searchable after ${elapsed(ms)}`);
    this.#offerNext(photo);
  }

  #offerNext(photo) {
    const show = button("Show it in the results", { className: "primary", onclick: () => (this.close(), this.search(photo)) });
    const again = button("Add another", { className: "button", onclick: this.again });
    this.buttons.replaceChildren(show, again, button("Done", { className: "quiet", onclick: this.close }));
    show.focus();
  }
}

function field(label, name, properties) {
  return element("label", { className: "field" }, element("span", {}, label), element("input", { type: "text", name, ...properties }));
}

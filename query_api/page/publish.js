// Adding a product from the page, and watching until a search by its own photo finds it.
import { toastError } from "./announce.js";
import { button, byId, element, icon } from "./elements.js";
import { elapsed, watchUntil } from "./freshness.js";
import { listenForFiles, pictureIn, PRODUCT_SIDE_MAX, shrink } from "./upload.js";

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
  constructor({ api, categories, colourName, search }) {
    Object.assign(this, { api, categories, colourName, search });
    this.dialog = byId("add");
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("dragover", (event) => event.preventDefault());
    this.dialog.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation();
      const file = pictureIn(event.dataTransfer);
      if (file) this.take(file);
    });
  }

  get isOpen() {
    return this.dialog.open;
  }

  open() {
    this.shrinking = null;
    this.dialog.replaceChildren(this.#form());
    this.dialog.showModal();
  }

  /** A picture that was picked, dropped or pasted while the dialog is open. */
  async take(file) {
    // Kept as a promise, so that Publish may be pressed while the photo is still being shrunk.
    this.shrinking = shrink(file, PRODUCT_SIDE_MAX);
    try {
      const photo = await this.shrinking;
      this.picker.replaceChildren(element("img", { src: photo.url, alt: "Photo of the new product" }));
      this.picker.setAttribute("aria-label", "Replace the photo");
      this.picker.classList.add("filled");
    } catch (error) {
      this.shrinking = null;
      toastError(error);
    }
  }

  #form() {
    const file = element("input", { type: "file", accept: "image/*", hidden: true, id: "add-file", "aria-label": "Photo file of the product" });
    listenForFiles(file, (picked) => this.take(picked));
    this.picker = element("button", { type: "button", className: "drop", id: "add-photo", onclick: () => file.click() }, icon("image"), element("strong", {}, "Photo"), element("span", {}, "drop, paste or choose"));
    this.progress = element("ol", { className: "progress", role: "status", hidden: true });
    this.submit = button("Publish", { className: "primary", type: "submit" });
    const buttons = element("div", { className: "actions" }, this.submit, button("Cancel", { className: "quiet", onclick: () => this.dialog.close() }));
    const title = element("header", {}, element("h2", { id: "add-title" }, "Add a product"), element("p", {}, `It goes to the catalogue “${this.api().tenant}” and is searchable at once.`));
    const form = element("form", { id: "add-form", onsubmit: (event) => (event.preventDefault(), this.#publish(form)) });
    form.append(title, element("div", { className: "sheet-columns" }, element("div", {}, this.picker, file), this.#fields()), this.progress, buttons);
    return form;
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

  async #publish(form) {
    this.progress.replaceChildren();
    if (!this.shrinking) {
      this.#step("A photo is needed: that is what it is found by.", "failed");
      this.picker.focus();
      return;
    }
    this.submit.disabled = true;
    try {
      this.photo = await this.shrinking;
      const fields = Object.fromEntries(new FormData(form));
      await this.#publishAndWatch(productOf(fields, this.photo.base64, this.colourName()), { hot: "hot" in fields });
    } catch (error) {
      this.#lastStep(`${error.message} (${error.code ?? "unexpected"})`, "failed");
      this.submit.disabled = false;
    }
  }

  async #publishAndWatch(product, options) {
    const api = this.api();
    const startedAt = performance.now();
    this.#step("Publishing…", "running");
    const { read_token: token } = await api.publish(product, options);
    this.#lastStep(`Published in ${elapsed(performance.now() - startedAt)}`);
    this.#step("Searching for it by its photo…", "running");
    const body = { image: { base64: this.photo.base64 }, k: 10 };
    const has = (answer) => answer.results.some((result) => result.product_id === product.product_id);
    const { ms, seen } = await watchUntil(api, body, token, has, startedAt);
    if (!seen) {
      this.#lastStep("Not found by its photo. It may have been refused: see “freshlens dead-letters list”.", "failed");
      this.submit.disabled = false;
      return;
    }
    this.#lastStep(`Searchable after ${elapsed(ms)}`);
    this.#offerNext();
  }

  #offerNext() {
    const show = button("Show it in the results", { className: "primary", onclick: () => (this.dialog.close(), this.search(this.photo)) });
    const again = button("Add another", { className: "button", onclick: () => (this.dialog.close(), this.open()) });
    this.dialog.querySelector(".actions").replaceChildren(show, again, button("Done", { className: "quiet", onclick: () => this.dialog.close() }));
    show.focus();
  }
}

function field(label, name, properties) {
  return element("label", { className: "field" }, element("span", {}, label), element("input", { type: "text", name, ...properties }));
}

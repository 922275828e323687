// What the page shows instead of results: honest words, and a way on.
import { button, byId, element, icon } from "./elements.js";
import { askForKey, refusalOf } from "./key.js";
import { isCropped } from "./query.js";

function draw(iconName, title, words, actions = []) {
  const node = byId("state");
  node.hidden = false;
  node.replaceChildren(icon(iconName), element("h3", {}, title), element("p", {}, words), element("div", { className: "actions" }, actions));
}

export function clearState() {
  byId("state").hidden = true;
}

/** Nothing looks like it. `faults`: what is wrong with the photo, in sentences; `ways`: loosen(), wholePhoto(), dropText(), describe(), newest(). */
export function showNoMatch(query, filtered, faults, ways) {
  const actions = [];
  if (filtered) actions.push(button("Search without filters", { className: "primary", onclick: ways.loosen }));
  if (query.photo && !isCropped(query)) actions.push(button("Frame the product", { iconName: "crop", className: "button", onclick: ways.frame }));
  if (isCropped(query)) actions.push(button("Use the whole photo", { iconName: "crop", className: "button", onclick: ways.wholePhoto }));
  if (query.text && query.photo) actions.push(button("Search without the words", { className: "button", onclick: ways.dropText }));
  actions.push(button(query.text ? "Try other words" : "Describe it in words", { className: "button", onclick: ways.describe }), button("Show the newest", { className: "quiet", onclick: ways.newest }));
  draw("nomatch", "Nothing in this catalogue looks like it.", faults.length ? faults.join(" ") : "We would rather show nothing than something random. Here is what may help:", actions);
}

/** The filters left nothing. */
export function showNothingPasses(ways) {
  draw("sliders", "No product passes these filters.", "Take one of them away, or start afresh.", [button("Clear the filters", { className: "primary", onclick: ways.loosen })]);
}

export function showEmptyCatalogue(tenant, add) {
  const option = tenant === "default" ? "" : ` --tenant ${tenant}`;
  draw("empty", "This catalogue is empty.", "Add a product here, or publish a file of them:", [button("Add the first product", { iconName: "plus", className: "primary", onclick: add })]);
  byId("state").querySelector("p").after(element("pre", {}, `freshlens publish products.jsonl${option} --wait`));
}

export function showError(error, retry) {
  const refusal = refusalOf(error);
  draw("alert", refusal ?? "That did not work.", error.message, refusal ? [] : [button("Try again", { className: "primary", onclick: retry })]);
  byId("state").querySelector("p").append(" ", element("code", {}, error.code ?? "unexpected"));
  if (refusal) askForKey(byId("state"), retry);
}

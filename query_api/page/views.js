// What a product can be found by: its pictures, frames of its videos and its words, and what is wrong with them.
import { element } from "./elements.js";
import { picture } from "./key.js";

const NAMES = { image: "Photo", frame: "Video", text: "Words", vector: "Vector" };

/** 83000 → "1:23" */
export function clockOf(ms) {
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** A section with all views; `thumbnail(view, size)` is an address, `chosen(view)` is called for a picture pressed. */
export function viewsSection({ views, agreement }, { thumbnail, chosen }) {
  if (!views.length) return null;
  return element(
    "section",
    { className: "views", "aria-labelledby": "views-title" },
    element("h3", { id: "views-title" }, "Found by"),
    element("ul", { role: "list" }, views.map((view, index) => element("li", {}, viewOf(view, index, { thumbnail, chosen })))),
    typeof agreement === "number" ? element("p", { className: "fine" }, `Picture and words agree: ${agreement.toFixed(2)} of 1`) : null,
  );
}

function viewOf(view, index, { thumbnail, chosen }) {
  const words = view.timestamp_ms === null || view.timestamp_ms === undefined ? (NAMES[view.kind] ?? view.kind) : `${NAMES[view.kind] ?? view.kind} ${clockOf(view.timestamp_ms)}`;
  const caption = element("span", { className: "caption" }, words);
  const flags = (view.flags ?? []).map((flag) => element("span", { className: "flag" }, flag));
  const src = thumbnail(view, 96);
  if (!src) return element("span", { className: "view" }, element("span", { className: "letters", "aria-hidden": "true" }, view.kind === "text" ? "Aa" : "#"), caption, flags);
  const said = [`Show view ${index + 1}: ${words}`, ...(view.flags ?? [])].join(", ");
  return element("button", { type: "button", className: "view", "aria-label": said, onclick: () => chosen(view) }, picture({ src, alt: "" }), caption, flags);
}

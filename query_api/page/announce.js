// Saying things: to screen readers (announce), to everyone for some seconds (toast), and where an answer is lacking (notice).
import { byId, element, icon } from "./elements.js";

/** Read out by screen readers when they are idle. */
export function announce(words) {
  byId("live").textContent = words;
}

/** A short message in the corner. */
export function toast(words, { kind = "info", seconds = 5 } = {}) {
  const node = element("div", { className: `toast ${kind}` }, icon(kind === "error" ? "alert" : "check"), element("span", {}, words));
  byId("toasts").append(node);
  announce(words);
  setTimeout(() => node.remove(), seconds * 1000);
}

/** The toast of a failed request: what happened, and the stable code to search for. */
export function toastError(error) {
  toast(`${error.message} (${error.code ?? "unexpected"})`, { kind: "error", seconds: 9 });
}

/** One line above the results about what is missing from the answer. */
export function notice(words) {
  return element("p", { className: "notice" }, icon("alert"), element("span", {}, words));
}

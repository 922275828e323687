// The API key, where the API wants one: asked for when it says so, kept for this tab only.
import { button, element } from "./elements.js";

const NAME = "freshlens.key";
// Refusals that another key may help against.
const REFUSALS = {
  unauthorized: "This catalogue asks for a key.",
  "scope-missing": "This key does not allow that.",
  "tenant-refused": "This key is for another catalogue.",
};
let key = kept();

function kept() {
  try {
    return sessionStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}

// What else comes along with a paste may be invisible, and no header can hold it.
function keep(text) {
  key = text.replace(/[^\x21-\x7e]/g, "");
  try {
    sessionStorage.setItem(NAME, key);
  } catch {
    // With storage refused, a reload asks again.
  }
}

/** As fetch, with the key if there is one. */
export function fetchWithKey(address, options = {}) {
  const headers = key ? { ...options.headers, Authorization: `Bearer ${key}` } : options.headers;
  return fetch(address, { ...options, headers });
}

/** An <img>. Since that cannot send a key, with one the picture is fetched and shown from memory. */
export function picture({ src, srcset, ...properties }) {
  if (!key) return element("img", { src, srcset, ...properties });
  const image = element("img", properties);
  fetchWithKey(src)
    .then((response) => (response.ok ? response.blob() : Promise.reject(new Error(response.statusText))))
    .then((blob) => {
      image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
      image.src = URL.createObjectURL(blob);
    })
    .catch(() => image.dispatchEvent(new Event("error")));
  return image;
}

/** What is wrong with the key, in words, where a request was refused for it; else null. */
export const refusalOf = ({ code }) => REFUSALS[code] ?? null;

/** A field for another key, at the end of `place`; `done()` is called when one was entered. */
export function askForKey(place, done) {
  const field = element("input", { type: "password", autocomplete: "off", required: true, placeholder: "fl_…", "aria-label": "API key" });
  const onsubmit = (event) => {
    event.preventDefault();
    keep(field.value);
    done();
  };
  place.append(element("form", { className: "actions key", onsubmit }, field, button("Use this key", { type: "submit", className: "primary" })));
  field.focus();
}

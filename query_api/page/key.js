// The API key, where the API wants one: asked for when it says so, kept for this tab only.
import { button, byId, element } from "./elements.js";

const NAME = "freshlens.key";
let key = kept();

function kept() {
  try {
    return sessionStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}

function keep(text) {
  key = text.trim();
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

/** A field for the key, at the end of the state that is shown; `done()` is called when one was entered. */
export function askForKey(done) {
  const field = element("input", { type: "password", autocomplete: "off", required: true, placeholder: "fl_…", "aria-label": "API key" });
  const onsubmit = (event) => {
    event.preventDefault();
    keep(field.value);
    done();
  };
  byId("state").append(element("form", { className: "actions", onsubmit }, field, button("Use this key", { type: "submit", className: "primary" })));
  field.focus();
}

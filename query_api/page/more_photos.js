// Further photos of what is looked for, beside the first: other sides of it, or other things like it.
import { button, element } from "./elements.js";
import { WHOLE } from "./crop.js";

/** Photos of one query together; more would each count too little. */
export const PHOTOS_MAX = 4;

/** The query without its first photo: the next takes its place. */
export function withoutFirst({ more: [photo = null, ...more] }) {
  return { photo, more, crop: WHOLE };
}

/** Draws the further photos into a list; `remove(photo)` is called for one of them. */
export function drawMore(list, photos, remove) {
  list.hidden = photos.length === 0;
  list.replaceChildren(...photos.map((photo, at) => element(
    "li",
    {},
    element("img", { src: photo.url, alt: `Photo ${at + 2}` }),
    button("", { iconName: "close", className: "square", "aria-label": `Remove photo ${at + 2}`, onclick: () => remove(photo) }),
  )));
}

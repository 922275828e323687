// The frame on the photo: a rectangle [x, y, w, h] in parts of the picture, by mouse, touch and keyboard.
import { announce } from "./announce.js";
import { byId, element } from "./elements.js";

export const WHOLE = Object.freeze([0, 0, 1, 1]);
const SIDE_MIN = 0.08;
const STEP = 0.02;
const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const rounded = (frame) => frame.map((part) => Math.round(part * 1000) / 1000);

/** Whether the frame leaves nothing out. */
export const isWhole = ([x, y, w, h]) => x <= 0.005 && y <= 0.005 && w >= 0.99 && h >= 0.99;

/** The frame moved by (dx, dy), kept inside the picture. */
export function moved([x, y, w, h], dx, dy) {
  return rounded([clamp(x + dx, 0, 1 - w), clamp(y + dy, 0, 1 - h), w, h]);
}

/** The frame with the named edges ("se": south and east) moved by (dx, dy), never smaller than the least side. */
export function resized([x, y, w, h], edges, dx, dy) {
  let [left, top, right, bottom] = [x, y, x + w, y + h];
  if (edges.includes("w")) left = clamp(left + dx, 0, right - SIDE_MIN);
  if (edges.includes("e")) right = clamp(right + dx, left + SIDE_MIN, 1);
  if (edges.includes("n")) top = clamp(top + dy, 0, bottom - SIDE_MIN);
  if (edges.includes("s")) bottom = clamp(bottom + dy, top + SIDE_MIN, 1);
  return rounded([left, top, right - left, bottom - top]);
}

/** The frame between two corners, in any order. */
export function spanned(ax, ay, bx, by) {
  const [x, y] = [Math.min(ax, bx), Math.min(ay, by)].map((part) => clamp(part, 0, 1 - SIDE_MIN));
  const w = clamp(Math.abs(bx - ax), SIDE_MIN, 1 - x);
  const h = clamp(Math.abs(by - ay), SIDE_MIN, 1 - y);
  return rounded([x, y, w, h]);
}

function place(node, frame) {
  for (const [index, name] of ["--x", "--y", "--w", "--h"].entries()) node.style.setProperty(name, frame[index]);
}

const isSame = (one, other) => one.every((part, at) => Math.abs(part - other[at]) < 0.005);

/** Puts a photo with a frame into `stage`; `changed(frame)` is called when a change is finished. */
export class Crop {
  constructor(stage, { changed }) {
    this.stage = stage;
    this.changed = changed;
    this.frame = WHOLE;
    this.picture = element("img", { alt: "Your photo", draggable: false });
    this.box = element(
      "div",
      { className: "frame", tabIndex: 0, role: "group", "aria-label": "Crop frame", "aria-describedby": "crop-help" },
      HANDLES.map((edges) => element("span", { className: `handle ${edges}`, dataset: { edges } })),
    );
    this.things = element("div", { className: "things" });
    this.surface = element("div", { className: "surface" }, this.picture, this.box, this.things);
    this.stage.replaceChildren(this.surface);
    this.surface.addEventListener("pointerdown", (event) => this.#drag(event));
    this.surface.addEventListener("dblclick", () => this.finish(WHOLE));
    this.box.addEventListener("keydown", (event) => this.#key(event));
  }

  show(url, frame = WHOLE) {
    if (this.picture.src !== url) this.offer([]);
    this.picture.src = url;
    this.draw(frame);
  }

  /** A dot on each of these frames, which searches within it; one alone is what the whole photo shows anyway. */
  offer(found) {
    const frames = found.length > 1 ? found : [];
    byId("things-help").textContent = frames.length ? `${frames.length} things found: choose one by its dot. ` : "";
    this.things.replaceChildren(...frames.map((frame, at) => this.#thing(frame, `Thing ${at + 1} of ${frames.length}`)));
    this.draw(this.frame);
  }

  #thing(frame, words) {
    const dot = element("button", { type: "button", className: "spot", title: "Search for this", "aria-label": `Search for ${words.toLowerCase()} in the photo`, onclick: () => this.finish(frame) });
    const thing = element("div", { className: "thing" }, dot);
    place(thing, frame);
    thing.frame = frame;
    return thing;
  }

  draw(frame) {
    this.frame = frame;
    for (const thing of this.things.children) thing.firstChild.setAttribute("aria-pressed", String(isSame(thing.frame, frame)));
    place(this.surface, frame);
    this.surface.classList.toggle("cropped", !isWhole(frame));
  }

  finish(frame) {
    this.draw(frame);
    announce(isWhole(frame) ? "The whole photo is searched" : `Frame: ${frame.map((part) => `${Math.round(part * 100)} %`).join(", ")}`);
    this.changed(frame);
  }

  #at(event) {
    const area = this.surface.getBoundingClientRect();
    return [(event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height];
  }

  #drag(event) {
    if (event.button !== 0 || event.target.closest(".spot")) return;
    event.preventDefault();
    this.box.focus({ preventScroll: true });
    this.surface.setPointerCapture(event.pointerId);
    const [startX, startY] = this.#at(event);
    const before = this.frame;
    const { edges } = event.target.dataset;
    const grabsFrame = this.box.contains(event.target) && !isWhole(before);
    const during = (x, y) => {
      if (edges) return resized(before, edges, x - startX, y - startY);
      return grabsFrame ? moved(before, x - startX, y - startY) : spanned(startX, startY, x, y);
    };
    let travelled = false;
    const onMove = (move) => {
      const [x, y] = this.#at(move);
      travelled ||= Math.hypot(x - startX, y - startY) > 0.02;
      if (travelled) this.draw(during(x, y));
    };
    const gesture = new AbortController();
    const onEnd = () => {
      gesture.abort();
      if (travelled) this.finish(this.frame);
    };
    this.surface.addEventListener("pointermove", onMove, { signal: gesture.signal });
    for (const end of ["pointerup", "pointercancel"]) this.surface.addEventListener(end, onEnd, { signal: gesture.signal });
  }

  #key(event) {
    const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Escape" && !isWhole(this.frame)) {
      event.stopPropagation();
      this.#later(WHOLE);
    }
    if (!(event.key in directions)) return;
    event.preventDefault();
    const [dx, dy] = directions[event.key].map((part) => part * STEP);
    this.#later(event.shiftKey ? resized(this.frame, "se", dx, dy) : moved(this.frame, dx, dy));
  }

  // Keys come in bursts: one search when they pause.
  #later(frame) {
    this.draw(frame);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.finish(this.frame), 350);
  }
}

// What is being looked for: an immutable value, its request body, its words, and its place in the browser's history.
import { isWhole, WHOLE } from "./crop.js";
import { tenantIn } from "./tenants.js";

export const RESULTS_FIRST = 24;
export const RESULTS_MAX = 200;

export const MODES = ["exact", "similar"];

/**
 * Nothing asked yet: the newest products are shown. `photo` comes from upload.js, as do those of `more`; `minus` says what
 * results should be unlike, `like` is {product_id, title}, `mode` one of MODES.
 */
export const NOTHING = Object.freeze({ photo: null, more: [], crop: WHOLE, text: "", minus: "", like: null, mode: null, choice: null, k: RESULTS_FIRST });

export const isVisual = (query) => Boolean(query.photo || query.like);
/** Whether results are in order of likeness, rather than the newest first. */
export const isLikeness = (query) => isVisual(query) || Boolean(query.text);
export const isCropped = (query) => Boolean(query.photo) && !isWhole(query.crop);

/** The body of POST /v1/search, or null when there is nothing to search by. */
export function searchBody(query, filter, session) {
  const body = { k: query.k, session };
  if (query.photo) body.image = { base64: query.photo.base64 };
  if (isCropped(query)) body.crop = query.crop;
  if (query.photo && query.more.length) body.images = query.more.map(({ base64 }) => ({ base64 }));
  if (query.text) body.text = query.text;
  if (query.minus && isLikeness(query)) body.minus = query.minus;
  if (query.like) body.product_id = query.like.product_id;
  if (filter) body.filter = filter;
  if (isLikeness(query)) Object.assign(body, { explain: true, limited_matches: true }, query.mode ? { mode: query.mode } : {});
  return isLikeness(query) || filter ? body : null;
}

/** The heading above the results. */
export function headingOf(query, filtered) {
  if (!isLikeness(query)) return filtered ? "Newest that pass the filters" : "Newest";
  const words = query.text ? `, “${query.text}”` : "";
  const unlike = query.minus ? `, not “${query.minus}”` : "";
  return seenIn(query) + (isVisual(query) ? words : ` “${query.text}”`) + unlike;
}

function seenIn(query) {
  if (query.photo) return query.more.length ? `Like your ${query.more.length + 1} photos` : "Like your photo";
  return query.like ? "More like this" : "Results for";
}

/** The part of a query that fits into an address; a photo does not. */
export function addressOf(query, tenant) {
  const parameters = new URLSearchParams();
  if (tenant !== "default") parameters.set("tenant", tenant);
  if (query.text) parameters.set("q", query.text);
  if (query.minus) parameters.set("not", query.minus);
  if (query.like) parameters.set("like", query.like.product_id);
  if (query.mode) parameters.set("mode", query.mode);
  const words = parameters.toString();
  return words ? `/?${words}` : "/";
}

export function queryFrom(address) {
  const parameters = new URL(address).searchParams;
  const like = parameters.get("like");
  const mode = MODES.find((each) => each === parameters.get("mode")) ?? null;
  return { ...NOTHING, text: parameters.get("q") ?? "", minus: parameters.get("not") ?? "", like: like ? { product_id: like, title: like } : null, mode };
}

const placeFrom = (address) => ({ query: queryFrom(address), tenant: tenantIn(address) ?? "default" });

/** Remembers places, {query, tenant}, with their photos for the back button; they live as long as the page. */
export class Trail {
  constructor({ back }) {
    this.places = new Map();
    this.here = placeFrom(location.href);
    window.addEventListener("popstate", ({ state }) => {
      // A link within the page makes an entry of its own, which shows what the page shows already.
      if (!state) return this.#write("replaceState", this.here);
      this.here = this.places.get(state.step) ?? placeFrom(location.href);
      return back(this.here);
    });
  }

  begin(query, tenant) {
    return this.#write("replaceState", { query, tenant });
  }

  add(query, tenant) {
    return this.#write("pushState", { query, tenant });
  }

  #write(how, place) {
    // The history keeps the steps of earlier loads of the page: a mere number would be taken for one of this load.
    const step = `${performance.timeOrigin}/${this.places.size}`;
    this.places.set(step, place);
    this.here = place;
    history[how]({ step }, "", addressOf(place.query, place.tenant));
    return place;
  }
}

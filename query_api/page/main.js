// The search page: one query at a time, its answer, and what can be done with it.
import { announce, notice, toast, toastError } from "./announce.js";
import { Api } from "./api.js";
import { Crop, WHOLE } from "./crop.js";
import { Drawer } from "./drawer.js";
import { button, byId, element } from "./elements.js";
import { sendFeedback, session } from "./feedback.js";
import { Filters } from "./filters.js";
import { elapsed, faultsOf, lacksOf, milliseconds, StatusBar, watchUntil } from "./freshness.js";
import { Grid } from "./grid.js";
import { fetchWithKey, picture } from "./key.js";
import { drawMore, PHOTOS_MAX, withoutFirst } from "./more_photos.js";
import { Nearest } from "./nearest.js";
import { titleOf } from "./product_facts.js";
import { AddProduct } from "./publish.js";
import { headingOf, isLikeness, isVisual, MODES, NOTHING, queryFrom, RESULTS_FIRST, RESULTS_MAX, searchBody, Trail } from "./query.js";
import { drawSamples } from "./samples.js";
import { clearState, showEmptyCatalogue, showError, showNoMatch, showNothingPasses } from "./states.js";
import { drawTenants, firstTenant, rememberTenant } from "./tenants.js";
import { listenForFiles, listenForPhotos, shrink } from "./upload.js";

let api = new Api("default");
let query = NOTHING;
let queryId = null;
let running = new AbortController();
let awaited = null; // the photo that is asked with when it is there, unless something else is asked before

const thumbnail = (result, size) => api.thumbnail(result, size);
const grid = new Grid(byId("grid"), { open: openProduct, like: moreLike, thumbnail });
const nearest = new Nearest({ open: (result) => drawer.show(result, { query: null }), like: moreLike, thumbnail });
const drawer = new Drawer({ thumbnail, product: (id) => api.product(id), like: moreLike, cart: addToCart, remove: removeProduct });
const filters = new Filters({ changed: () => ask({ k: RESULTS_FIRST }) });
const crop = new Crop(byId("stage"), { changed: (frame) => ask({ crop: frame, k: RESULTS_FIRST }) });
const adding = new AddProduct({ api: () => api, categories: () => filters.values("category"), colourName: () => filters.colourName, search: (photo) => ask({ ...NOTHING, photo }) });
const statusBar = new StatusBar(() => api);
const trail = new Trail({ back: (place) => (rememberTenant(place.tenant), goTo(place)) });

/** Changes the query, remembers it for the back button, and runs it. Words typed but not yet sent count, too. */
function ask(change) {
  query = { ...query, text: byId("text").value.trim(), minus: byId("minus").value.trim(), ...change, choice: structuredClone(filters.choice) };
  trail.add(query, api.tenant);
  return run();
}

/** Shows what was asked in a catalogue: at first, when another one is chosen, and on the way back. */
function goTo({ query: asked, tenant }) {
  if (tenant !== api.tenant) turnTo(tenant);
  query = asked;
  filters.set(asked.choice ?? {});
  return run();
}

function turnTo(tenant) {
  api = new Api(tenant);
  byId("analytics-link").href = tenant === "default" ? "/analytics" : `/analytics?tenant=${tenant}`;
  drawTenants(byId("tenants"), tenant, (chosen) => goTo(trail.add(NOTHING, chosen)));
  drawer.close();
  filters.forget();
}

function run() {
  awaited = null;
  drawQuery();
  return search();
}

/** The answer to the query as it is; what is typed meanwhile is left alone. */
async function search() {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  grid.wait();
  clearState();
  nearest.hide();
  try {
    const body = searchBody(query, filters.filter, session);
    const answer = body ? await api.search(body, signal) : await newest();
    if (!signal.aborted) show(answer);
  } catch (error) {
    if (error.name !== "AbortError" && !signal.aborted) fail(error);
  }
}

async function newest() {
  const { products = [], ...rest } = await api.newest(query.k);
  statusBar.ask();
  return { results: products, newest: true, ...rest };
}

function show(answer) {
  queryId = answer.query_id ?? null;
  const results = answer.results.map((result, index) => ({ ...result, position: result.position ?? index + 1 }));
  filters.learn(results, api);
  grid.show(results);
  byId("notices").replaceChildren(...(results.length ? faultsOf(answer) : []).concat(lacksOf(answer)).map(notice));
  drawThings(query.photo);
  if (!answer.newest) statusBar.show(answer);
  drawCount(results, answer);
  drawEmpty(results, answer);
  if (answer.limited_matches) nearest.show(answer.limited_matches);
  byId("more").hidden = results.length < query.k || query.k >= RESULTS_MAX;
  if (answer.newest) drawSamples(results, { thumbnail, search: (product) => askWithFirst(pictureOf(product)) });
}

/** Dots on the things in the photo, where there is more than one; asked for once for each photo, after its results. */
async function drawThings(photo) {
  if (!photo) return;
  photo.things ??= api.regions(photo).catch(() => []);
  const found = await photo.things;
  if (query.photo === photo) crop.offer(found);
}

function fail(error) {
  queryId = null;
  grid.show([]);
  byId("notices").replaceChildren();
  byId("results-note").textContent = "";
  byId("more").hidden = true;
  if (error.status === 0) statusBar.lost(error);
  showError(error, search);
  announce(`That did not work: ${error.message}`);
}

function drawCount(results, answer) {
  const words = `${results.length} ${results.length === 1 ? "product" : "products"}`;
  const took = answer.timings_ms?.total;
  byId("results-note").textContent = results.length && took !== undefined ? `${words} in ${milliseconds(took)}` : "";
  announce(results.length ? `${words}. ${byId("results-title").textContent}` : "No products");
}

function drawEmpty(results, answer) {
  if (results.length) return;
  if (answer.newest) {
    byId("results-title").textContent = "";
    return showEmptyCatalogue(api.tenant, () => adding.open());
  }
  if (filters.count && !query.text && !isVisual(query)) return showNothingPasses(ways);
  showNoMatch(query, filters.count > 0, faultsOf(answer), ways);
}

const ways = {
  loosen: () => filters.clear(),
  frame: () => crop.box.focus(),
  wholePhoto: () => ask({ crop: WHOLE }),
  dropText: () => ask({ text: "" }),
  describe: () => (byId("text").focus(), byId("text").select()),
  newest: () => (filters.set({}), ask(NOTHING)),
};

/** Everything that shows the query itself: photo, words, heading. */
function drawQuery() {
  const { photo, like, text, minus } = query;
  const asked = isVisual(query) || text || filters.count > 0;
  document.body.classList.toggle("asked", Boolean(asked));
  if (byId("text").value.trim() !== text) byId("text").value = text;
  if (byId("minus").value.trim() !== minus) byId("minus").value = minus;
  byId("minus-form").hidden = !isLikeness(query);
  byId("photo").classList.toggle("filled", Boolean(photo));
  for (const id of ["stage", "stage-tools", "crop-help"]) byId(id).hidden = !photo;
  if (photo) crop.show(photo.url, query.crop);
  drawMore(byId("more-photos"), photo ? query.more : [], (gone) => ask({ more: query.more.filter((each) => each !== gone), k: RESULTS_FIRST }));
  byId("photo-add").hidden = !photo || query.more.length + 1 >= PHOTOS_MAX;
  drawModes();
  byId("intro").hidden = Boolean(asked);
  byId("like").hidden = !like;
  if (like) drawLike(like);
  byId("results-title").textContent = headingOf(query, filters.count > 0);
}

function drawModes() {
  byId("modes").hidden = !isLikeness(query);
  for (const mode of MODES) byId(`mode-${mode}`).setAttribute("aria-pressed", String(query.mode === mode));
}

function drawLike(like) {
  const src = like.thumbnail ? thumbnail(like, 96) : null;
  byId("like").replaceChildren(
    src ? picture({ src, alt: "" }) : "",
    element("span", {}, element("small", {}, "More like"), like.title),
    button("", { iconName: "close", className: "quiet square", "aria-label": "Stop searching for more like this", onclick: () => ask({ like: null }) }),
  );
}

// The further photos stay where the first one was chosen in its place.
function takePhoto(file, more = []) {
  if (adding.isOpen) return adding.take(file);
  drawer.close();
  return askWithFirst(shrink(file), more);
}

const askWithFirst = (shrinking, more = []) => askWith(shrinking, (photo) => ({ photo, more, crop: WHOLE, like: null }));
const takeAnother = (file) => askWith(shrink(file), (photo) => ({ more: [...query.more, photo] }));

async function askWith(shrinking, change) {
  awaited = shrinking;
  try {
    const photo = await shrinking;
    if (awaited === shrinking) await ask({ ...change(photo), k: RESULTS_FIRST });
  } catch (error) {
    if (awaited === shrinking) toastError(error);
  }
}

async function pictureOf(result) {
  const response = await fetchWithKey(thumbnail(result, 512));
  if (!response.ok) throw new Error("The picture is not there any more.");
  return shrink(await response.blob());
}

function moreLike(result) {
  drawer.close();
  const like = { product_id: result.product_id, title: titleOf(result), thumbnail: result.thumbnail };
  window.scrollTo({ top: 0 });
  return ask({ ...NOTHING, like }).then(() => grid.focusFirst());
}

function openProduct(result) {
  sendFeedback(api, queryId, result, "click");
  drawer.show(result, { query: queryId });
}

async function addToCart(result) {
  const sent = await sendFeedback(api, queryId, result, "add_to_cart");
  toast(sent ? `“${titleOf(result)}” is in the cart` : "The cart did not hear us; please try again", { kind: sent ? "info" : "error" });
}

/** Deletes, then searches as the shopper would until it is gone from the answers. */
async function removeProduct(result) {
  const startedAt = performance.now();
  const from = api;
  try {
    const body = await bodyThatFinds(result);
    const { read_token: token } = await from.remove(result.product_id);
    grid.dim(result.product_id);
    const gone = (answer) => answer.freshness_met !== false && !answer.results.some((each) => each.product_id === result.product_id);
    const { ms, seen } = await watchUntil(from, body, token, gone, startedAt);
    if (seen) toast(`“${titleOf(result)}” gone after ${elapsed(ms)}`);
    else toast(`“${titleOf(result)}” is still found: an event with a higher version may have brought it back`, { kind: "error" });
  } catch (error) {
    toastError(error);
  }
  if (from === api) await search();
}

async function bodyThatFinds(result) {
  const byWords = { text: titleOf(result).slice(0, 1000), k: 50 };
  if (!result.thumbnail) return byWords;
  try {
    const { base64, url } = await pictureOf(result);
    URL.revokeObjectURL(url);
    return { image: { base64 }, k: 50 };
  } catch {
    return byWords; // its picture is gone, which is no reason to keep the product
  }
}

function listen() {
  for (const id of ["search-form", "minus-form"]) byId(id).addEventListener("submit", (event) => (event.preventDefault(), ask({ k: RESULTS_FIRST })));
  byId("text").addEventListener("search", () => byId("text").value === "" && query.text && ask({}));
  for (const id of ["pick", "pick-in-bar", "photo-replace"]) byId(id).addEventListener("click", () => byId("file").click());
  byId("shoot").addEventListener("click", () => byId("camera-file").click());
  byId("photo-add").addEventListener("click", () => byId("more-file").click());
  byId("photo-remove").addEventListener("click", () => (ask(withoutFirst(query)), byId(query.photo ? "photo-remove" : "pick").focus()));
  byId("crop-reset").addEventListener("click", () => crop.finish(WHOLE));
  for (const mode of MODES) byId(`mode-${mode}`).addEventListener("click", () => ask({ mode: query.mode === mode ? null : mode, k: RESULTS_FIRST }));
  byId("add-open").addEventListener("click", () => adding.open());
  byId("more-button").addEventListener("click", () => ask({ k: Math.min(query.k * 2, RESULTS_MAX) }));
  for (const id of ["file", "camera-file"]) listenForFiles(byId(id), (file) => takePhoto(file, query.more));
  listenForFiles(byId("more-file"), takeAnother);
  listenForPhotos(byId("veil"), takePhoto);
  document.addEventListener("keydown", onKey);
}

function onKey(event) {
  const typing = event.target.closest("input, textarea, select, dialog");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    byId("text").focus();
  }
  if (event.key === "Escape" && event.target === byId("text")) byId("text").blur();
}

async function start() {
  if (matchMedia("(max-width: 899px)").matches) byId("filters").open = false;
  listen();
  grid.wait();
  const tenant = await firstTenant();
  turnTo(tenant);
  await goTo(trail.begin(queryFrom(location.href), tenant));
}

start();

// The analytics page: windows of search-quality, summed up, drawn and listed.
import { announce } from "./announce.js";
import { Api } from "./api.js";
import { clock, columns, lines } from "./charts.js";
import { byId, element, icon } from "./elements.js";
import { askForKey, refusalOf } from "./key.js";
import { drawTenants, firstTenant } from "./tenants.js";

const POSITIONS_MAX = 24;
const REFRESH_MS = 15000;
const COUNTS = ["searches", "zero_results", "abandoned", "clicks", "carts", "purchases"];
const SERIES = [["searches", "Searches"], ["clicks", "Clicks"], ["carts", "Added to cart"], ["zero_results", "Without a result"]];

const whole = new Intl.NumberFormat();
const share = (part, total) => (total ? `${((part / total) * 100).toFixed(1)} %` : "–");

/** Windows oldest first, arms added up; of several revisions of one window and arm the last counts. */
export function byTime(windows) {
  const latest = new Map();
  for (const window of windows) {
    const name = `${window.window_start}/${window.arm}`;
    if (!latest.has(name) || latest.get(name).revision < window.revision) latest.set(name, window);
  }
  const times = new Map();
  for (const window of latest.values()) {
    const sum = times.get(window.window_start) ?? { start: window.window_start, positions: [], ...Object.fromEntries(COUNTS.map((name) => [name, 0])) };
    for (const name of COUNTS) sum[name] += window[name];
    sum.positions.push(...window.positions);
    times.set(window.window_start, sum);
  }
  return [...times.values()].sort((a, b) => a.start - b.start);
}

/** Click-through rate by position over all windows. */
export function byPosition(rows) {
  const positions = new Map();
  for (const { position, shown, clicks } of rows.flatMap((row) => row.positions)) {
    const sum = positions.get(position) ?? { position, shown: 0, clicks: 0 };
    positions.set(position, { position, shown: sum.shown + shown, clicks: sum.clicks + clicks });
  }
  return [...positions.values()].filter((row) => row.shown > 0).sort((a, b) => a.position - b.position).map((row) => ({ ...row, ctr: row.clicks / row.shown }));
}

const timeOf = (row) => new Date(row.start / 1000);

function drawTiles(rows) {
  const total = Object.fromEntries(COUNTS.map((name) => [name, rows.reduce((sum, row) => sum + row[name], 0)]));
  const tiles = [
    ["Searches", whole.format(total.searches), ""],
    ["Without a result", share(total.zero_results, total.searches), `${whole.format(total.zero_results)} searches`],
    ["Clicks", whole.format(total.clicks), `${share(total.clicks, total.searches)} of searches`],
    ["Abandoned", share(total.abandoned, total.searches), "no click at all"],
    ["Added to cart", whole.format(total.carts), `${share(total.carts, total.clicks)} of clicks`],
    ["Purchases", whole.format(total.purchases), `${share(total.purchases, total.clicks)} of clicks`],
  ];
  byId("tiles").replaceChildren(...tiles.map(([name, value, note]) => element("div", {}, element("dt", {}, name), element("dd", {}, value), element("small", {}, note || "\u00a0"))));
}

function drawTable(rows) {
  const head = element("tr", {}, ["Window", "Searches", "Without a result", "Abandoned", "Clicks", "Carts", "Purchases"].map((name) => element("th", { scope: "col" }, name)));
  const body = [...rows].reverse().map((row) => element("tr", {}, element("td", {}, timeOf(row).toLocaleString()), COUNTS.map((name) => element("td", {}, whole.format(row[name])))));
  byId("table").replaceChildren(element("thead", {}, head), element("tbody", {}, body));
}

function draw(windows) {
  const rows = byTime(windows);
  const positions = byPosition(rows).slice(0, POSITIONS_MAX);
  const wide = Math.max(byId("ctr").clientWidth, 260);
  drawTiles(rows);
  byId("ctr").replaceChildren(positions.length ? columns(positions, wide) : element("p", {}, "No product was shown in these windows."));
  byId("time").replaceChildren(lines(SERIES.map(([name, words]) => ({ name: words, values: rows.map((row) => row[name]) })), rows.map(timeOf), wide));
  byId("legend").replaceChildren(...SERIES.map(([, words], index) => element("li", { className: `series-${index}` }, element("span"), words)));
  drawTable(rows);
  byId("span").textContent = `${rows.length} ${rows.length === 1 ? "window" : "windows"}, ${clock(timeOf(rows[0]))} to ${clock(timeOf(rows.at(-1)))}.`;
}

function drawState(iconName, title, words) {
  byId("state").replaceChildren(icon(iconName), element("h3", {}, title), element("p", {}, words));
  byId("state").hidden = false;
  byId("body").hidden = true;
}

let tenant = "default";
let shown = [];
let loading = null;

async function load() {
  const mine = (loading = new Api(tenant).quality(byId("windows").value));
  try {
    const { windows = [] } = await mine;
    if (mine !== loading) return;
    if (!windows.length) return drawState("chart", "No searches have been summed up yet.", "Search, open a product, and come back: a window appears here within a minute.");
    byId("state").hidden = true;
    byId("body").hidden = false;
    shown = windows;
    draw(windows);
  } catch (error) {
    if (mine !== loading) return;
    announce(error.message);
    const refusal = refusalOf(error);
    drawState("alert", refusal ?? "The report could not be read.", `${error.message} (${error.code ?? "unexpected"})`);
    if (refusal) askForKey(byId("state"), load);
  }
}

function use(chosen) {
  tenant = chosen;
  const suffix = tenant === "default" ? "" : `?tenant=${tenant}`;
  byId("search-link").href = `/${suffix}`;
  history.replaceState(null, "", `/analytics${suffix}`);
  return load();
}

// A key that is being entered is left alone.
const isKeyAskedFor = () => Boolean(document.querySelector("#state:not([hidden]) .key"));

async function start() {
  const first = await firstTenant();
  drawTenants(byId("tenants"), first, use);
  byId("windows").addEventListener("change", load);
  window.addEventListener("resize", () => byId("body").hidden || draw(shown));
  await use(first);
  setInterval(() => document.visibilityState === "visible" && !isKeyAskedFor() && load(), REFRESH_MS);
}

start();

// Two small drawings: columns by position, and lines over time.
import { drawing } from "./elements.js";

const HIGH = 260;
const LEFT = 44;
const BELOW = 26;
const RULES = 5;

const percent = (part) => `${(part * 100).toFixed(part < 0.1 ? 1 : 0)} %`;
const floor = HIGH - BELOW;

/** A round number at or above `value`, so that the axis reads well. */
export function roundUp(value) {
  if (!(value > 0)) return 1;
  const magnitude = 10 ** Math.floor(Math.log10(value));
  return magnitude * [1, 2, 2.5, 5, 10].find((step) => step * magnitude >= value);
}

function canvas(wide, label) {
  return drawing("svg", { viewBox: `0 0 ${wide} ${HIGH}`, role: "img", "aria-label": label });
}

function rules(svg, wide, top, words) {
  for (let step = 0; step <= RULES; step += 1) {
    const y = floor - (floor - 12) * (step / RULES);
    svg.append(drawing("line", { class: "rule", x1: LEFT, x2: wide, y1: y, y2: y }));
    svg.append(drawing("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, words((top * step) / RULES)));
  }
}

/** Columns of {position, ctr, shown, clicks}, in a drawing `wide` pixels wide. */
export function columns(rows, wide) {
  const svg = canvas(wide, "Click-through rate by position");
  const top = roundUp(Math.max(...rows.map((row) => row.ctr)));
  rules(svg, wide, top, percent);
  const slot = (wide - LEFT) / rows.length;
  const thick = Math.min(slot * 0.62, 54);
  for (const [index, row] of rows.entries()) {
    const high = (floor - 12) * (row.ctr / top);
    const middle = LEFT + slot * (index + 0.5);
    const tip = drawing("title", {}, `Position ${row.position}: ${percent(row.ctr)}, ${row.clicks} of ${row.shown}`);
    svg.append(drawing("rect", { class: "column", x: middle - thick / 2, y: floor - high, width: thick, height: high, rx: 4 }, tip));
    svg.append(drawing("text", { class: "value", x: middle, y: HIGH - 6 }, String(row.position)));
    if (slot > 44) svg.append(drawing("text", { class: "value", x: middle, y: floor - high - 6 }, percent(row.ctr)));
  }
  return svg;
}

/** One line per series {name, values}; `times`: a Date for each value, oldest first. */
export function lines(series, times, wide) {
  const svg = canvas(wide, `${series.map((each) => each.name).join(", ")} over time`);
  const top = roundUp(Math.max(...series.flatMap((each) => each.values)));
  rules(svg, wide, top, (value) => String(Math.round(value * 10) / 10));
  const last = Math.max(times.length - 1, 1);
  const x = (index) => LEFT + 10 + (wide - LEFT - 30) * (index / last);
  const y = (value) => floor - (floor - 12) * (value / top);
  for (const [index, each] of series.entries()) {
    const points = each.values.map((value, at) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
    const path = points.length === 1 ? `M${points[0]}h.1` : `M${points.join("L")}`;
    svg.append(drawing("path", { class: `series series-${index}`, d: path }, drawing("title", {}, each.name)));
  }
  const ticks = Math.min(Math.floor(wide / 110), times.length);
  for (let tick = 0; tick < ticks; tick += 1) {
    const index = Math.round((last * tick) / Math.max(ticks - 1, 1));
    if (times[index]) svg.append(drawing("text", { x: x(index), y: HIGH - 6, "text-anchor": tick ? (tick === ticks - 1 ? "end" : "middle") : "start" }, clock(times[index])));
  }
  return svg;
}

export const clock = (date) => date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

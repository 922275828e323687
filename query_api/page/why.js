// Why a product is where it is: what each stage of ranking added to its score or took from it, as bars.
import { element } from "./elements.js";

const STAGES = {
  visual: "Likeness",
  attributes: "Words and wishes",
  personal: "Your clicks",
  fresh: "Newness",
  agreement: "Picture against words",
  learned: "Learnt from clicks",
  geometry: "Same points",
  rules: "Shop's rules",
  diversity: "Variety",
  stock: "Stock",
  pins: "Pinned",
};
const LEAST = 0.0005;

const signed = (value) => `${value < 0 ? "−" : ""}${Math.abs(value).toFixed(3)}`;

/** The stages that counted, in their order, as [name, value]. */
export const counted = (stages) => Object.entries(stages).filter(([, value]) => Math.abs(value) >= LEAST);

/** A section with a bar for each stage, or null where the answer does not say. */
export function whySection({ why, score }) {
  const stages = counted(why?.stages ?? {});
  if (!stages.length) return null;
  const largest = Math.max(...stages.map(([, value]) => Math.abs(value)));
  const rows = stages.map(([name, value]) => row(STAGES[name] ?? name, value, largest));
  return element(
    "section",
    { className: "why", "aria-labelledby": "why-title" },
    element("h3", { id: "why-title" }, "Why it is here"),
    element("dl", {}, rows, element("div", { className: "sum" }, element("dt", {}, "Score"), element("dd", {}, element("b", {}, signed(score))))),
    why.rules?.length ? element("p", { className: "fine" }, `Rules: ${why.rules.join(", ")}`) : null,
    why.inliers ? element("p", { className: "fine" }, `${why.inliers} points of its picture lie as in yours`) : null,
  );
}

function row(words, value, largest) {
  const bar = element("span", { className: value < 0 ? "amount less" : "amount", "aria-hidden": "true" });
  bar.style.setProperty("--share", Math.abs(value) / largest);
  return element("div", {}, element("dt", {}, words), element("dd", {}, bar, element("b", {}, signed(value))));
}

// How fresh the answers are: the status bar, and the stopwatch that waits for a change to be searchable.
import { byId, element } from "./elements.js";

const WAIT_MS = 2000;
const PATIENCE_MS = 20000;
const SETTLED_MS = 3000;
const STATUS_EVERY_MS = 10000;

/** "7.1 ms", "212 ms" */
export const milliseconds = (value) => `${value >= 100 || Number.isInteger(value) ? Math.round(value) : value.toFixed(1)} ms`;
const whole = new Intl.NumberFormat();

/** "412 ms", "1.9 s" */
export const elapsed = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

/**
 * Searches with a change's read token until the index has it and `seen(answer)` holds.
 * Resolves to {ms, seen}: milliseconds since `startedAt` (performance.now()), and whether it was seen at all.
 */
export async function watchUntil(api, body, token, seen, startedAt) {
  for (;;) {
    const answer = await api.search({ ...body, min_offset: token, wait_ms: WAIT_MS });
    const ms = performance.now() - startedAt;
    if (seen(answer)) return { ms, seen: true };
    // Applied and yet not as hoped: the event was refused or outdated, and waiting much longer changes nothing.
    if (ms > (answer.freshness_met ? SETTLED_MS : PATIENCE_MS)) return { ms, seen: false };
    await pause(150);
  }
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function factsOf({ freshness = [], timings_ms: timings, shards, total_candidates: candidates }) {
  const facts = [];
  if (freshness.length) {
    facts.push(["index lag", milliseconds(Math.max(...freshness.map((shard) => shard.lag_ms ?? 0)))]);
    facts.push(["generation", [...new Set(freshness.map((shard) => shard.generation))].join(", ")]);
  }
  if (timings) {
    const steps = Object.entries(timings).filter(([name]) => name !== "total").map(([name, ms]) => `${name} ${milliseconds(ms)}`);
    facts.push(["answered in", milliseconds(timings.total ?? 0), steps.join(" · ")]);
  }
  if (candidates !== undefined) facts.push(["looked at", whole.format(candidates)]);
  if (shards) facts.push(["shards", `${shards.answered}/${shards.total}`]);
  return facts;
}

const WARNINGS = {
  partial: "Partial answer: some products are missing here.",
  stale: "The index is lagging: the newest changes may be missing here.",
  "freshness-unmet": "The latest change is not in this answer yet.",
};

const sentence = (words) => `${words.charAt(0).toUpperCase()}${words.slice(1)}.`;

const isFault = (warning) => String(warning).startsWith("picture-");

/** What is wrong with the photo that was searched for, in sentences. */
export const faultsOf = ({ warnings = [] }) => warnings.filter(isFault).map((warning) => sentence(String(warning).replace(/^[^:]*:\s*/, "")));

/** What an answer lacks, in words; empty when it lacks nothing. A warning is a stable word, a colon, and the detail. */
export function lacksOf({ freshness = [], warnings = [] }) {
  const lacks = warnings.filter((warning) => !isFault(warning)).map((warning) => {
    const [word, ...detail] = String(warning).split(":");
    return WARNINGS[word] ? `${WARNINGS[word]} (${detail.join(":").trim()})` : String(warning);
  });
  const isStale = freshness.some((shard) => shard.stale) && !warnings.some((warning) => String(warning).startsWith("stale"));
  return isStale ? [...lacks, WARNINGS.stale] : lacks;
}

export class StatusBar {
  /** Shows every answer, and between answers asks `/v1/status` while the page is in view. */
  constructor(api) {
    this.api = api;
    setInterval(() => document.visibilityState === "visible" && this.ask(), STATUS_EVERY_MS);
  }

  async ask() {
    try {
      const status = await this.api().status();
      this.show({ ...this.last, freshness: status.freshness ?? this.last?.freshness ?? [] });
    } catch (error) {
      this.lost(error);
    }
  }

  show(answer) {
    const { freshness = [], timings_ms, shards, total_candidates } = answer;
    this.last = { freshness, timings_ms, shards, total_candidates };
    this.#state(freshness.some((shard) => shard.stale) ? "stale" : "fresh");
    const facts = factsOf(this.last).map(([name, value, hint]) => element("div", { title: hint ?? "" }, element("dt", {}, name), element("dd", {}, value)));
    byId("status-facts").replaceChildren(...facts);
  }

  lost(error) {
    this.#state("lost");
    byId("status-facts").replaceChildren(element("div", {}, element("dt", {}, "no answer"), element("dd", {}, error.code ?? "unreachable")));
  }

  #state(name) {
    byId("status").dataset.state = name;
  }
}

"""The tables of docs/performance.md, made from benchmarks/results: the page says what the files say.

Between ``<!-- figures: NAME -->`` and ``<!-- end: NAME -->`` stands the table of ``results/NAME.json``.

    python -m benchmarks.tables
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS
from freshlens import capacity

PAGES = tuple(Path(__file__).parent.parent / "docs" / name for name in ("performance.md", "capacity.md"))
_BLOCK = re.compile(r"<!-- figures: (\w+) -->\n(.*?)<!-- end: \1 -->", re.DOTALL)
_NOT_YET = "Not measured yet.\n"


def filled(page: str) -> str:
    """The page with every table as the results say it now."""
    return _BLOCK.sub(lambda found: f"<!-- figures: {found[1]} -->\n{table_of(found[1])}<!-- end: {found[1]} -->", page)


def table_of(name: str) -> str:
    """The table of one benchmark in Markdown, and below it the machine and the day."""
    if name in COMPUTED:
        return f"\n{COMPUTED[name]()}\n"
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return _NOT_YET
    report = json.loads(path.read_text())
    machine = report["machine"]
    seen = f"{report['measured_at']}, {machine['cores']} cores of {machine['processor']}, Python {machine['python']}"
    figures = RENDERED.get(name, any_figures)(report["figures"])
    return f"\n{figures}\n[{name}.json](../benchmarks/results/{name}.json): {seen}.\n\n"


def grid(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def cell(value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return ""
    if isinstance(value, float):
        if value == int(value) and abs(value) < 1e15:
            return str(int(value))
        return f"{value:.3g}" if abs(value) < 1 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def any_figures(figures: dict[str, Any]) -> str:
    """Every figure with its path, for results without a table of their own."""
    return grid(("figure", "value"), _leaves(figures, ""))


def _leaves(value: Any, path: str) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path} {name}".strip())
    elif not isinstance(value, list):
        yield path, value


def clustered_vectors(figures: dict[str, Any]) -> str:
    curve = figures["recall@10_at_nprobe"]
    return grid(("lists probed of 512", *curve), [("recall@10", *(f"{value:.3f}" for value in curve.values()))])


def node_search(figures: dict[str, Any]) -> str:
    titles = {
        "ours": "a node",
        "raw": "the raw calls, FAISS re-scoring",
        "raw_numpy": "the raw calls, NumPy re-scoring",
    }
    rows = []
    for name, of in figures.items():
        for kind, title in titles.items():
            part = of["unfiltered"][kind]
            rows.append((name, title, recall(part), part["median_us"] / 1000))
        ratios = (of["unfiltered"][f"ours_to_{kind}"] for kind in ("raw", "raw_numpy"))
        rows.append((name, "ours / raw", "", " and ".join(f"{ratio:.2f} ×" for ratio in ratios)))
    return (
        grid(("vectors", "", "recall@10", "median, ms"), rows) + "\n" + "\n".join(map(_lists, figures.items())) + "\n"
    )


def _lists(entry: tuple[str, dict[str, Any]]) -> str:
    name, of = entry
    index, view = of["index"], of["view_us"]
    probed = f"{index['nprobe']} of {index['nlist']:,} lists probed, {index['rescored']} re-scored"
    first = f"{view['unfiltered']:.0f} µs more, {view['filtered']:.0f} µs with a filter"
    behind = ", ".join(of["delta"])
    return f"- {name}: {probed}; behind the generation {behind}. The first search of a new view pays {first}."


def probes(figures: dict[str, Any]) -> str:
    rows: list[tuple[Any, ...]] = []
    counts: list[str] = []
    for name, of in figures.items():
        for kind, curves in of["recall@10"].items():
            for rescored, curve in curves.items():
                counts = list(curve)
                rows.append((name, kind, int(rescored), *curve.values()))
    chosen = [
        f"- {name}: the build chose {of['chosen']['nprobe']} of {of['lists']:,} lists and to re-score "
        f"{of['chosen']['rescored']}."
        for name, of in figures.items()
    ]
    return grid(("vectors", "queries", "re-scored", *counts), rows) + "\n" + "\n".join(chosen) + "\n"


def blocks(figures: dict[str, Any]) -> str:
    rows: list[tuple[Any, ...]] = []
    for name, of in figures.items():
        for size, block in of.items():
            rows.append((name, int(size), "exact", "", 1.0, block["exact_us"]))
            for graph in block["graphs"]:
                kind = f"M {graph['m']}, ef_construction {graph['ef_construction']}, ef {graph['ef']}"
                rows.append((name, int(size), kind, graph["build_s"], recall(graph), graph["us"]))
    return grid(("vectors", "rows", "searched", "build, s", "recall@10", "µs"), rows)


def framing(figures: dict[str, Any]) -> str:
    rows = []
    for of in figures["values"]:
        pairs = [(of[f"fastavro_{way}_us"], of[f"compiled_{way}_us"]) for way in ("write", "read")]
        cells = [cell for plain, quick in pairs for cell in (plain, quick, f"{plain / quick:.1f} ×")]
        rows.append((of["value"], *cells))
    titles = ("value", "fastavro writes, µs", "compiled", "quicker", "fastavro reads, µs", "compiled", "quicker")
    return grid(titles, rows)


def codes(figures: dict[str, Any]) -> str:
    rows = []
    for of in figures["searches"]:
        coded, scanned = of["coded"], of["scanned"]
        saved = f"{scanned['us'] / coded['us']:.2f} ×"
        rows.append((of["new_rows"], scanned["us"], recall(scanned), coded["us"], recall(coded), saved))
    titles = ("new rows", "scanned, µs a search", "recall@10", "as codes, µs a search", "recall@10", "quicker")
    return grid(titles, rows)


def streaming_updates(figures: dict[str, Any]) -> str:
    rows = []
    for name, of in figures.items():
        for what in ("quiet", "streaming"):
            part = of[what]
            rows.append((name, f"search, {what}", recall(part), part["p50_ms"], part["p99_ms"]))
        if raw := of["raw_faiss"]:
            rows.append((name, "raw FAISS on the generation alone", "", raw["p50_ms"], raw["p99_ms"]))
        seen = of["readable_to_visible"]
        rows.append((name, "record readable → visible", "", seen["p50_ms"], seen["p99_ms"]))
        rows.append((name, "p99 streaming / quiet", "", "", f"{of['p99_streaming_to_quiet']:.2f} ×"))
    return grid(("vectors", "", "recall@10", "p50, ms", "p99, ms"), rows)


def memory(figures: dict[str, Any]) -> str:
    titles = {"ours": "a node", "faiss": "the same FAISS index alone", "hnswlib": "an hnswlib graph of all rows"}
    rows = []
    for name, of in figures.items():
        for kind, title in titles.items():
            part = of[kind]
            rows.append((name, title, recall(part), part["p50_ms"], part["anonymous_bytes_per_row"]))
        rows.append((name, "hnswlib / ours", "", "", f"{of['hnswlib_to_ours']} ×"))
    return grid(("vectors", "", "recall@10", "p50, ms", "anonymous bytes per row"), rows)


def compaction(figures: dict[str, Any]) -> str:
    rows = []
    for name, of in figures.items():
        made, alone = of["compaction"], of["faiss_train_and_add"]
        quiet, beside = cell(of["quiet"]["p99_ms"]), cell(of["beside_a_compaction"]["p99_ms"])
        in_faiss = f"{alone['train_s']} + {alone['add_s']} ({alone['rows_per_s']:,})"
        rows += [
            (name, "search p99, quiet → beside a compaction, ms", f"{quiet} → {beside}"),
            (name, "inflation of p99", f"{of['p99_beside_to_quiet']} ×"),
            (name, "recall@10 meanwhile", recall(of["beside_a_compaction"])),
            (name, "short or failed answers", of["short_or_failed_answers"]),
            (name, "peak memory of the compactor, MiB", made["peak_mib"]),
            (name, "resident memory of the node, MiB", of["serving_resident_mib"]),
            (name, "the compaction, s (rows/s)", f"{made['seconds']} ({made['rows_per_s']:,})"),
            (name, "FAISS training + adding alone, s (rows/s)", in_faiss),
        ]
    return grid(("vectors", "", ""), rows)


def restart(figures: dict[str, Any]) -> str:
    rows = [
        (name, int(delta), part["imports_s"], part["restore_s"], part["start_to_serving_s"], recall(part))
        for name, of in figures.items()
        for delta, part in of["by_delta_rows"].items()
    ]
    return grid(
        ("vectors", "rows behind the generation", "imports, s", "restore, s", "start → SERVING, s", "recall@10"), rows
    )


def runbook(figures: dict[str, Any]) -> str:
    names = {
        "live": "live products", "steps": "steps", "turned_over": "products replaced", "compactions": "compactions",
        "recall@10_min": "least recall@10 of a step", "recall@10_mean": "mean recall@10",
        "p99_ms_max": "greatest p99 of a step, ms",
    }  # fmt: skip
    return grid(("", ""), [(title, figures[name]) for name, title in names.items()])


def filters(figures: dict[str, Any]) -> str:
    rows = []
    for name, of in figures.items():
        for place, title in (("main_only", "generation alone"), ("full_delta", "full delta")):
            for row in of[place]:
                passing = sum(row["passing_rows"].values())
                shares = (f"{row['share'] * 100:g} %", row["kind"], title)
                rows.append((name, *shares, passing, recall(row), row["mean_ms"], row["p99_ms"], row.get("cost", 1)))
    return grid(("vectors", "pass", "filter", "on", "rows", "recall@10", "mean, ms", "p99, ms", "× unfiltered"), rows)


def ablation(figures: dict[str, Any]) -> str:
    rows = [
        (row["dim"], row["code"], row["bytes_per_row"], row["build_s"], recall(row["codes_alone"]),
         row["codes_alone"]["mean_ms"], recall(row["rescored"]), row["rescored"]["mean_ms"])
        for row in figures["table"]
    ]  # fmt: skip
    return grid(
        ("dim", "code", "bytes of code", "build, s", "recall@10, codes alone", "ms", "recall@10, 100 re-scored", "ms"),
        rows,
    )


def growth(figures: dict[str, Any]) -> str:
    rows = [
        (step["rows"], step["index"]["nprobe"], step["index"]["nlist"], recall(step), step["mean_ms"], step["p99_ms"],
         step["raw_faiss"]["mean_ms"] if step["raw_faiss"] else "", step["anonymous_bytes_per_row"],
         step["file_bytes_per_row"], step["compaction_s"], step["open_s"])
        for step in figures["steps"]
    ]  # fmt: skip
    head = ("rows", "nprobe", "of lists", "recall@10", "mean, ms", "p99, ms", "raw FAISS, ms", "anonymous bytes/row",
            "file bytes/row", "compaction, s", "open, s")  # fmt: skip
    lines = [
        f"- {name}: {cell(fit['at_0'])} + {cell(fit['per_million_rows'])} per million rows"
        for name, fit in figures["fitted"].items()
        if fit
    ]
    return grid(head, rows) + "\nFitted lines:\n\n" + "\n".join(lines) + f"\n\nEnd: {figures['ended']}.\n"


def freshness(figures: dict[str, Any]) -> str:
    names = {"published_to_found": "published → found by its own photo", "deleted_to_gone": "deleted → gone"}
    rows = [(title, figures[name]["p50_ms"], figures[name]["p99_ms"]) for name, title in names.items()]
    return grid(("", "p50, ms", "p99, ms"), [*rows, ("recall@1", figures["recall@1"], "")])


def encoder(figures: dict[str, Any]) -> str:
    titles = ("execution", "1 thread: batch 1, ms", "batch 32, per s", "2 threads: batch 1, ms", "batch 32, per s")
    made = [f"The bundled model runs at {figures['default']}."]
    for name, model in figures["models"].items():
        millions = model["image_tower_parameters"] / 1e6
        made.append(f"**{name}**, {model['side']} pixels, {millions:.1f} M parameters in the image tower")
        rows = [(title, *_execution(of)) for title, of in model["executions"].items()]
        made.append(grid((*titles, "least cosine", "first call, s"), rows).strip())
    return "\n\n".join(made) + "\n"


def _execution(of: dict[str, Any]) -> tuple[Any, ...]:
    if "failed" in of:
        return (of["failed"], "", "", "", "", "")
    threads = [of.get(f"threads_{count}", {}) for count in (1, 2)]
    times = [each.get(name, "") for each in threads for name in ("batch_1_ms", "batch_32_per_s")]
    return (*times, f"{of['least_cosine']:.5f}", of["first_s"])


def model_start(figures: dict[str, Any]) -> str:
    torch, graphs = figures["torch"], figures["graphs"]
    told = {
        "start_s": "from the first import to the first picture and text, s",
        "processor_s": "the same, s of one core",
        "resident_mib": "resident memory, MiB",
        "picture_ms": "one picture, ms",
        "text_ms": "one text, ms",
    }
    rows = [(title, torch[name], graphs[name], f"{torch[name] / graphs[name]:.1f} ×") for name, title in told.items()]
    rows.append(("least cosine between the two", "", f"{figures['least_cosine']:.6f}", ""))
    return grid(("one thread", "loaded with torch", "from kept graphs", "less"), rows)


def ingest(figures: dict[str, Any]) -> str:
    rows = [
        ("bare model, ms per picture on one core", figures["model_ms"]),
        ("bare decoding, preprocessing, hash and thumbnails, ms per picture on one core", figures["decode_ms"]),
        ("1 / both, pictures/s", figures["bare_per_s"]),
        ("plain open_clip loop, pictures/s", figures["plain_per_s"]),
        ("the pipeline, pictures/s", figures["ours_per_s"]),
        ("the pipeline / 1 / both", figures["ours_to_bare"]),
        ("the pipeline / the plain loop", figures["ours_to_plain"]),
        ("least cosine to the plain loop", f"{figures['least_cosine_to_plain']:.5f}"),
        ("decoders, threads of the model", f"{figures['decoders']}, {figures['encoder_threads']}"),
    ]
    return grid(("", ""), rows)


def ingest_kafka(figures: dict[str, Any]) -> str:
    titles = {"new": "new products", "again": "the same with new prices", "prices": "prices alone"}
    rows = [(title, figures[name]["per_s"], figures[name]["encoded"]) for name, title in titles.items()]
    return grid((f"{figures['products']:,} products", "per second", "encoded"), rows)


def live_freshness(figures: dict[str, Any]) -> str:
    titles = {
        "published_to_searchable": f"published → searchable, {figures['rate_per_s']} products/s",
        "appended_to_index_log": "appended → on index-log, the first ten seconds included",
        "deleted_to_gone_idle": "deleted → gone, idle",
        "deleted_to_gone_behind_flood": f"deleted → gone, behind {figures['flood']:,} products",
    }
    rows = [(title, figures[name]["p50_ms"], figures[name]["p99_ms"]) for name, title in titles.items()]
    beside = f"The bare model, before: {cell(figures['bare_model_per_s'])} pictures/s on one thread. "
    beside += f"The flood: {cell(figures['flood_per_s'])} products/s, {figures['still_queued']:,} left at the end.\n"
    return grid(("", "p50, ms", "p99, ms"), rows) + "\n" + beside


def hot_lane(figures: dict[str, Any]) -> str:
    titles = {
        "ordinary_empty_queue": "published → found, nothing queued",
        "ordinary_in_a_stream": f"the same, {figures['stream_per_s']:g} others a second",
        "hot_empty_queue": "the same, hot, nothing queued",
        "hot_full_queue": f"the same, hot, {figures['queued']:,} pictures queued",
        "hot_empty_queue_to_log": "to log, hot, nothing queued",
        "hot_full_queue_to_log": f"to log, hot, {figures['queued']:,} pictures queued",
    }
    rows = [(title, *_quantiles(figures[name])) for name, title in titles.items()]
    beside = f"Of the queue {cell(figures['back_fill_per_s'])} a second were worked off beside it.\n"
    return grid(("", "p50, ms", "p99, ms", "longest, ms"), rows) + "\n" + beside


def overtaking(figures: dict[str, Any]) -> str:
    rows = [
        (kind, when, *_quantiles(of))
        for when, kinds in figures.items()
        if isinstance(kinds, dict)
        for kind, of in kinds.items()
    ]
    return grid(("", "", "p50, ms", "p99, ms", "longest, ms"), rows)


def _quantiles(of: dict[str, Any]) -> tuple[Any, ...]:
    return of["p50_ms"], of["p99_ms"], of["max_ms"]


def own_vectors(figures: dict[str, Any]) -> str:
    names = {"delta_only": "everything in the delta", "after_compaction": "after a compaction"}
    rows = [
        (title, recall(figures[name]), figures[name]["p50_ms"], figures[name]["p99_ms"])
        for name, title in names.items()
    ]
    rows.append(("FAISS, exact, one thread", 1, figures["faiss_exact_one_thread_ms"], ""))
    text = f"{figures['rows']:,} × {figures['dim']}: {figures['published_per_s']:,} published per second, "
    text += f"compacted in {figures['compaction_s']} s.\n\n"
    return text + grid(("vector query over HTTP", "recall@10", "p50, ms", "p99, ms"), rows)


def hot_searches(figures: dict[str, Any]) -> str:
    rows = [
        (
            title,
            f"{part['hits']:.0%}",
            part["ways"]["searching"]["mean_ms"],
            part["ways"]["remembering"]["mean_ms"],
            recall(part["ways"]["searching"]),
            recall(part["ways"]["remembering"]),
            f"{part['ghosts']} of {part['checked']:,}",
        )
        for phase, said in (("quiet", "quiet"), ("streaming", "200 events/s"))
        for title, part in ((f"{said}: {name}", part) for name, part in figures[phase].items())
    ]
    head = ("", "remembered", "searching, mean ms", "remembering, mean ms", "recall@10", "recall@10", "ghosts")
    near = ", ".join(f"{cosine}: {share:.3f}" for cosine, share in figures["overlap"].items())
    return f"{grid(head, rows)}\nOverlap@10 of the answers to two vectors, by their cosine: {near}.\n"


def overload(figures: dict[str, Any]) -> str:
    rows = [
        (title, part["per_second"], part["p50_ms"], part["p99_ms"], part["max_ms"], _steps(part))
        for title, part in (("nothing left out", figures["nothing_left_out"]), ("steps", figures["steps"]))
    ]
    head = ("", "searches/s", "p50, ms", "p99, ms", "longest, ms", "left out in")
    one = f"{figures['callers']} callers; a search alone takes {figures['one_search_ms']:g} ms."
    return f"{one}\n\n{grid(head, rows)}"


def _steps(part: dict[str, Any]) -> str:
    return ", ".join(f"{step} {times / part['samples']:.0%}" for step, times in part["steps"].items())


def http_search(figures: dict[str, Any]) -> str:
    titles = {"quiet": "quiet", "streaming": "200 events/s streaming in", "batch": "32 queries to a request"}
    rows = [
        (
            f"{title}, {figures['connections']} connections",
            figures[name].get("queries_per_s", figures[name]["per_s"]),
            recall(figures),
            figures[name]["p50_ms"],
            figures[name]["p99_ms"],
        )
        for name, title in titles.items()
    ]
    bare = figures["bare"]
    rows.append(("aiohttp and FAISS alone", bare["per_s"], recall(bare), bare["p50_ms"], bare["p99_ms"]))
    for name, other in figures["beside"].items():
        rows.append((f"{name}, without HTTP, one after another", other["per_s"], recall(other), "", ""))
    spent = figures["quiet"]["cpu_us_per_request"].items()
    said = ", ".join(f"{name} {each}" for name, each in spent if each)
    text = f"{figures['rows']:,} × {figures['dim']}, {figures['processes']} processes, "
    text += f"{figures['anonymous_mib']} MiB anonymous. CPU time per request when quiet, µs: {said}.\n\n"
    return text + grid(("", "queries/s", "recall@10", "p50, ms", "p99, ms"), rows)


def search_memory(figures: dict[str, Any]) -> str:
    stages = {name: stage for name, stage in figures.items() if isinstance(stage, dict)}
    rows = [
        (name, stage["anonymous_mib"], recall(stage) if "recall@10" in stage else "", stage.get("p50_ms", ""))
        for name, stage in stages.items()
    ]
    return grid((f"{figures['rows']:,} × {figures['dim']}", "MiB", "recall@10", "p50, ms"), rows)


def limits() -> str:
    """What stops a shard from growing, with and without the dimensions halved."""
    figures = capacity.measured()
    halves = {each.what: each.rows for each in capacity.limits(capacity.Ask(1e9, dim=256), figures)}
    rows = [
        (each.what, f"{each.rows / 1e6:,.1f}", f"{halves[each.what] / 1e6:,.1f}")
        for each in capacity.limits(capacity.Ask(1e9, dim=512), figures)
    ]
    return grid(("what breaks", "million rows of 512 dimensions", "of 256 dimensions"), rows)


def recall(part: dict[str, Any]) -> str:
    return f"{part['recall@10']:.3f}"


RENDERED: dict[str, Callable[[dict[str, Any]], str]] = {
    each.__name__: each
    for each in (
        clustered_vectors, node_search, probes, blocks, codes, streaming_updates, memory, compaction, restart, runbook,
        filters, ablation, growth, freshness, own_vectors, encoder, model_start, framing, ingest, ingest_kafka,
        live_freshness, hot_lane, overtaking, hot_searches, http_search, search_memory, overload,
    )
}  # fmt: skip

COMPUTED: dict[str, Callable[[], str]] = {"limits": limits}


def main() -> None:
    """Fill the tables of every page."""
    for page in PAGES:
        page.write_text(filled(page.read_text()))


if __name__ == "__main__":
    main()

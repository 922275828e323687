"""Vector queries over HTTP, as a shop would send them: how many a second, how well, how late, and beside others.

``freshlens up`` serves a lane of own vectors (clustered, 384-d; compacted), with everything on that a request passes:
access, filters, freshness, the captured view, feedback to Kafka. ``wrk`` asks with four connections from the same
cores, every query another one, and no search is remembered. Recall is that of the answers of the same process over
HTTP; CPU time per request is that of each process while wrk runs. Then the same while 200 events a second stream in
(half prices, half new vectors), and 32 queries to a request.

Beside it, asked by the same ``wrk`` of the same cores: the least that aiohttp and FAISS need for such an answer, see
:mod:`benchmarks.bare_http`. And other engines, without HTTP, see :mod:`benchmarks.beside`.

    python -m benchmarks.http_search [--rows 60000] [--seconds 15] [--processes 2]
"""

import argparse
import asyncio
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from benchmarks import bare_http, beside
from benchmarks.own_vectors import DIM, K, Rows, clustered, make_centres, recall, searched, true_nearest, write_lines
from benchmarks.report import save
from benchmarks.steady import Steady
from schemas.events import Content, GivenVector, Offer, ProductAdded
from tests.running import Running
from topics.settings import KafkaSettings

QUERIES, SCORED = 20_000, 500
CONNECTIONS = 4
EVENTS_PER_S = 200
BATCH = 32
_LUA = """
local bodies, number = {}, 0
function init(arguments)
  for line in io.lines(%s) do
    bodies[#bodies + 1] = wrk.format("POST", %s, {["Content-Type"] = "application/json"}, line)
  end
end
function request() number = number %% #bodies + 1; return bodies[number] end
"""
_SERVING = ("search", "node", "api", "encoder")
SEARCH = "/v1/search"
Processes = Mapping[str, int]


def bodies_of(queries: Rows) -> list[dict[str, Any]]:
    """The bodies of searches."""
    return [{"vector": [round(float(value), 6) for value in query], "k": K} for query in queries]


def loaded(url: str, processes: Processes, folder: Path, path: str, bodies: list[Any], seconds: int) -> dict[str, Any]:
    """What wrk saw, and the CPU time that each of the processes took per request."""
    lines, script = folder / "bodies.jsonl", folder / "wrk.lua"
    lines.write_text("\n".join(json.dumps(body) for body in bodies))
    script.write_text(_LUA % (json.dumps(str(lines)), json.dumps(path)))
    before = _cpu_s(processes)
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    after = _cpu_s(processes)
    requests = int(re.findall(r"(\d+) requests in", said)[0])
    assert "Non-2xx" not in said, said
    assert "Socket errors" not in said, said
    return {
        "per_s": round(float(re.findall(r"Requests/sec:\s+([\d.]+)", said)[0]), 1),
        "p50_ms": _milliseconds(said, "50%"),
        "p99_ms": _milliseconds(said, "99%"),
        "cpu_us_per_request": {name: round((after[name] - before[name]) / requests * 1e6) for name in sorted(after)},
    }


def _cpu_s(processes: Processes) -> dict[str, float]:
    return {name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in processes.items()}


def _milliseconds(said: str, quantile: str) -> float:
    value, unit = re.findall(rf"{quantile}\s+([\d.]+)(us|ms|s)\b", said)[0]
    return round(float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit], 3)


def anonymous_mib(running: Running) -> int:
    """Anonymous memory of all processes that serve searches."""
    total = 0
    for name, pid in running.run.processes.items():
        if name.startswith(_SERVING):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
    return total // 1024


def written(vectors: Rows) -> Iterator[ProductAdded]:
    """Events without end: prices of known products and new vectors, by turns."""
    for number in count():
        if number % 2:
            product_id = f"v{number % len(vectors)}"
            yield ProductAdded("default", product_id, offer=Offer(price=float(number), currency="EUR"))
        else:
            values = tuple(vectors[number % len(vectors)].tolist())
            content = Content(title=f"new {number}", vectors=(GivenVector("", values),))
            yield ProductAdded("default", f"new-{number}", content=content)


def measured(running: Running, folder: Path, vectors: Rows, queries: Rows, truth: Any, seconds: int) -> dict[str, Any]:
    """Everything that is asked of a running product whose vectors are in a generation."""
    bodies = bodies_of(queries)
    scored = asyncio.run(searched(running.url, queries[:SCORED], truth))
    ask = partial(loaded, running.url, running.run.processes, folder)
    ask(SEARCH, bodies, 3)
    quiet = ask(SEARCH, bodies, seconds)
    parts = [{"searches": bodies[start : start + BATCH]} for start in range(0, 100 * BATCH, BATCH)]
    batch = ask("/v1/search/batch", parts, seconds)
    kafka = KafkaSettings.from_env({"KAFKA_BOOTSTRAP_SERVERS": running.kafka})
    streaming = Steady(kafka, written(vectors), EVENTS_PER_S)
    streaming.start()
    streamed = ask(SEARCH, bodies, seconds)
    streaming.stop()
    return {
        "recall@10": scored["recall@10"],
        "alone": {name: scored[name] for name in ("p50_ms", "p99_ms")},
        "quiet": quiet,
        "batch": {**batch, "queries_per_s": round(batch["per_s"] * BATCH, 1)},
        "streaming": {**streamed, "events": streaming.sent},
        "anonymous_mib": anonymous_mib(running),
    }


def main() -> None:
    """Start a lane of its own and measure it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    centres = make_centres()
    vectors, queries = clustered(given.rows, 2, centres), clustered(QUERIES, 3, centres)
    truth = true_nearest(vectors, queries[:SCORED])
    by_hand = {"FRESHLENS_COMPACT_AT": "never", "FRESHLENS_COMPACT_RECORDS": str(10 * given.rows)}
    environ = {"FRESHLENS_ENCODER": f"none:{DIM}", "FRESHLENS_HOT_SEARCHES_MAX": "0", **by_hand}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_lines(folder / "vectors.jsonl", vectors)
        with Running(folder / "data", **environ, FRESHLENS_SEARCH_PROCESSES=str(given.processes)) as running:
            for command in (("publish", str(folder / "vectors.jsonl"), "--wait"), ("compact", "--wait")):
                done = running.freshlens(*command, timeout_s=1800)
                assert done.returncode == 0, done.stdout + done.stderr
            time.sleep(10)  # nodes look for a new generation every five seconds
            ours = measured(running, folder, vectors, queries, truth, given.seconds)
        with bare_http.serving(folder, vectors, given.processes) as (url, processes):
            ask = partial(loaded, url, processes, folder, SEARCH, bodies_of(queries))
            ask(3)
            reached = recall(asyncio.run(bare_http.found(url, queries[:SCORED])), truth)
            bare = {"recall@10": reached, **ask(given.seconds)}
        others = beside.engines(vectors, queries[:SCORED], truth, folder)
    figures = {"rows": given.rows, "dim": DIM, "processes": given.processes, "connections": CONNECTIONS}
    save("http_search", "Vector queries over HTTP, beside others", {**figures, **ours, "bare": bare, "beside": others})


if __name__ == "__main__":
    main()

"""The least that a search over HTTP takes in Python: aiohttp and FAISS in its event loop, and nothing of Freshlens.

No access, filters, freshness, products, ranking or feedback: a vector in, ten row numbers and scores out. It says how
quick a machine is, and what the rest of a search costs there.

    python -m benchmarks.bare_http FOLDER SOCKET    (a process of it, as ``serving`` starts them)
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import faiss
import msgspec
import numpy as np
import uvloop
from aiohttp import web

from benchmarks.own_vectors import K
from index_nodes.generations import ivf
from index_nodes.generations.manifest import IndexFacts
from index_nodes.rows.exact import ExactRows
from query_api.accepting import SharedSite
from schemas.embeddings import Vector


class _Body(msgspec.Struct):
    vector: list[float]


@contextmanager
def serving(folder: Path, vectors: Vector, processes: int) -> Iterator[tuple[str, dict[str, int]]]:
    """The address of such a server, and the processes that answer there."""
    half = vectors.astype(np.float16)
    index, facts = ivf.build(half)
    np.save(folder / "vectors.npy", half)
    ivf.save(index, folder / "index")
    (folder / "facts").write_bytes(msgspec.json.encode(facts))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-m", "benchmarks.bare_http", str(folder), str(listening.fileno())]
        started = [subprocess.Popen(command, pass_fds=[listening.fileno()]) for _ in range(processes)]
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            _wait_for(url)
            yield url, {f"bare-{number}": process.pid for number, process in enumerate(started)}
        finally:
            for process in started:
                process.kill()
                process.wait()


async def found(url: str, queries: Vector) -> list[list[str]]:
    """What it answers to each of the queries."""
    async with aiohttp.ClientSession(url) as session:
        answers = []
        for query in queries:
            async with session.post("/v1/search", json={"vector": query.tolist()}) as response:
                answers.append([each["product_id"] for each in (await response.json())["results"]])
        return answers


def _wait_for(url: str) -> None:
    """Who is ready first answers that there is no such page; the others have had as long to load, and a little more."""
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(url, timeout=30)
    time.sleep(2)


async def _serve(folder: Path, descriptor: int) -> None:
    facts = msgspec.json.decode((folder / "facts").read_bytes(), type=IndexFacts)
    index = ivf.load(folder / "index", facts, ExactRows(np.load(folder / "vectors.npy", mmap_mode="r")))
    refined = faiss.IndexRefine(index.index, index.exact.index)
    lists = faiss.SearchParametersIVF(nprobe=facts.nprobe)
    decoder, encoder = msgspec.json.Decoder(_Body), msgspec.json.Encoder()
    probed = faiss.IndexRefineSearchParameters(k_factor=facts.rescored / K, base_index_params=lists)

    async def search(request: web.Request) -> web.Response:
        body = decoder.decode(await request.read())
        query = np.asarray([body.vector], np.float32)
        scores, rows = refined.search(query, K, params=probed)
        found = [
            {"product_id": f"v{row}", "score": score}
            for row, score in zip(rows[0].tolist(), scores[0].tolist(), strict=True)
        ]
        return web.Response(body=encoder.encode({"results": found}), content_type="application/json")

    app = web.Application()
    app.router.add_post("/v1/search", search)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await SharedSite(runner, descriptor).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    uvloop.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))

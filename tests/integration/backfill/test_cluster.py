"""A back-fill on a Ray cluster that runs before it and after it: two workers, killed in the middle, gone on with."""

import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.backfill.bench import WAIT_S, Bench, picture, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
ROWS = 30
AUTH = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
"""Of this test's own, whatever the machine has for other clusters."""


@pytest.fixture
def cluster(bench: Bench) -> Iterator[str]:
    """The address of a Ray with two processors; its workers stop once in the middle."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A short one: Ray puts sockets into it.
    folder = Path(tempfile.mkdtemp(prefix="freshlens-"))
    options = ("--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}")
    at = ("--node-ip-address=127.0.0.1", f"--port={port}")
    said = (folder / "said.txt").open("wb")
    ray = subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *at, *options],
        env={**bench.environ, "PYTHONPATH": str(Path.cwd()), "STUB_STOP_AFTER": str(ROWS // 2), **AUTH},
        stdout=said,
        stderr=said,
    )
    try:
        is_up = "Ray runtime started"
        until(lambda: is_up in (folder / "said.txt").read_text() or ray.poll() is not None, "the cluster starts")
        assert ray.poll() is None, (folder / "said.txt").read_text()
        yield f"127.0.0.1:{port}"
    finally:
        said.close()
        started = [*psutil.Process(ray.pid).children(recursive=True), ray]
        for process in started:
            process.kill()
        psutil.wait_procs(started[:-1])
        ray.wait()
        shutil.rmtree(folder)


def dump(folder: Path) -> None:
    """Two files of Parquet with pictures within: a slice for each of two workers."""
    folder.mkdir()
    for name, first in (("a", 0), ("b", ROWS)):
        rows = range(first, first + ROWS)
        pictures = pa.array([picture(number) for number in rows], pa.binary())
        table = pa.table({"product_id": [f"p{number}" for number in rows], "image": pictures})
        pq.write_table(table, folder / f"{name}.parquet")


def test_two_workers_of_a_cluster_embed_each_picture_once_though_the_command_is_killed(
    bench: Bench, cluster: str, tmp_path: Path
) -> None:
    dump(tmp_path / "dump")
    as_of = str(time.time_ns() // 1000)
    arguments = (str(tmp_path / "dump"), "--as-of", as_of, "--ray-address", cluster, "--workers", "2")

    first = bench.backfill(*arguments, **AUTH)
    stopped, journals = bench.data / "encoded.stopped", bench.data / "backfill" / "journals"
    until(lambda: stopped.exists() or first.poll() is not None, "a worker stops")
    assert stopped.exists(), first.communicate()
    (journal,) = journals.iterdir()
    done = f'"outcomes":{{"indexed":{ROWS}}}'
    until(lambda: done in journal.read_text(), "the other one does its slice, and that is told at once", 60)
    assert ROWS <= len(bench.encoded()) < 2 * ROWS
    first.kill()
    first.communicate()

    second = bench.backfill(*arguments, **AUTH)
    said, _ = second.communicate(timeout=WAIT_S)
    assert second.returncode == 0, said
    assert "going on after" in said
    bench.read_all()
    assert bench.visible() == {f"p{number}" for number in range(2 * ROWS)}
    assert len(bench.encoded()) == len(set(bench.encoded())) == 2 * ROWS, "each picture is embedded once"
    assert not list(journals.iterdir())

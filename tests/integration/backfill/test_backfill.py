"""A back-fill on a real Kafka and a real Ray: killed in the middle, gone on with, beside live events, reconciled."""

import json
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.backfill.bench import WAIT_S, Bench, picture, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]
HOUR_US = 3_600_000_000


def dump(folder: Path) -> None:
    """40 products of Parquet with pictures within, 20 of JSON lines with pictures beside, 3 rows that are bad."""
    (folder / "pictures").mkdir(parents=True)
    rows = range(40)
    table = pa.table(
        {
            "product_id": [f"p{number}" for number in rows],
            "title": [f"of the dump {number}" for number in rows],
            "image": pa.array([picture(number) for number in rows], pa.binary()),
            "price": [float(number) for number in rows],
            "clicks": pa.array([None if number == 3 else number for number in rows], pa.int64()),
        }
    )
    pq.write_table(table, folder / "a.parquet", row_group_size=10)
    with (folder / "b.jsonl").open("w") as lines:
        for number in range(40, 60):
            (folder / "pictures" / f"{number}.png").write_bytes(picture(number))
            line = {"product_id": f"p{number}", "title": "line", "image": f"pictures/{number}.png", "clicks": number}
            lines.write(json.dumps(line) + "\n")
        lines.write('{"product_id": "no-views", "title": "nothing to see"}\n')
        lines.write('{"product_id": "no-picture", "image": {"base64": "bm8gcGljdHVyZQ=="}}\n\n')
        lines.write('{"product_id": "no-number", "image": "pictures/40.png", "price": "cheap"}\n')


def is_alive(process: psutil.Process) -> bool:
    """Not gone, and not only waiting for somebody to read its exit code."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_killed_in_the_middle_it_goes_on_beside_live_events_and_deletes_what_the_dump_has_not(
    bench: Bench, tmp_path: Path
) -> None:
    dump(tmp_path / "dump")
    now_us = time.time_ns() // 1000
    as_of = now_us - HOUR_US
    bench.live_add("gone", as_of - HOUR_US, "before the dump")
    bench.live_add("newer", as_of + 1, "after the dump")
    bench.live_add("p30", now_us, "live")
    arguments = (str(tmp_path / "dump"), "--as-of", str(as_of), "--popularity", "clicks")

    first = bench.backfill(*arguments, STUB_STOP_AFTER="20")
    stopped = bench.data / "encoded.stopped"
    until(lambda: stopped.exists() or first.poll() is not None, "the model stops")
    assert stopped.exists(), first.communicate()
    encoded = len(bench.encoded())
    assert 20 <= encoded < 60
    until(lambda: bench.read() or len(bench.records) >= 3 + encoded, "what was embedded is on the log")
    popular = {record.product_id for record in bench.records[3:]}
    assert popular <= {f"p{number}" for number in range(60)}
    assert "p0" not in popular, "the least popular come last"
    assert "p59" in popular
    bench.live_delete("p59", now_us)
    bench.live_delete("p1", now_us)
    processes = psutil.Process(first.pid).children(recursive=True)
    first.kill()
    first.communicate()

    # At once, as whoever is in a hurry would: what is left of Ray ends by itself within a minute, and disturbs nobody.
    second = bench.backfill(*arguments, "--reconcile", "--yes", "--allow", "50")
    said, _ = second.communicate(timeout=WAIT_S)
    assert second.returncode == 1, said
    assert "ray" not in said.lower(), said
    bench.read_all()
    assert bench.visible() == {f"p{number}" for number in range(60) if number not in (1, 59)} | {"gone", "newer"}
    titles = {name: state.content.title for name, state in bench.states.items() if state.content is not None}
    assert titles["p30"] == "live"
    assert titles["p31"] == "of the dump 31"
    offer = bench.states["p31"].offer
    assert offer is not None
    assert offer.price == 31.0
    assert "clicks" not in bench.states["p31"].attributes
    assert sorted(bench.encoded()) == sorted(set(bench.encoded())), "nothing is embedded twice"
    assert len(bench.encoded()) == 60
    assert sorted(letter.code for letter in bench.letters) == [
        "content-without-view",
        "invalid-product",
        "undecodable-image",
    ], said
    broken = next(letter for letter in bench.letters if letter.code == "content-without-view")
    assert (broken.source.topic, broken.source.offset) == ("backfill:b.jsonl", 21)
    assert [(event.product_id, event.version) for event in bench.deletes] == [("gone", as_of)], said
    assert not list((bench.data / "backfill" / "journals").iterdir())
    parts = list((bench.data / "backfill" / "embeddings").glob("*.parquet"))
    assert sum(pq.read_metadata(part).num_rows for part in parts) == 60
    assert not list((bench.data / "tmp").iterdir())
    until(lambda: not any(map(is_alive, processes)), "nothing of Ray is left")

"""Loading slices on a real Kafka, in this process: from buckets, with pictures that are away, with our own faults."""

import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from freshlens.backfill.journal import open_journal
from freshlens.backfill.pipeline import Failed, SliceLoader, tasks_of
from freshlens.backfill.preparing import Prepared, prepare
from freshlens.backfill.rows import Done, Loaded
from processors.encoders.encoder import Pixels
from schemas.embeddings import Vector
from schemas.errors import SettingsError
from schemas.events import ProductAdded
from schemas.framing import PRODUCT_ADDED
from streams.settings import StreamsSettings
from tests.integration.backfill.bench import Bench, picture
from tests.integration.store.s3_server import AWS_ENVIRON, S3Server
from tests.integration.stub_embed import MeanColour

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]
HOUR_US = 3_600_000_000


@dataclass
class Counting(MeanColour):
    """Counts what it encodes; ``is_broken``: fails always."""

    picture_s: float = 0.0
    is_broken: bool = False
    pictures: int = 0

    def encode_images(self, pictures: Pixels) -> Vector:
        if self.is_broken:
            raise RuntimeError("a bad deploy")
        self.pictures += len(pictures)
        return super().encode_images(pictures)


@dataclass
class Load:
    """What a load told."""

    rows: list[Loaded] = field(default_factory=list)
    encoded: int = 0
    failed: Failed | None = None

    @property
    def outcomes(self) -> dict[str, str]:
        return {row.product_id: row.outcome for row in self.rows}


def prepared(bench: Bench, place: str, **options: str) -> Prepared:
    environ = {**bench.environ, "FRESHLENS_DATA": str(bench.data), "FRESHLENS_FETCH_PRIVATE": "1"}
    settings = StreamsSettings.from_env(environ)
    return prepare(place, "default", settings, environ, **options)


def loaded(prepared: Prepared, encoder: Counting) -> Load:
    """As the command does it, without Ray."""
    found = Load()
    loader = SliceLoader(prepared.job, lambda _: encoder)
    try:
        with open_journal(prepared.job.settings.data / "backfill" / "journals", prepared.fingerprint) as journal:
            for task in tasks_of(prepared.slices, journal):
                for answer in loader({"item": msgspec.msgpack.encode(task)}):
                    if answer["failed"]:
                        found.failed = msgspec.msgpack.decode(answer["failed"], type=Failed)
                        return found
                    done = msgspec.msgpack.decode(answer["done"], type=Done)
                    journal.add(done)
                    found.rows += done.rows
                    found.encoded += done.encoded
            journal.remove()
    finally:
        loader.close()
    return found


def write_lines(path: Path, *lines: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    server = S3Server()
    for name, value in {
        **AWS_ENVIRON,
        "AWS_ENDPOINT_URL": server.endpoint,
        "FRESHLENS_S3_ENDPOINT": server.endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    yield server
    server.close()


def test_a_dump_in_a_bucket_with_pictures_beside_it_and_embeddings_in_another(bench: Bench, s3: S3Server) -> None:
    shop, kept = s3.bucket(), s3.bucket()
    client = boto3.client("s3", endpoint_url=s3.endpoint)
    rows = range(6)
    table = pa.table(
        {
            "product_id": [f"p{number}" for number in rows],
            "image": [f"pictures/{number}.png" for number in rows],
            "version": pa.array([1_772_344_800_000_000 + number for number in rows], pa.timestamp("us")),
        }
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=4)
    client.put_object(Bucket=shop, Key="dumps/today/a.parquet", Body=sink.getvalue())
    for number in rows:
        client.put_object(Bucket=shop, Key=f"dumps/today/pictures/{number}.png", Body=picture(number))
    client.close()

    encoder = Counting()
    load = prepared(bench, f"s3://{shop}/dumps", embeddings=f"s3://{kept}/embeddings")
    found = loaded(load, encoder)
    assert found.outcomes == {f"p{number}": "indexed" for number in rows}, found
    bench.read_all()
    content = bench.states["p5"].content
    assert content is not None
    assert content.rank.version == 1_772_344_800_000_005
    assert content.views[0].uri == f"s3://{shop}/dumps/today/pictures/5.png"
    assert bench.records[-1].source.topic == "backfill:today/a.parquet"
    assert encoder.pictures == 6

    # Another machine, with nothing but the bucket of embeddings.
    bench.data = bench.data.parent / "another"
    again = loaded(prepared(bench, f"s3://{shop}/dumps", embeddings=f"s3://{kept}/embeddings"), encoder)
    assert again.outcomes == found.outcomes
    assert (encoder.pictures, again.encoded) == (6, 0)


def test_a_picture_that_is_not_there_waits_in_product_retry_with_the_dumps_version(
    bench: Bench, tmp_path: Path
) -> None:
    as_of = time.time_ns() // 1000 - 30 * 24 * HOUR_US
    nowhere = {"product_id": "p1", "title": "red", "image": "http://127.0.0.1:9/gone.jpg", "price": 5}
    dump = write_lines(tmp_path / "a.jsonl", nowhere, {"product_id": "p2", "price": 7})
    found = loaded(prepared(bench, dump, as_of=str(as_of)), Counting())
    assert found.outcomes == {"p1": "retry", "p2": "offer"}
    bench.read_all()
    (retry,) = bench.retries
    assert (retry.version, retry.sequence) == (as_of, 1)
    assert PRODUCT_ADDED.decode(retry.event, ProductAdded).product_id == "p1"
    assert bench.states["p1"].offer is not None
    assert bench.states["p1"].content is None


def test_too_many_faults_of_ours_stop_the_load_and_a_repaired_one_does_what_is_left(
    bench: Bench, tmp_path: Path
) -> None:
    for number in range(120):
        (tmp_path / f"{number}.png").write_bytes(picture(number))
    version = 1_790_000_000_000_000
    lines = ({"product_id": f"p{number}", "version": version, "image": f"{number}.png"} for number in range(120))
    dump = write_lines(tmp_path / "a.jsonl", *lines)
    broken = loaded(prepared(bench, dump), Counting(is_broken=True))
    assert broken.failed is not None
    assert broken.failed.code == "dead-letter-limit"
    bench.read_all()
    assert [letter.code for letter in bench.letters] == ["encoder-failed"] * 50
    assert {letter.version for letter in bench.letters} == {version}

    repaired = loaded(prepared(bench, dump), Counting())
    assert repaired.failed is None
    bench.read_all()
    refused = sum(outcome == "refused" for outcome in broken.outcomes.values())
    assert len(bench.visible()) == 120 - refused


def test_what_must_not_be_loaded_is_refused_at_once(bench: Bench, tmp_path: Path) -> None:
    dump = write_lines(tmp_path / "a.jsonl", {"product_id": "p1", "price": 5})
    with pytest.raises(SettingsError, match="--as-of when"):
        prepared(bench, dump)
    with pytest.raises(SettingsError, match="future"):
        prepared(bench, dump, as_of="2100-01-01")
    # A log that still has its beginning, all of it young, has forgotten no delete yet.
    assert not prepared(bench, dump, as_of="2020-01-01").job.date.forgets


def test_a_dry_run_judges_every_row_and_sends_nothing(bench: Bench, tmp_path: Path) -> None:
    dump = write_lines(
        tmp_path / "a.jsonl",
        {"product_id": "p1", "price": 5},
        {"product_id": "p2", "title": "no views"},
        {"product_id": "p3", "title": "text", "images": []},
    )
    judged = [(name, row.outcome, row.code) for name, row in prepared(bench, dump, as_of="2026-01-01").checked()]
    assert judged == [
        ("a.jsonl", "offer", ""),
        ("a.jsonl", "refused", "content-without-view"),
        ("a.jsonl", "indexed", ""),
    ]
    bench.read_all()
    assert not bench.records
    assert not bench.letters

"""The Parquet store of embeddings: whole parts, nothing lost between them, damage passed over."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest

from freshlens.backfill import embeddings
from freshlens.backfill.embeddings import Embedding, EmbeddingParts, Made, StoredViews
from schemas.metrics import NullMetrics
from streams.cache import CachedView
from topics.store import FileStore

MADE = Made("encoder-of-the-test", 3, "colour-1", 4)


def embedding(number: int) -> Embedding:
    vector = np.array([number, 1, 0, 0.5], dtype="<f2").tobytes()
    flags = ("dark", "small")[:number]
    return Embedding(number.to_bytes(16, "big"), CachedView(vector, number.to_bytes(8, "big"), flags))


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """What a killed process leaves to the system."""
    yield
    while _opened:
        _opened.pop()._pending.close()


_opened: list[EmbeddingParts] = []


def parts(folder: Path, store: FileStore, made: Made = MADE) -> EmbeddingParts:
    folder.mkdir(exist_ok=True)
    _opened.append(EmbeddingParts(store, folder, made))
    return _opened[-1]


def views(folder: Path, store: FileStore) -> StoredViews:
    return StoredViews(folder, "variant", parts(folder, store), 4, NullMetrics())


def test_a_part_is_read_back_bit_for_bit_and_by_analysts(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    written = parts(tmp_path / "one", store)
    for number in range(5):
        written.add(embedding(number))
    written.flush()
    (name,) = written.names()
    assert written.read(name) == [embedding(number) for number in range(5)]
    path = tmp_path / "store" / name
    rows = duckdb.sql(f"SELECT vector[1], encoder, decode_version FROM '{path}' ORDER BY content_hash").fetchall()
    assert rows == [(float(number), "encoder-of-the-test", 3) for number in range(5)]
    written.close()


def test_what_waited_when_the_process_was_killed_is_in_the_next_part(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    killed = parts(tmp_path / "one", store)
    killed.add(embedding(1))
    killed.add(embedding(2))
    (pending,) = (tmp_path / "one").iterdir()
    whole = pending.read_bytes()
    pending.write_bytes(whole[:-3])  # a crash in the middle of the second
    again = parts(tmp_path / "one", store)
    assert again.waiting() == [embedding(1)]
    again.add(embedding(3))
    again = parts(tmp_path / "one", store)
    assert again.waiting() == [embedding(1), embedding(3)]
    again.close()
    assert [each for name in again.names() for each in again.read(name)] == [embedding(1), embedding(3)]
    assert parts(tmp_path / "one", store).waiting() == []


def test_what_waits_beside_is_known_and_stays_there(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    killed = parts(tmp_path / "one", store)
    killed.add(embedding(1))
    parts(tmp_path / "of-another-encoder", store, MADE._replace(decode_version=4)).add(embedding(2))
    other = views(tmp_path / "other", store)
    assert other.view(embedding(1).content_hash) == embedding(1).view
    assert other.view(embedding(2).content_hash) is None
    other.close()
    assert killed.names() == []
    assert parts(tmp_path / "one", store).waiting() == [embedding(1)]


def test_a_part_is_cut_when_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "PART_ROWS", 2)
    written = parts(tmp_path / "one", FileStore(tmp_path / "store"))
    for number in range(5):
        written.add(embedding(number))
    assert len(written.names()) == 2
    assert written.waiting() == [embedding(4)]


def test_a_store_that_is_away_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FileStore(tmp_path / "store")
    written = parts(tmp_path / "one", store)
    written.add(embedding(1))
    with monkeypatch.context() as away:
        away.setattr(FileStore, "put", _away)
        written.flush()
    assert written.waiting() == [embedding(1)]
    written.close()
    assert len(written.names()) == 1


def _away(*_: object) -> None:
    raise OSError("away")


def test_damaged_parts_and_those_of_other_encoders_are_passed_over(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    for number, made in enumerate([MADE, MADE, MADE._replace(decode_version=4), MADE._replace(encoder_id="another")]):
        written = parts(tmp_path / f"worker-{number}", store, made)
        written.add(embedding(number))
        written.close()
    reader = parts(tmp_path / "reader", store)
    assert len(reader.names()) == 2
    first, second = reader.names()
    whole = store.get(first)
    for place in range(0, len(whole), 31):
        store.put(first, whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        assert reader.read(first) in ([], embeddings.embeddings_of(whole, MADE)), place
    store.put(first, whole[: len(whole) // 2])
    assert reader.read(first) == []
    assert len(reader.read(second)) == 1


def test_another_machine_learns_what_the_parts_know(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    one = views(tmp_path / "one", store)
    one.keep_view(b"a" * 16, embedding(1).view)
    assert one.view(b"a" * 16) is not None
    one.close()
    other = views(tmp_path / "other", store)
    assert other.view(b"a" * 16) == embedding(1).view
    other.close()
    assert len(parts(tmp_path / "reader", store).names()) == 1, "what was learnt is not written again"

"""Vectors, hashes, lanes, layouts, metrics and clocks: the small agreements."""

import hashlib
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.clock import ManualClock, SystemClock
from schemas.embeddings import Space, from_fp16, normalise, to_fp16
from schemas.errors import InvalidVector, SettingsError, SpaceMismatch
from schemas.hashing import content_hash, group_digest, key_hash, view_hash
from schemas.lane import Lane
from schemas.layout import Layout, LogId
from schemas.metrics import METRICS, MetricName, NullMetrics, RecordingMetrics

SPACE = Space("test", 3)
finite = st.floats(-1e300, 1e300, allow_nan=False)


# --- vectors ---


@given(st.lists(finite, min_size=3, max_size=3))
def test_a_given_vector_becomes_a_unit_vector_that_travels_or_is_refused(values: list[float]) -> None:
    try:
        vector = normalise(values, SPACE)
    except InvalidVector:
        assert max(map(abs, values)) < 1e-12
        return
    assert vector.dtype == np.float32
    assert abs(float(np.linalg.norm(vector)) - 1) < 1e-5
    assert np.allclose(from_fp16(to_fp16(vector), 3), vector, atol=1e-3)


@pytest.mark.parametrize(
    "values", [[0, 0, 0], [1, 2], [1, 2, 3, 4], [1, 2, float("nan")], [1, 2, float("inf")], ["a", "b", "c"], [[1], [2]]]
)
def test_refused_vectors(values: list[object]) -> None:
    with pytest.raises(InvalidVector):
        normalise(values, SPACE)


def test_a_vector_of_another_space_is_refused() -> None:
    assert normalise([1, 0, 0], SPACE, space_name="test").tolist() == [1, 0, 0]
    with pytest.raises(SpaceMismatch, match="other"):
        normalise([1, 0, 0], SPACE, space_name="other")


def test_fp16_is_little_endian() -> None:
    assert to_fp16(np.array([1, 0, 0], np.float32)) == b"\x00\x3c\x00\x00\x00\x00"


@pytest.mark.parametrize("text", ["", "a", ":3", "a:", "a:0", "a:x", "a:4097", "a:-1"])
def test_refused_spaces(text: str) -> None:
    with pytest.raises(ValueError, match="NAME:DIM"):
        Space.parse(text)


def test_a_space_is_read_back() -> None:
    for space in (SPACE, Space("ViT-B-16/laion2b:v2", 512)):
        assert Space.parse(str(space)) == space


# --- hashes ---


def test_the_content_hash_is_blake2b_128() -> None:
    assert content_hash(b"abc") == hashlib.blake2b(b"abc", digest_size=16).digest()


def test_everything_that_tells_views_apart_changes_the_view_hash() -> None:
    one = view_hash("image", b"abc", decode_version=1, epoch=0)
    others = [
        view_hash("text", b"abc", decode_version=1, epoch=0),
        view_hash("image", b"abd", decode_version=1, epoch=0),
        view_hash("image", b"abc", frame=1, decode_version=1, epoch=0),
        view_hash("image", b"abc", decode_version=2, epoch=0),
        view_hash("image", b"abc", decode_version=1, epoch=1),
    ]
    assert len({one, *others}) == 6
    assert one == view_hash("image", b"abc", decode_version=1, epoch=0)


def test_the_group_digest_does_not_depend_on_the_order_of_attributes() -> None:
    assert group_digest({"a": 1, "b": {"c": 2, "d": 3}}) == group_digest({"b": {"d": 3, "c": 2}, "a": 1})
    assert group_digest({"a": 1}) != group_digest({"a": 2})
    assert group_digest({"a": ("x", "y")}) != group_digest({"a": ("xy",)})


def test_a_key_hash_has_64_bits() -> None:
    assert 0 <= key_hash(b"a/b") < 2**64
    assert key_hash(b"a/b") != key_hash(b"a/c")


# --- lanes and layouts ---


def test_a_lane_from_the_environment() -> None:
    environ = {"FRESHLENS_SPACE": "test:3", "FRESHLENS_PARTITIONS": "4", "FRESHLENS_SHARDS": "2"}
    assert Lane.from_env(environ) == Lane("main", SPACE, Layout(4, 2))
    assert Lane.from_env({**environ, "FRESHLENS_LANE": "b"}).name == "b"


def test_a_wrong_lane_lists_every_problem_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        Lane.from_env({"FRESHLENS_LANE": "A!", "FRESHLENS_PARTITIONS": "0", "FRESHLENS_SHARDS": "x"})
    assert len(refused.value.problems) == 4


def test_more_shards_than_partitions_are_refused() -> None:
    with pytest.raises(SettingsError, match="FRESHLENS_SHARDS"):
        Lane.from_env({"FRESHLENS_SPACE": "test:3", "FRESHLENS_PARTITIONS": "2", "FRESHLENS_SHARDS": "3"})


@given(st.integers(1, 64), st.integers(1, 64))
def test_every_partition_belongs_to_one_shard(partitions: int, shards: int) -> None:
    layout = Layout(max(partitions, shards), min(partitions, shards))
    served = [partition for shard in range(layout.shards) for partition in layout.partitions_of(shard)]
    assert sorted(served) == list(range(layout.partitions))


def test_identities_are_read_back() -> None:
    assert LogId.parse(str(LogId("cluster", "topic"))) == LogId("cluster", "topic")
    assert Layout(8, 2).layout_id == "p8s2"


# --- metrics and clocks ---


def test_every_metric_is_declared_and_says_its_unit() -> None:
    assert set(METRICS) == set(get_args(MetricName))
    for name, metric in METRICS.items():
        assert name.startswith("freshlens_")
        assert metric.help.endswith(".")
        assert name.endswith("_total") == (metric.kind == "counter"), name
        assert metric.kind != "histogram" or name.endswith("_seconds"), name


def test_recorded_metrics() -> None:
    recording = RecordingMetrics()
    recording.count("freshlens_events_total", topic="a", outcome="ok")
    recording.count("freshlens_events_total", 2, outcome="ok", topic="a")
    recording.gauge("freshlens_index_products", 5)
    recording.observe("freshlens_decode_seconds", 0.5)
    assert recording.values == {
        ("freshlens_events_total", (("outcome", "ok"), ("topic", "a"))): 3,
        ("freshlens_index_products", ()): 5,
        ("freshlens_decode_seconds", ()): 0.5,
    }
    NullMetrics().count("freshlens_events_total")


def test_clocks() -> None:
    clock = ManualClock(now_us=1_000_000)
    clock.advance(1.5)
    assert (clock.now_us(), clock.monotonic()) == (2_500_000, 1.5)
    system = SystemClock()
    assert system.now_us() > 1_700_000_000_000_000
    assert system.monotonic() <= system.monotonic()

"""The worker's side of agreement: which views count, and what survives a restart."""

from pathlib import Path

import numpy as np

from processors.added import ReadyView
from processors.watch.agreement import PRODUCTS_MIN
from schemas.embeddings import to_fp16
from schemas.metrics import RecordingMetrics
from streams.agreement import Agreements

DIM = 8


def vector(seed: int, toward: int) -> bytes:
    values = np.random.default_rng(seed).normal(0, 0.2, DIM)
    values[toward % DIM] += 1
    return to_fp16((values / np.linalg.norm(values)).astype(np.float32))


def image(seed: int, toward: int) -> ReadyView:
    return ReadyView("image", b"", vector(seed, toward))


def test_pictures_count_and_nothing_else(tmp_path: Path) -> None:
    metrics = RecordingMetrics()
    agreements = Agreements(tmp_path, "model", metrics)
    assert agreements.score([ReadyView("text", b"", vector(1, 1))], "a", vector(2, 1)) is None
    assert agreements.score([ReadyView("vector", b"", vector(1, 1))], "a", vector(2, 1)) is None
    assert metrics.values == {}
    agreements.score([image(1, 1)], "a", vector(2, 1))
    assert metrics.values == {("freshlens_agreement_total", (("result", "unknown"),)): 1}


def test_what_is_usual_survives_a_restart_of_the_same_model(tmp_path: Path) -> None:
    agreements = Agreements(tmp_path / "cache", "model", RecordingMetrics())
    for number in range(PRODUCTS_MIN + 10):
        agreements.score([image(number, number)], f"text {number % DIM}", vector(1_000 + number, number))
    agreements.keep()
    again = Agreements(tmp_path / "cache", "model", metrics := RecordingMetrics())
    good = again.score([image(5_000, 3)], "text", vector(6_000, 3))
    bad = again.score([image(5_000, 3)], "text", vector(6_000, 4))
    assert good is not None
    assert bad is not None
    assert good > 0.5 > 0 > bad
    assert metrics.values["freshlens_agreement_total", (("result", "low"),)] == 1
    other = Agreements(tmp_path / "cache", "another model", RecordingMetrics())
    assert other.score([image(5_000, 3)], "text", vector(6_000, 3)) is None


def test_what_was_kept_and_is_broken_is_learnt_again(tmp_path: Path) -> None:
    agreements = Agreements(tmp_path, "model", RecordingMetrics())
    agreements.keep()
    (kept,) = tmp_path.iterdir()
    kept.write_text("{broken")
    assert Agreements(tmp_path, "model", RecordingMetrics()).score([image(1, 1)], "a", vector(2, 1)) is None

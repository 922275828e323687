"""Calibration of no match: the threshold, what it costs, which score tells best, and where the API finds it."""

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from freshlens import calibration, lane_file
from freshlens.cli import cli
from processors.encoders.encoder import PictureForm
from query_api.search.no_match import Calibration, Thresholds, calibration_key, load_thresholds, read_calibration
from schemas.embeddings import Space
from schemas.errors import SettingsError
from schemas.lane import Lane
from schemas.layout import Layout
from tests.unit.query_api.doubles import DIM, SPACE, api_settings
from topics.store import FileStore

RANDOM = np.random.default_rng(1)


def units(rows: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


CATALOGUE = units(RANDOM.standard_normal((60, DIM)))
KNOWN = units(CATALOGUE + 0.1 * RANDOM.standard_normal((60, DIM)))
FOREIGN = units(RANDOM.standard_normal((80, DIM)))

scores = arrays.arrays(np.float64, st.integers(1, 40), elements=st.floats(-1, 1, width=16))


def test_what_can_be_told_apart_is() -> None:
    measured = calibration.calibrated(KNOWN, FOREIGN, CATALOGUE)
    assert measured.auroc[measured.score] > 0.99
    assert measured.false_rejects <= calibration.FALSE_REJECTS_MAX
    assert measured.refused > 0.9
    assert (measured.known, measured.foreign) == (60, 80)
    at = min(measured.curve, key=lambda point: abs(point.threshold - measured.threshold))
    assert (at.recall > 0.95, at.refused > 0.8) == (True, True)


def test_what_resembles_everything_is_seen_through() -> None:
    """Foreign queries lie in the middle of the catalogue: near to all of it, and to nothing in it."""
    middle = np.zeros(DIM)
    middle[0] = 1.5
    catalogue = units(RANDOM.standard_normal((200, DIM)) + middle)
    known = units(catalogue[:50] + 0.35 * RANDOM.standard_normal((50, DIM)) - 0.5 * middle)
    foreign = units(np.tile(middle, (50, 1)) + 0.5 * RANDOM.standard_normal((50, DIM)))
    measured = calibration.calibrated(known, foreign, catalogue)
    assert measured.score == "background"
    assert measured.auroc["background"] > measured.auroc["top"] + 0.05
    thresholds = Thresholds({"image": measured.threshold}, {"image": np.array(measured.mean, np.float32)})
    refused = [thresholds.rejects("image", float((catalogue @ row).max()), row) for row in foreign]
    assert float(np.mean(refused)) == pytest.approx(measured.refused, abs=0.05)


@given(known=scores, foreign=scores)
def test_areas_and_curves(known: np.ndarray, foreign: np.ndarray) -> None:  # type: ignore[type-arg]
    pairs = [(one > other) + (one == other) / 2 for one in known for other in foreign]
    assert calibration.auroc(known, foreign) == pytest.approx(float(np.mean(pairs)))
    points = calibration.curve(known, foreign)
    assert [point.recall for point in points] == sorted((point.recall for point in points), reverse=True)
    assert [point.refused for point in points] == sorted(point.refused for point in points)
    assert points[0].recall == 1
    level = calibration.threshold(known, foreign)
    assert float((known < level).mean()) <= calibration.FALSE_REJECTS_MAX


@pytest.mark.parametrize(("known", "foreign", "catalogue"), [(19, 80, 60), (60, 19, 60), (60, 80, 0)])
def test_too_little_to_say_anything(known: int, foreign: int, catalogue: int) -> None:
    with pytest.raises(SettingsError, match="at least 20"):
        calibration.calibrated(KNOWN[:known], FOREIGN[:foreign], CATALOGUE[:catalogue])


class Stub:
    """Texts are rows of an array by number: k3 is known, f7 foreign, p5 a product."""

    space, encoder_id, form = SPACE, "stub", PictureForm(2)

    def encode_texts(self, texts: list[str]) -> np.ndarray:  # type: ignore[type-arg]
        rows = {"k": KNOWN, "f": FOREIGN}
        return np.stack([rows[text[0]][int(text[1:])] for text in texts])


def test_the_command_writes_a_report_and_the_api_goes_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from freshlens.cli import calibrate

    loaded: list[str] = []

    def load(name: str, **_: object) -> Stub:
        loaded.append(name)
        return Stub()

    monkeypatch.setattr("processors.encoders.open_clip_encoder.load_encoder", load)
    monkeypatch.setattr(calibrate, "encoded_pictures", lambda encoder, paths, label: CATALOGUE)
    (tmp_path / "products.jsonl").write_text(json.dumps({"product_id": "p", "image": "p.jpg"}) + "\n")
    for letter, count in (("k", 60), ("f", 80)):
        lines = "".join(json.dumps({"product_id": str(n), "title": f"{letter}{n}"}) + "\n" for n in range(count))
        (tmp_path / f"{letter}.jsonl").write_text(lines)
    files = [
        "--catalogue",
        tmp_path / "products.jsonl",
        "--known",
        tmp_path / "k.jsonl",
        "--foreign",
        tmp_path / "f.jsonl",
    ]
    data = ["--data", str(tmp_path / "data")]
    out = tmp_path / "report"
    asked = [*data, "calibrate", *map(str, files), "--modality", "text", "--out", str(out), "--apply"]
    result = CliRunner(env={"FRESHLENS_STORE": ""}).invoke(cli, asked, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "text: no match below" in result.output
    report = msgspec.json.decode((out / "calibration.json").read_bytes(), type=Calibration)
    assert (out / "calibration.svg").read_text().startswith("<?xml")
    store = FileStore(tmp_path / "data" / "store")
    assert read_calibration(store, SPACE) == report
    measured = report.modalities["text"]
    thresholds = load_thresholds(api_settings(encoder="none:16"), store)
    assert thresholds.by_modality == {"text": measured.threshold}
    assert load_thresholds(api_settings(encoder="none:16", no_match_text=0.3), store).by_modality == {"text": 0.3}

    lane_file.claim(tmp_path / "data", Lane("main", Space("own", 256), Layout()), "own-model")
    result = CliRunner(env={"FRESHLENS_STORE": "", "FRESHLENS_ENCODER": ""}).invoke(cli, asked)
    assert result.exit_code != 0
    assert loaded == ["bundled", "own-model"], "the directory says which encoder"
    assert "holds vectors of space own" in result.output + str(result.exception)


def test_too_few_queries_are_said_before_anything_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: str) -> Stub:
        raise AssertionError("the model takes seconds to load, and the pictures minutes to encode")

    monkeypatch.setattr("processors.encoders.open_clip_encoder.load_encoder", load)
    for name, count in (("products", 3), ("known", 30), ("foreign", 19)):
        lines = "".join(json.dumps({"product_id": str(n), "image": "p.jpg"}) + "\n" for n in range(count))
        (tmp_path / f"{name}.jsonl").write_text(lines)
    files = [part for name in ("known", "foreign") for part in (f"--{name}", str(tmp_path / f"{name}.jsonl"))]
    asked = ["calibrate", "--catalogue", str(tmp_path / "products.jsonl"), *files]
    with pytest.raises(SettingsError, match="there are 30 known queries, 19 foreign ones and 3 products"):
        CliRunner().invoke(cli, ["--data", str(tmp_path / "data"), *asked], catch_exceptions=False)


def test_a_calibration_that_is_no_help_is_passed_over(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    settings = api_settings(encoder="none:16")
    assert load_thresholds(settings, store).by_modality == {}
    store.put(calibration_key(SPACE), b"{")
    assert load_thresholds(settings, store).by_modality == {}
    store.put(calibration_key(SPACE), msgspec.json.encode(Calibration("another:16", {})))
    assert load_thresholds(settings, store).by_modality == {}

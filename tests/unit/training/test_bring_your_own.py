"""Clicks of a shop, a tiny checkpoint, and the whole way to a model that may be installed, or may not."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from freshlens.catalogue import draw, product
from freshlens.exporting import arrow_schema
from processors.encoders.encoder import PictureForm
from processors.encoders.open_clip_encoder import load_encoder, space_of
from schemas.embeddings import Space, to_fp16
from schemas.errors import SettingsError
from schemas.framing import CODECS
from topics.store import FileStore, original_key
from training import finetune, release
from training.clicks import Pair, alike, load_clicks, load_shop
from training.guards import Collapsed, CollapseGuard
from training.records import write_record
from training.release import Figures, Limits, refusals

PRODUCTS = 24
SAID_BESIDE = ("", "please", "new", "cheap", "today", "online", "for me", "sale")
SIDE = 32
MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": SIDE, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}
FORM = PictureForm(SIDE, "squash")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "shop-model"
    folder.mkdir()
    preprocess = {"size": [SIDE, SIDE], "mean": [0.5] * 3, "std": [0.3] * 3, "resize_mode": "squash"}
    (folder / "figures.json").write_text("{}")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": preprocess}))
    torch.manual_seed(0)
    save_file(open_clip.CLIP(**MODEL).state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def shop_folder(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    """Drawn products, and clicks of shoppers who typed their titles, each a little otherwise: what is held out was then
    not learned word for word. Some asked by photo, some in other spaces."""
    folder = tmp_path_factory.mktemp("shop")
    items = [product(number) for number in range(PRODUCTS)]
    with (folder / "products.jsonl").open("w") as lines:
        for item in items:
            draw(item, SIDE).save(folder / f"{item.number}.png")
            line = {"product_id": item.product_id, "category": item.category, "image": f"{item.number}.png"}
            lines.write(json.dumps(line) + "\n")
    space = space_of(str(checkpoint))
    vectors = np.random.default_rng(0).normal(size=(PRODUCTS, space.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = []
    for number, item in enumerate(items):
        for time in range(8):
            row = {
                "query_id": f"q-{number}-{time}", "tenant": "default", "product_id": item.product_id,
                "kind": "purchase", "position": 1 + time, "weight": 5.0,
                "text": f"{item.title} {SAID_BESIDE[time]}", "embedding": None, "space": str(space),
                "clicked_at": 1, "kafka_partition": 0, "kafka_offset": len(rows),
            }  # fmt: skip
            if time == 7:
                row |= {"text": None, "embedding": to_fp16(vectors[number])}
            rows.append(row)
    rows.append({**rows[0], "tenant": "another"})
    rows.append({**rows[0], "product_id": "gone"})
    rows.append({**rows[7], "space": "other:16"})
    schema = arrow_schema(CODECS["training-pairs"].schema)
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "training-pairs-000001.parquet")
    return folder


def tuned(checkpoint: Path, shop_folder: Path, out: Path, steps: int) -> Path:
    finetune.main([
        "--checkpoint", str(checkpoint), "--pairs", str(shop_folder),
        "--catalogue", str(shop_folder / "products.jsonl"),
        "--out", str(out), "--steps", str(steps), "--batch", "24", "--learning-rate", "2e-3",
        "--look-every-steps", "15", "--device", "cpu",
    ])  # fmt: skip
    return out / "model"


@pytest.fixture(scope="module")
def candidate(checkpoint: Path, shop_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned(checkpoint, shop_folder, tmp_path_factory.mktemp("run"), 60)


def gates(candidate: Path, serving: Path, shop_folder: Path, *more: str) -> None:
    release.main([
        "--candidate", str(candidate), "--serving", str(serving), "--pairs", str(shop_folder),
        "--catalogue", str(shop_folder / "products.jsonl"), "--category-queries-min", "1",
        "--p99-ms-max", "60000", *more,
    ])  # fmt: skip


def test_a_tuned_model_finds_what_was_clicked_is_released_and_loads_in_a_space_of_its_own(
    checkpoint: Path, shop_folder: Path, candidate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((candidate.parent / "run.json").read_text())
    first, apart, last = (record["curves"][look] for look in (0, 2, -1))
    assert last["clicked_loss"] < apart["clicked_loss"], "while all vectors are alike, few count as wrong answers"
    assert last["held_out_recall_10"] > first["held_out_recall_10"]
    assert record["data"]["left_out"] == {
        "another tenant": 1, "product not in the catalogue": 1, "embedding of another space": 1,
    }  # fmt: skip
    assert "<svg" in (candidate.parent / "run.svg").read_text()

    gates(candidate, checkpoint, shop_folder)
    assert f"FRESHLENS_ENCODER={candidate.resolve()}" in capsys.readouterr().out
    assert -1 <= json.loads((candidate / "thresholds.json").read_text())["text"] <= 1
    assert json.loads((candidate / "release.json").read_text())["released"] is True
    assert not (candidate / "figures.json").exists(), "of the weights that were there"
    encoder = load_encoder(str(candidate), threads=1)
    assert encoder.space != space_of(str(checkpoint))
    assert encoder.space.dim == 16


def test_searches_for_one_text_are_held_out_together_and_those_by_photo_each_by_itself() -> None:
    asked = [Pair(f"q{number}", 0, 1.0, text) for number in range(64) for text in (f"shoe {number}", f" Shoe {number}")]
    held_out = [pair.is_held_out for pair in asked]
    again = [replace(pair, query_id=f"again-{pair.query_id}").is_held_out for pair in asked]
    assert held_out[::2] == held_out[1::2] == again[::2]
    assert 0 < sum(held_out[::2]) < 32
    by_photo = {Pair(f"q{number}", 0, 1.0).is_held_out for number in range(64)}
    assert by_photo == {True, False}


def test_a_worse_model_is_refused_and_the_reason_is_said(
    checkpoint: Path, shop_folder: Path, candidate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        gates(checkpoint, candidate, shop_folder)
    assert stopped.value.code == 1
    assert "refused, recall: recall@10" in capsys.readouterr().out
    report = json.loads((checkpoint / "release.json").read_text())
    assert report["released"] is False
    assert any(reason.startswith("recall") for reason in report["refused_because"])
    assert not (checkpoint / "thresholds.json").exists()


def test_a_stopped_run_goes_on_to_the_same_weights(checkpoint: Path, shop_folder: Path, tmp_path: Path) -> None:
    whole = load_file(tuned(checkpoint, shop_folder, tmp_path / "whole", 6) / "open_clip_model.safetensors")
    tuned(checkpoint, shop_folder, tmp_path / "parts", 3)
    parts = load_file(tuned(checkpoint, shop_folder, tmp_path / "parts", 6) / "open_clip_model.safetensors")
    assert all(torch.allclose(whole[name], parts[name], atol=1e-5) for name in whole)
    with pytest.raises(SettingsError, match="other settings"):
        finetune.Run(checkpoint, finetune.Settings(seed=9), torch.device("cpu")).restore(tmp_path / "parts")


GOOD = Figures("new:16", "a", 0.8, 0.6, {"dress": (0.8, 50), "hat": (0.5, 3)}, 8.0, 0.9999)
SERVING = replace(GOOD, space="old:16", encoder_id="b", recall=0.75)


@pytest.mark.parametrize(
    ("worse", "gate"),
    [
        ({"recall": 0.74}, "recall"),
        ({"tail": 0.5}, "tail"),
        ({"categories": {"dress": (0.7, 50), "hat": (0.5, 3)}}, "category 'dress'"),
        ({"p99_ms": 41.0}, "p99"),
        ({"parity": 0.998}, "parity"),
        ({"space": "old:16"}, "space"),
    ],
)
def test_each_gate_refuses_by_itself(worse: dict[str, object], gate: str) -> None:
    assert refusals(GOOD, SERVING, Limits()) == []
    reasons = refusals(replace(GOOD, **worse), SERVING, Limits())
    assert len(reasons) == 1
    assert reasons[0].startswith(gate)


def test_on_a_slow_machine_a_candidate_may_be_as_slow_as_what_serves() -> None:
    assert refusals(replace(GOOD, p99_ms=60.0), replace(SERVING, p99_ms=61.0), Limits()) == []
    assert refusals(replace(GOOD, p99_ms=62.0), replace(SERVING, p99_ms=61.0), Limits())[0].startswith("p99")


def test_a_category_with_few_queries_refuses_nothing() -> None:
    assert refusals(replace(GOOD, categories={"dress": (0.8, 50), "hat": (0.0, 3)}), SERVING, Limits()) == []


def test_the_same_product_and_pictures_that_look_alike_are_no_wrong_answers(tmp_path: Path) -> None:
    one, other = product(0), product(1)
    for name, item in (("a", one), ("b", one), ("c", other)):
        draw(item, 64).save(tmp_path / f"{name}.png")
    lines = [json.dumps({"product_id": name, "image": f"{name}.png"}) for name in "abc"]
    (tmp_path / "products.jsonl").write_text("\n".join(lines) + "\n")
    shop = load_shop([tmp_path / "products.jsonl"], FORM)
    rows = np.arange(3)
    assert alike(shop, rows, rows).tolist() == [[True, True, False], [True, True, False], [False, False, True]]


def test_a_guarded_pair_is_neither_right_nor_wrong() -> None:
    vectors, weights, scale = torch.eye(3), torch.tensor([1.0, 2.0, 1.0]), torch.tensor(5.0)
    other = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 0, 1.0]])
    nothing = torch.zeros(3, 3, dtype=torch.bool)
    guarded = nothing.clone()
    guarded[0, 1] = guarded[1, 0] = True
    lenient = finetune.weighted_infonce(vectors, other, guarded, weights, scale)
    assert lenient < finetune.weighted_infonce(vectors, other, nothing, weights, scale)


def test_a_weight_counts_as_often_as_it_says() -> None:
    torch.manual_seed(0)
    one, other = (torch.nn.functional.normalize(torch.randn(3, 4)) for _ in range(2))
    free, scale = torch.zeros(3, 3, dtype=torch.bool), torch.tensor(5.0)

    def loss(*weights: float) -> float:
        return float(finetune.weighted_infonce(one, other, free, torch.tensor(weights), scale))

    assert loss(2.0, 4.0, 6.0) == pytest.approx(loss(1.0, 2.0, 3.0))
    parts = [loss(1, 0, 0), loss(0, 1, 0), loss(0, 0, 1)]
    assert loss(1.0, 2.0, 3.0) == pytest.approx((parts[0] + 2 * parts[1] + 3 * parts[2]) / 6)


def test_clicks_far_down_weigh_more_up_to_a_limit(checkpoint: Path, shop_folder: Path) -> None:
    shop = load_shop([shop_folder / "products.jsonl"], FORM)
    pairs = {pair.query_id: pair for pair in load_clicks(shop_folder, shop, space_of(str(checkpoint))).pairs}
    assert [pairs[f"q-0-{time}"].weight for time in (0, 3)] == [5.0, 20.0]
    assert pairs["q-0-7"].embedding is not None
    with pytest.raises(SettingsError, match="freshlens export training-pairs"):
        load_clicks(shop_folder / "none", shop, Space("x", 16))


def test_pictures_come_from_the_store_by_their_hash(tmp_path: Path) -> None:
    draw(product(0), 64).save(tmp_path / "a.png")
    store, name = FileStore(tmp_path / "store"), "ab" * 16
    store.put(original_key(name), (tmp_path / "a.png").read_bytes())
    (tmp_path / "products.jsonl").write_text(json.dumps({"product_id": "a", "content_hash": name}) + "\n")
    assert load_shop([tmp_path / "products.jsonl"], FORM, store).product_ids == ["a"]
    with pytest.raises(SettingsError, match="no picture"):
        load_shop([tmp_path / "products.jsonl"], FORM)


@pytest.mark.parametrize(
    ("embeddings", "reason"),
    [
        (lambda: torch.full((4, 8), torch.nan), "not finite"),
        (lambda: torch.full((4, 8), 1e-9), "norm"),
        (lambda: torch.ones(4, 8), "spread"),
    ],
)
def test_a_collapse_stops_the_run(embeddings: Callable[[], torch.Tensor], reason: str) -> None:
    guard = CollapseGuard("pictures", patience_steps=2)

    def two_steps() -> None:
        guard.see(embeddings())
        guard.see(embeddings())

    with pytest.raises(Collapsed, match=reason):
        two_steps()


def test_a_narrow_beginning_is_no_collapse() -> None:
    guard = CollapseGuard("pictures", patience_steps=2)
    for _ in range(3):
        guard.see(torch.ones(4, 8))
        assert guard.see(torch.eye(4, 8)) > 0.05


def test_a_record_has_settings_versions_curves_and_a_plot(tmp_path: Path) -> None:
    write_record(tmp_path, {"seed": 3}, [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "recall": 0.5}], data=7)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["settings"] == {"seed": 3}
    assert set(record["versions"]) == {"python", "torch", "open_clip_torch", "timm", "numpy"}
    assert record["data"] == 7
    assert record["curves"][1]["recall"] == 0.5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "run.svg"]

"""The learned stage: what a model is given, which files are refused, and what happens when it fails."""

from pathlib import Path

import lightgbm
import numpy as np
import numpy.typing as npt
import pytest

from query_api.ranking.clicks_seen import ClicksSeen
from query_api.ranking.features import FEATURES, Features, features
from query_api.ranking.learned import LightGbmModel, rescore, tried_model
from query_api.ranking.stages import StageSkipped
from tests.unit.query_api.doubles import vector_of
from tests.unit.query_api.ranking.made import DAY_US, NOW_US, asked, ids, is_explained, scored

PRICE = FEATURES.index("price")


def trained(path: Path, objective: str = "binary", names: tuple[str, ...] = FEATURES) -> str:
    """A model that has learnt that cheap is good."""
    rng = np.random.default_rng(3)
    rows = rng.random((400, len(names)))
    labels = (rows[:, PRICE] < 0.5).astype(int)
    data = lightgbm.Dataset(rows, labels, feature_name=list(names), group=[20] * 20 if "rank" in objective else None)
    settings = {"objective": objective, "verbosity": -1, "num_threads": 1, "seed": 1, "num_leaves": 4}
    lightgbm.train(settings, data, num_boost_round=20).save_model(str(path))
    return str(path)


def pool() -> list:
    return [scored("dear", 0.9, price=0.9), scored("cheap", 0.5, price=0.1), scored("unknown", 0.4)]


class Fixed:
    name = "fixed"

    def __init__(self, *values: float) -> None:
        self.values = np.array(values)

    def predict(self, features: Features) -> npt.NDArray[np.float64]:
        if not len(self.values):
            raise RuntimeError("no")
        return self.values


def test_features_are_named_and_those_not_known_are_nan() -> None:
    profile = vector_of("dear")
    seen = ClicksSeen()
    seen.shown("default", ["dear"])
    there = [scored("dear", 0.9, price=9.0, content_version=NOW_US - DAY_US), scored("other", 0.5, stock=3)]
    rows = features(there, asked(profile=profile, modality="image+text", text="x"), seen, 1.2)
    assert rows.shape == (2, len(FEATURES))
    assert rows.dtype == np.float32
    first, second = (dict(zip(FEATURES, row, strict=True)) for row in rows.tolist())
    assert first["similarity"] == pytest.approx(0.9)
    assert first["below_best"] == pytest.approx(0.1)
    assert first["personal"] == pytest.approx(1, abs=2e-3)
    assert (first["price"], first["age_days"], first["times_shown"]) == (9.0, 1.0, pytest.approx(np.log(2)))
    assert np.isnan(first["stock"])
    assert np.isnan(second["price"])
    assert np.isnan(second["age_days"])
    assert (second["stock"], second["in_stock"], second["by_image"], second["by_text"]) == (3, 1, 1, 1)


@pytest.mark.parametrize("objective", ["binary", "lambdarank"])
def test_a_model_orders_by_what_it_learnt(tmp_path: Path, objective: str) -> None:
    model = LightGbmModel("model.txt", lightgbm.Booster(model_file=trained(tmp_path / "model.txt", objective)))
    rows = features(pool(), asked(), ClicksSeen(), 0.9)
    ranked = rescore(pool(), rows, model, expected_value=False)
    assert ids(ranked).index("cheap") < ids(ranked).index("dear")
    assert is_explained(ranked)
    assert set(ranked[0].stages) == {"visual", "learned"}
    assert ids(rescore(pool(), rows, model, expected_value=False)) == ids(ranked)


def test_the_expected_value_is_the_chance_times_the_price() -> None:
    there = [scored("a", 0.9, price=10.0), scored("b", 0.8, price=100.0), scored("c", 0.7)]
    ranked = rescore(there, np.zeros((3, len(FEATURES)), np.float32), Fixed(0.5, 0.1, 0.1), expected_value=True)
    assert [(each.hit.product_id, each.score) for each in ranked] == [("b", 10.0), ("c", 5.5), ("a", 5.0)]


@pytest.mark.parametrize("model", [Fixed(), Fixed(1.0, float("nan"), 1.0), Fixed(1.0)])
def test_a_model_that_fails_leaves_the_linear_score(model: Fixed) -> None:
    with pytest.raises(StageSkipped, match="the model"):
        rescore(pool(), np.zeros((3, len(FEATURES)), np.float32), model, expected_value=False)


def test_nothing_is_not_rescored() -> None:
    assert rescore([], np.zeros((0, len(FEATURES)), np.float32), Fixed(), expected_value=True) == []


def test_what_is_no_whole_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.txt"
    text = Path(trained(path)).read_text()
    for damaged in ("", "tree\n", text[: len(text) // 2], "\0" * 99):
        path.write_text(damaged)
        with pytest.raises(ValueError, match="not a whole"):
            tried_model(str(path), expected_value=False)


def test_a_model_of_other_features_is_refused(tmp_path: Path) -> None:
    renamed = (*FEATURES[:-1], "something_else")
    with pytest.raises(ValueError, match="something_else"):
        tried_model(trained(tmp_path / "m.txt", names=renamed), expected_value=False)
    swapped = (FEATURES[1], FEATURES[0], *FEATURES[2:])
    with pytest.raises(ValueError, match="trained on"):
        tried_model(trained(tmp_path / "m.txt", names=swapped), expected_value=False)


def test_an_expected_value_needs_a_probability(tmp_path: Path) -> None:
    path = trained(tmp_path / "m.txt", "lambdarank")
    tried_model(path, expected_value=False)
    with pytest.raises(ValueError, match="no probability"):
        tried_model(path, expected_value=True)

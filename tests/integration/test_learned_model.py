"""A model file of the learned stage at the start of the API: a damaged one would take the whole process with it."""

from pathlib import Path

import numpy as np
import pytest

from query_api.ranking.features import FEATURES
from query_api.ranking.learned import load_model
from schemas.errors import SettingsError
from tests.unit.query_api.ranking.test_learned import trained


def test_a_model_is_loaded_and_a_damaged_one_is_a_problem_of_settings(tmp_path: Path) -> None:
    path = tmp_path / "model.txt"
    text = Path(trained(path)).read_text()
    model = load_model(str(path), expected_value=True)
    assert model.name == "model.txt"
    assert 0 <= model.predict(np.zeros((1, len(FEATURES)), np.float32))[0] <= 1
    path.write_text(text.replace("num_leaves=4", "num_leaves=x", 1))  # LightGBM reads beyond its memory then
    with pytest.raises(SettingsError, match=r"FRESHLENS_RANK_MODEL=.*model\.txt"):
        load_model(str(path), expected_value=True)
    with pytest.raises(SettingsError, match=r"absent\.txt"):
        load_model(str(tmp_path / "absent.txt"), expected_value=False)

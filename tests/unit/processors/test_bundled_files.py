"""The bundled encoder's files load through open_clip and hold what the model card says."""

import json
import warnings

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from processors.bundled import FOLDER, THRESHOLDS

NAME = f"local-dir:{FOLDER}"


@pytest.fixture(scope="module")
def loaded() -> tuple[torch.nn.Module, object, object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, _, preprocess = open_clip.create_model_and_transforms(NAME)
        return model.eval(), preprocess, open_clip.get_tokenizer(NAME)


def test_the_files_are_small_enough_to_ship() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir() if file.is_file()) < 25_000_000


def test_a_picture_of_any_shape_becomes_256_numbers(loaded: tuple) -> None:
    model, preprocess, _ = loaded
    pictures = [Image.new("RGB", size, "red") for size in ((40, 300), (300, 40), (128, 128))]
    with torch.inference_mode():
        vectors = model.encode_image(torch.stack([preprocess(picture) for picture in pictures]))
    assert vectors.shape == (3, 256)
    assert torch.isfinite(vectors).all()


@pytest.mark.parametrize("text", ["", "red dress", "röd klänning", "赤いドレス", "zzqx " * 200, "👗", "\x00"])
def test_any_text_is_encoded(loaded: tuple, text: str) -> None:
    model, _, tokenizer = loaded
    with torch.inference_mode():
        vector = model.encode_text(tokenizer([text]))
    assert vector.shape == (1, 256)
    assert torch.isfinite(vector).all()
    assert vector.norm() > 0


def test_two_views_of_a_product_are_nearer_than_another_product(loaded: tuple) -> None:
    from freshlens.catalogue import draw, product

    model, preprocess, _ = loaded
    item = product(0)
    with torch.inference_mode():
        rows = model.encode_image(
            torch.stack(
                [preprocess(draw(item, 160)), preprocess(draw(item, 160, 2)), preprocess(draw(product(6), 160))]
            )
        )
    rows = torch.nn.functional.normalize(rows, dim=-1).numpy()
    assert rows[0] @ rows[1] > rows[0] @ rows[2]
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(3), abs=1e-3)


def test_thresholds_name_a_cosine_for_each_modality() -> None:
    levels = json.loads(THRESHOLDS.read_text())
    assert {"image", "text"} <= levels.keys()
    assert all(-1 < level < 1 for level in levels.values())

"""Make the bundled encoder's files: `python -m training.export --datasets DIR --run DIR --out processors/bundled`.

Writes an open_clip folder (`open_clip_config.json`, `open_clip_model.safetensors` in fp16), the trunk of the image
tower in eight bits, the no-match thresholds, the figures and `MODEL_CARD.md`, which quotes them. Figures and thresholds
are of the model as it is served, rounding included.
"""

from __future__ import annotations

import argparse
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from processors.encoders.onnx_images import QUANTISED
from processors.encoders.open_clip_encoder import load_encoder
from training import card
from training.baseline import gradient_vectors, histogram_vectors, imagenet_alone, untrained
from training.calibrate import thresholds
from training.evaluate import Encode, by_product, image_figures, rounded, text_figures
from training.foreign import foreign_figures, scored, trials
from training.nothing import known_tokens
from training.pack import Clothing, Drawn, Grocery, draw_products
from training.quantise import write_quantised
from training.robustness import SEVERITIES, background_swap, robustness
from training.texts import all_words
from training.train import CONFIG, Settings, load_data

_UNSEEN_SEED = 2002
_BATCH, _TYPICAL = 64, 70


def write_model(checkpoint: Path, texts: list[str], out: Path) -> None:
    """The averaged weights as fp16, beside the configuration.

    Rows of words that training never explained are zero, as they were in training.
    """
    state = torch.load(checkpoint, weights_only=True)["average"]
    weights = {name.removeprefix("module."): value for name, value in state.items() if name.startswith("module.")}
    known = known_tokens(open_clip.get_tokenizer(f"local-dir:{CONFIG}"), texts)
    weights["token_embedding.weight"] = weights["token_embedding.weight"] * known[:, None]
    out.mkdir(parents=True, exist_ok=True)
    halves = {
        name: value.half().contiguous() if value.is_floating_point() else value for name, value in weights.items()
    }
    save_file(halves, out / "open_clip_model.safetensors")
    (out / "open_clip_model.safetensors").chmod(0o644)
    shutil.copy(CONFIG / "open_clip_config.json", out)


class Served:
    """`images` and `texts` to unit vectors as the product will serve them: what figures and thresholds must be of."""

    def __init__(self, folder: Path) -> None:
        self._encoder = load_encoder(str(folder))

    def images(self, pictures: Any) -> Any:
        """(n, s, s, 3) uint8 to (n, 256)."""
        return np.concatenate([self._encoder.encode_images(part) for part in _parts(pictures)])

    def texts(self, texts: list[str]) -> Any:
        """Texts to (n, 256)."""
        return np.concatenate([self._encoder.encode_texts(part) for part in _parts(texts)])


def _parts(items: Any) -> Iterator[Any]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def _typical(data: tuple[Grocery, Clothing, Drawn]) -> NDArray[np.uint8]:
    """Some pictures to learn from, of every kind: the ranges of eight bits are set by them."""
    grocery, clothing, drawn = data
    kinds = (grocery.train.images, grocery.studio, clothing.train.images, drawn.studio, drawn.phone[:, 0])
    return np.concatenate([images[:: max(1, len(images) // _TYPICAL)] for images in kinds])


def figures(encoder: Served, config: Path, grocery: Grocery, clothing: Clothing, drawn: Drawn) -> dict[str, Any]:
    """Every figure of the model card, for the model and beside it for what it must beat."""
    images = _remembered(encoder.images)
    baselines = {"hsv_histogram": histogram_vectors, "hog": gradient_vectors, "untrained": untrained(config)}
    baselines["imagenet"] = imagenet_alone(config)
    table: dict[str, Any] = {
        name: rounded(image_figures(_remembered(encode), grocery, clothing, drawn))
        for name, encode in {"model": images, **baselines}.items()
    }
    table["model"] |= rounded(text_figures(images, encoder.texts, grocery, drawn))
    table["by_product"] = by_product(images, grocery)
    table["robustness"] = {"severities": [0, *SEVERITIES], **robustness(images, grocery)}
    table["background_swap"] = background_swap(images, drawn)
    return table


def _remembered(encode: Encode) -> Encode:
    """`encode` that looks at each array only once, as long as the array lives."""
    known: dict[int, Any] = {}

    def remembering(pictures: Any) -> Any:
        if id(pictures) not in known:
            known[id(pictures)] = pictures, encode(pictures)
        return known[id(pictures)][1]

    return remembering


def unseen_products(count: int, cache: Path) -> Drawn:
    """Drawn products that training has not seen, every 20th photographed; kept in `cache` after the first time."""
    if cache.exists():
        with cache.open("rb") as file:
            cached: Drawn = pickle.load(file)  # written by the lines below
            return cached
    drawn = draw_products(count, _UNSEEN_SEED, 1, photograph_every=20)
    with cache.open("wb") as file:
        pickle.dump(drawn, file, 4)
    return drawn


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="the --out of training.train")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--drawn-products", type=int, default=20_000, help="drawn products to be found among")
    given = parser.parse_args()
    data = load_data(given.datasets, Settings(), given.run / "pack.pkl")
    write_model(given.run / "checkpoint.pt", all_words(data), given.out)
    int8_cosine = write_quantised(given.out, _typical(data))
    encoder = Served(given.out)
    drawn = unseen_products(given.drawn_products, given.run / "unseen.pkl")
    measured = figures(encoder, given.out, data[0], data[1], drawn)
    pictures = scored(trials(_remembered(encoder.images), *data[:2], drawn))
    levels = thresholds(encoder, data[0], drawn, pictures)
    (given.out / "thresholds.json").write_text(
        json.dumps({modality: level["cosine_min"] for modality, level in levels.items()}, indent=1) + "\n"
    )
    measured |= {
        "int8_cosine": int8_cosine,
        "no_match": levels,
        "foreign": foreign_figures(pictures, levels["image"]["cosine_min"]),
    }
    (given.out / "figures.json").write_text(json.dumps(measured, indent=1) + "\n")
    shutil.copy(given.run / "run.json", given.out / "training_run.json")
    (given.out / "MODEL_CARD.md").write_text(_card(given.out, measured))
    print(json.dumps(measured["model"], indent=1))


def _card(folder: Path, measured: dict[str, Any]) -> str:
    run, config = (json.loads((folder / f"{name}.json").read_text()) for name in ("training_run", "open_clip_config"))
    weights = folder / "open_clip_model.safetensors"
    parameters = sum(value.numel() for value in load_file(weights).values() if value.is_floating_point())
    return card.written(
        measured,
        run,
        config,
        parameters=parameters,
        size_bytes=weights.stat().st_size,
        trunk_bytes=(folder / QUANTISED).stat().st_size,
    )


if __name__ == "__main__":
    main()

"""How recall falls as photos get worse: six faults in five severities, and what a new background costs."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from freshlens.catalogue import draw_cutout, phone_photo
from freshlens.evaluation import recall_at
from training.evaluate import Encode, grocery_hits
from training.pack import PIXELS, Drawn, Grocery

Fault: TypeAlias = Callable[[Image.Image, float], Image.Image]
SEVERITIES = (0.2, 0.4, 0.6, 0.8, 1.0)


def _blurred(image: Image.Image, severity: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(0.03 * severity * image.width))


def _noisy(image: Image.Image, severity: float) -> Image.Image:
    values = np.asarray(image, np.float32)
    grain = np.random.default_rng(0).normal(0, 60 * severity, values.shape)
    return Image.fromarray(np.clip(values + grain, 0, 255).astype(np.uint8))


def _dark(image: Image.Image, severity: float) -> Image.Image:
    return image.point(lambda value: value * (1 - 0.85 * severity))


def _cropped(image: Image.Image, severity: float) -> Image.Image:
    cut = 0.3 * severity * image.width
    return image.crop((round(cut), round(cut), round(image.width - cut), round(image.height - cut)))


def _compressed(image: Image.Image, severity: float) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=round(60 - 56 * severity))
    return Image.open(buffer)


def _turned(image: Image.Image, severity: float) -> Image.Image:
    return image.rotate(45 * severity, Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))


FAULTS: dict[str, Fault] = {
    "blur": _blurred, "noise": _noisy, "darkness": _dark, "crop": _cropped, "JPEG": _compressed, "rotation": _turned,
}  # fmt: skip


def faulty(images: NDArray[np.uint8], fault: str, severity: float) -> NDArray[np.uint8]:
    """(n, side, side, 3) uint8, each with this fault in this severity (0 to 1)."""
    size = images.shape[1:3]
    made = [FAULTS[fault](Image.fromarray(pixels), severity).convert("RGB").resize(size) for pixels in images]
    return np.stack([np.asarray(image) for image in made])


def robustness(encode: Encode, grocery: Grocery) -> dict[str, dict[str, list[float]]]:
    """Recall@1 and @5 of grocery photos, unharmed first, by fault and severity."""
    curves: dict[str, dict[str, list[float]]] = {}
    for fault in FAULTS:
        harmed = [grocery.val.images, *(faulty(grocery.val.images, fault, severity) for severity in SEVERITIES)]
        hits = [grocery_hits(encode, grocery, images, grocery.val.labels) for images in harmed]
        curves[fault] = {f"recall_{k}": [round(recall_at(each, k), 4) for each in hits] for k in (1, 5)}
    return curves


def background_swap(encode: Encode, drawn: Drawn, products: int = 300, backgrounds: int = 4) -> dict[str, float]:
    """What another background does to one product's photos, all else alike.

    ``same_answer`` is the share of products whose best answer is the same on every background, ``recall_1`` the mean
    recall among all drawn products.
    """
    shown = drawn.photographed[:products]
    studio = encode(drawn.studio)
    best = []
    for background in range(backgrounds):
        photos = [_on_background(drawn, number, background) for number in shown]
        best.append(np.argmax(encode(np.stack(photos)) @ studio.T, axis=1))
    answers = np.stack(best)
    return {
        "same_answer": float((answers == answers[0]).all(axis=0).mean()),
        "recall_1": float((answers == shown).mean()),
    }


def _on_background(drawn: Drawn, number: int, background: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng((drawn.products[number].look, background))
    return np.asarray(phone_photo(draw_cutout(drawn.products[number], PIXELS), rng, 0.0, PIXELS))

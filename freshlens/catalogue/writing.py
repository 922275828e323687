"""The catalogue on disk: `products.jsonl` and one JPEG per product."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from freshlens.catalogue.drawing import draw
from freshlens.catalogue.products import Product, product

_CHUNK = 10


def write_catalogue(
    directory: Path,
    count: int = 2_000,
    seed: int = 7,
    progress: Callable[[int, int], None] | None = None,
    *,
    size: int = 320,
    processes: int = 2,
) -> Path:
    """Draw `count` products and return the path of `products.jsonl`, which is written last.

    Images lie in `directory/images`; paths in the file are relative to it. `progress(done, count)` is called
    as they are drawn; what it raises ends the drawing. With `processes` = 1 everything happens in this process, else
    in spawned ones.

    Raises:
        OSError: the directory cannot be written; choose another one.
    """
    images = directory / "images"
    images.mkdir(parents=True, exist_ok=True)
    job = partial(_write_image, images=images, seed=seed, size=size)
    if processes == 1:
        _follow(map(job, range(count)), count, progress)
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            try:
                _follow(pool.map(job, range(count), chunksize=_CHUNK), count, progress)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)  # else leaving would draw the rest first
    listing = directory / "products.jsonl"
    unfinished = listing.with_suffix(".part")
    with unfinished.open("w", encoding="utf-8") as file:
        for number in range(count):
            file.write(json.dumps(as_json(product(number, seed)), ensure_ascii=False) + "\n")
    return unfinished.replace(listing)


def as_json(item: Product) -> dict[str, object]:
    """The product under the keys that `freshlens publish` reads."""
    kept = ("product_id", "title", "description", "category", "colour", "pattern", "material", "brand")
    offer = {"price": item.price, "currency": item.currency, "stock": item.stock}
    return {**{key: getattr(item, key) for key in kept}, **offer, "image": f"images/{item.product_id}.jpg"}


def _write_image(number: int, images: Path, seed: int, size: int) -> None:
    item = product(number, seed)
    draw(item, size).save(images / f"{item.product_id}.jpg", quality=88)


def _follow(done: Iterable[None], count: int, progress: Callable[[int, int], None] | None) -> None:
    for finished, _ in enumerate(done, start=1):
        if progress is not None and (finished % _CHUNK == 0 or finished == count):
            progress(finished, count)

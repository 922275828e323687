"""Embeddings of drawn products by the bundled encoder, rendered once and kept: resumable, in chunks.

    nice -n 19 python -m benchmarks.drawn_vectors

Row n is the studio picture of product n, drawn at the encoder's own size. Queries are phone photos of products drawn
from the first 200,000, each of another severity between 0.1 and 0.9.
"""

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.cache import cache_folder
from freshlens.catalogue import draw, draw_cutout, phone_photo, product
from processors.encoders.encoder import Encoder
from processors.encoders.open_clip_encoder import BUNDLED, load_encoder

ROWS = 220_000
QUERIES = 1_000
_QUERY_PRODUCTS = 200_000
_BATCH = 64
_CHUNK = 2_048


def rows_path() -> Path:
    """(ROWS, dim) float16; only the first ``rows_done`` are there."""
    return cache_folder() / "drawn-rows.npy"


def queries_path() -> Path:
    """(QUERIES, dim) float32."""
    return cache_folder() / "drawn-queries.npy"


def rows_done() -> int:
    """How many rows have been rendered so far."""
    path = cache_folder() / "drawn-done"
    return int(path.read_text()) if path.exists() else 0


def main() -> None:
    """Render what is missing, saying how far it is."""
    encoder = load_encoder(BUNDLED, threads=1)
    if not queries_path().exists():
        np.save(queries_path(), _queries(encoder))
    rows = _opened(encoder.space.dim)
    began, first = time.monotonic(), rows_done()
    while (start := rows_done()) < ROWS:
        stop = min(start + _CHUNK, ROWS)
        rows[start:stop] = _studio(encoder, range(start, stop))
        rows.flush()
        (cache_folder() / "drawn-done").write_text(str(stop))
        rate = (stop - first) / (time.monotonic() - began)
        print(f"{stop} of {ROWS} products, {rate:.0f}/s, {(ROWS - stop) / rate / 60:.0f} min left", flush=True)


def _opened(dim: int) -> npt.NDArray[np.float16]:
    mode = "r+" if rows_path().exists() else "w+"
    rows: npt.NDArray[np.float16] = np.lib.format.open_memmap(
        rows_path(), mode, None if mode == "r+" else np.float16, None if mode == "r+" else (ROWS, dim)
    )
    return rows


def _studio(encoder: Encoder, numbers: range) -> npt.NDArray[np.float16]:
    parts = []
    for start in range(numbers.start, numbers.stop, _BATCH):
        batch = range(start, min(start + _BATCH, numbers.stop))
        pixels = np.stack([np.asarray(draw(product(number), encoder.form.size)) for number in batch])
        parts.append(encoder.encode_images(pixels).astype(np.float16))
    return np.concatenate(parts)


def _queries(encoder: Encoder) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(5)
    parts = []
    for start in range(0, QUERIES, _BATCH):
        numbers = rng.integers(0, _QUERY_PRODUCTS, min(_BATCH, QUERIES - start))
        pixels = np.stack([_photo(int(number), encoder.form.size, rng) for number in numbers])
        parts.append(encoder.encode_images(pixels))
    return np.concatenate(parts)


def _photo(number: int, size: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    cutout = draw_cutout(product(number), size)
    return np.asarray(phone_photo(cutout, rng, float(rng.uniform(0.1, 0.9)), size))


if __name__ == "__main__":
    main()

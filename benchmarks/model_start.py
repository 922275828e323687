"""What does a process save that runs the bundled model from its kept graphs instead of loading it with torch?

Each start is a process of its own, by turns, on a processor without a GPU: until the first picture and text are
encoded, then the median of single pictures and texts (docs/adr/0019). The cosine is the least between the two ways,
over drawn products and their titles.

    python -m benchmarks.model_start [--rounds 5]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.report import save
from freshlens.catalogue import draw, product

WAYS = ("torch", "graphs")
PRODUCTS, CALLS = 100, 200


def main() -> None:
    """Measure, and save; with ``--child`` one start, told as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(_started(given.child, given.folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures, texts = _products()
        np.savez(folder / "asked.npz", pictures=pictures, texts=texts)
        _child("graphs", folder)  # which is the first, and keeps them
        starts: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(given.rounds):
            for way in WAYS:
                starts[way].append(_child(way, folder))
        said, other = (np.load(folder / f"{way}.npy") for way in WAYS)
    figures: dict[str, Any] = {way: _medians(of) for way, of in starts.items()}
    figures["least_cosine"] = round(float((said * other).sum(axis=1).min()), 6)
    save("model_start", str(__doc__).splitlines()[0], figures)


def _products() -> tuple[Any, list[str]]:
    products = [product(number, 11) for number in range(PRODUCTS)]
    return np.stack([np.asarray(draw(each, 160)) for each in products]), [each.title for each in products]


def _child(way: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.model_start", "--child", way, "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _started(way: str, folder: Path) -> dict[str, Any]:
    """One start of a model, from the first import on."""
    asked = np.load(folder / "asked.npz")
    pictures, texts = asked["pictures"], asked["texts"].tolist()
    began, used = time.perf_counter(), time.process_time()
    from processors.encoders.open_clip_encoder import load_encoder

    encoder = load_encoder("bundled", device="cpu", threads=1, kept_in=folder / "kept" if way == "graphs" else None)
    encoder.encode_images(pictures[:1])
    encoder.encode_texts(texts[:1])
    taken, of_processor = time.perf_counter() - began, time.process_time() - used
    resident = psutil.Process().memory_info().rss
    told = {
        "start_s": taken,
        "processor_s": of_processor,
        "resident_mib": resident / 2**20,
        "picture_ms": _median_ms(lambda place: encoder.encode_images(pictures[place : place + 1])),
        "text_ms": _median_ms(lambda place: encoder.encode_texts(texts[place : place + 1])),
    }
    np.save(folder / f"{way}.npy", np.concatenate([encoder.encode_images(pictures), encoder.encode_texts(texts)]))
    return told


def _median_ms(call: Callable[[int], object]) -> float:
    taken = []
    for number in range(CALLS):
        began = time.perf_counter()
        call(number % PRODUCTS)
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)


def _medians(starts: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: round(statistics.median(start[name] for start in starts), 2) for name in starts[0]}


if __name__ == "__main__":
    main()

"""An embed worker with a stand-in for the model: the mean colour of a picture, the length of a text. No torch.

STUB_DELAY_S slows every call of it down. Prints READY, and metrics at the end.
"""

import os
import sys
import time
from collections.abc import Sequence

import numpy as np

from processors.encoder import PictureForm, Pixels
from schemas.embeddings import Space, Vector
from schemas.metrics import RecordingMetrics
from streams.settings import StreamsSettings
from streams.worker import run, run_embed


class MeanColour:
    """(r, g, b, 1) of unit norm."""

    space = Space("colour-1", 4)
    encoder_id = "mean-colour"
    form = PictureForm(16)

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s

    def encode_images(self, pictures: Pixels) -> Vector:
        time.sleep(self.delay_s)
        means = pictures.reshape(len(pictures), -1, 3).mean(axis=1) / 255
        return _unit(np.concatenate([means, np.ones((len(pictures), 1))], axis=1))

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        return _unit(np.array([[len(text), 1, 0, 0] for text in texts], dtype=np.float64))


def _unit(vectors: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> Vector:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def main() -> None:
    settings, metrics = StreamsSettings.from_env(os.environ), RecordingMetrics()

    def ready() -> None:
        sys.stdout.write("READY\n")
        sys.stdout.flush()

    if sys.argv[1] == "embed" and settings.encoder == "bundled":
        run_embed(settings, MeanColour(float(os.environ.get("STUB_DELAY_S", "0"))), metrics, ready)
    else:
        run("embed" if sys.argv[1] == "embed" else "deletes", settings, metrics, ready)
    for (name, labels), value in metrics.values.items():
        sys.stdout.write(f"{name} {dict(labels)} {value}\n")


if __name__ == "__main__":
    main()

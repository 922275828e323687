"""An embed worker with a stand-in for the model: the mean colour of a picture, the length of a text. No torch.

STUB_PICTURE_S is the processor time that each picture takes, STUB_ROOM bounds the events in flight, STUB_FAIL=1 is a
bad deploy, STUB_DECODER another module for the children that decode; with STUB_PART_FAILS=1 a part of the worker fails
once it is ready. A text with "poison" kills the process. Prints READY, and metrics at the end.
"""

import asyncio
import functools
import hashlib
import os
import signal
import sys
import time
from collections.abc import Sequence

import numpy as np

from processors.encoders.encoder import PictureForm, Pixels
from processors.pictures.decoder_pool import DecoderPool
from schemas.embeddings import Space, Vector
from schemas.errors import BrokerUnavailable
from schemas.metrics import RecordingMetrics
from streams import worker
from streams.settings import StreamsSettings

_BLOCK = bytes(1 << 20)


class MeanColour:
    """(r, g, b, 1) of unit norm."""

    space = Space("colour-1", 4)
    encoder_id = "mean-colour"
    form = PictureForm(16)

    def __init__(self, picture_s: float) -> None:
        self.picture_s = picture_s

    def encode_images(self, pictures: Pixels) -> Vector:
        _keep_busy(self.picture_s * len(pictures))
        means = pictures.reshape(len(pictures), -1, 3).mean(axis=1) / 255
        return _unit(np.concatenate([means, np.ones((len(pictures), 1))], axis=1))

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        if any("poison" in text for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ.get("STUB_FAIL") == "1":
            raise RuntimeError("this deploy is bad")
        return _unit(np.array([[len(text), 1, 0, 0] for text in texts], dtype=np.float64))

    def count_tokens(self, text: str) -> tuple[int, int]:
        return len(text), 0


def _keep_busy(seconds: float) -> None:
    """Batches are cut by processor time: a model that slept would look free, and be given everything at once."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        hashlib.sha256(_BLOCK)  # lets other threads run meanwhile, as a model does


def _unit(vectors: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> Vector:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def main() -> None:
    settings, metrics = StreamsSettings.from_env(os.environ), RecordingMetrics()

    is_ready = asyncio.Event()

    def ready() -> None:
        sys.stdout.write("READY\n")
        sys.stdout.flush()
        is_ready.set()

    async def failing(_facts: object) -> None:
        await is_ready.wait()
        raise BrokerUnavailable("a part of the worker failed")

    if module := os.environ.get("STUB_DECODER"):
        setattr(worker, "DecoderPool", functools.partial(DecoderPool, module=module))  # noqa: B010
    if os.environ.get("STUB_PART_FAILS") == "1":
        setattr(worker.FactPublisher, "run", failing)  # noqa: B010
    if room := os.environ.get("STUB_ROOM"):
        worker.INFLIGHT_EVENTS_MAX = int(room)
    if sys.argv[1] == "embed" and settings.encoder == "bundled":
        worker.run_embed(settings, MeanColour(float(os.environ.get("STUB_PICTURE_S", "0"))), metrics, ready)
    else:
        worker.run("embed" if sys.argv[1] == "embed" else "deletes", settings, metrics, ready)
    for (name, labels), value in metrics.values.items():
        sys.stdout.write(f"{name} {dict(labels)} {value}\n")


if __name__ == "__main__":
    main()

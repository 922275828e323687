"""A small model as it was run last, kept as ONNX graphs, so that the next process runs it without torch.

To import torch and open_clip takes a process many times as long as to run the model, and most of a gigabyte of memory
(docs/adr/0019). Models that run in torch itself, large ones and those on a GPU, are not kept.
"""

import contextlib
import platform
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import structlog

from processors.encoders import cores
from processors.encoders.encoder import Encoder, PictureForm, Pixels
from processors.encoders.onnx_network import OnnxNetwork
from schemas.embeddings import Space, Vector
from schemas.errors import EncoderFailed

_FORMAT = 1
_MADE_BY = ("onnx", "onnxruntime", "open_clip_torch", "torch")
_FACTS, _TEXTS = "facts.json", "texts.onnx"
_SAME_COSINE_MIN = 0.9999
_UNUSED_S = 90 * 24 * 3600
_PROCESSOR = Path("/proc/cpuinfo")
_log = structlog.get_logger()


class Facts(msgspec.Struct, frozen=True):
    """What is known of a model beside its graphs.

    Attributes:
        mean: what is subtracted from each channel of a picture, 0 to 255; ``std`` what it is divided by.
        context: tokens of a text that the model sees.
        image_parameters: numbers in its image tower.
    """

    encoder_id: str
    precision: str
    form: PictureForm
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    context: int
    image_parameters: int


class Graphs(NamedTuple):
    """A model as ONNX graphs. ``images``: one after the other, from pixels to the vector."""

    facts: Facts
    images: Sequence[bytes]
    texts: bytes


class Keepable(Encoder, Protocol):
    """An encoder that may be kept."""

    def graphs(self) -> Graphs | None:
        """None if it is run in another way."""
        ...


class KeptEncoder:
    """Runs the graphs of a model; see :class:`encoder.Encoder`."""

    def __init__(self, graphs: Graphs, space: Space, threads: int | None) -> None:
        from processors.encoders.tokens import ClipTokenizer  # of packages that only who runs a model has

        facts = graphs.facts
        self.space, self.encoder_id, self.form, self.precision = space, facts.encoder_id, facts.form, facts.precision
        self.threads = cores.threads(threads, facts.image_parameters)
        self._images = [OnnxNetwork(graph, self.threads) for graph in graphs.images]
        self._texts = OnnxNetwork(graphs.texts, self.threads)
        self._tokenizer = ClipTokenizer(facts.context)
        self._mean, self._std = (np.array(each, np.float32).reshape(3, 1, 1) for each in (facts.mean, facts.std))

    def encode_images(self, pictures: Pixels) -> Vector:
        size = self.form.size
        assert pictures.shape[1:] == (size, size, 3), pictures.shape
        assert pictures.dtype == np.uint8, pictures.dtype
        given = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).astype(np.float32)
        given -= self._mean
        given /= self._std
        return _encoded(self._images, given)

    def encode_texts(self, texts: Sequence[str]) -> Vector:
        return _encoded([self._texts], self._tokenizer(texts))

    def count_tokens(self, text: str) -> tuple[int, int]:
        count, context = self._tokenizer.count(text), self._tokenizer.context
        return min(count, context), max(0, count - context)


def user_cache() -> Path:
    """Where models are kept for this user of this machine."""
    import platformdirs

    return Path(platformdirs.user_cache_path("freshlens")) / "models"


def place_of(files: Iterable[Path], within: Path) -> Path:
    """The folder for a model of these files on this processor, by what executes it."""
    executed_by = f"{_FORMAT} {_processor()} {[_version(package) for package in _MADE_BY]}"
    hasher = blake2b(executed_by.encode(), digest_size=16)
    for path in sorted(files):
        hasher.update(path.name.encode() + blake2b(path.read_bytes()).digest())
    return within / hasher.hexdigest()


def opened(place: Path, space: Space, threads: int | None) -> KeptEncoder | None:
    """The model that was kept there; None if there is none that can be used."""
    if not place.exists():
        return None
    try:
        facts = msgspec.json.decode((place / _FACTS).read_bytes(), type=Facts)
        images = [path.read_bytes() for path in sorted(place.glob("images-*.onnx"))]
        kept = KeptEncoder(Graphs(facts, images, (place / _TEXTS).read_bytes()), space, threads)
        with contextlib.suppress(OSError):  # where nothing can be written, nothing is removed either
            place.touch()
        return kept
    except Exception as error:  # of a file, or of the runtime
        _log.warning("a kept model cannot be used", place=str(place), reason=f"{type(error).__name__}: {error}"[:300])
        return None


def keep(encoder: Keepable, place: Path) -> None:
    """Keep the model there if it says the same from its graphs; if not, the next process loads it again."""
    try:
        graphs = encoder.graphs()
        if graphs is None:
            return
        if (cosine := _agreement(encoder, KeptEncoder(graphs, encoder.space, 1))) < _SAME_COSINE_MIN:
            _log.warning("the model is not kept: its graphs say something else", cosine=round(cosine, 5))
            return
        _write(graphs, place)
    except Exception as error:  # the exporter's, of a network that it cannot express; a folder that cannot be written
        _log.info("the model is not kept", reason=f"{type(error).__name__}: {error}"[:300])


def _write(graphs: Graphs, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=place.parent))
    try:
        for number, graph in enumerate(graphs.images):
            (made / f"images-{number}.onnx").write_bytes(graph)
        (made / _TEXTS).write_bytes(graphs.texts)
        (made / _FACTS).write_bytes(msgspec.json.encode(graphs.facts))
        if place.exists():  # what could not be used
            shutil.rmtree(place)
        made.rename(place)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    _remove_unused(place.parent)


def _remove_unused(within: Path) -> None:
    """Models of earlier versions, or of files that are gone: nobody asks for them again."""
    for place in within.iterdir():
        if place.stat().st_mtime < time.time() - _UNUSED_S:
            shutil.rmtree(place, ignore_errors=True)


def _agreement(one: Encoder, other: Encoder) -> float:
    """The least cosine between what two encoders say of a few pictures and texts."""
    pictures = np.random.default_rng(0).integers(0, 256, (2, one.form.size, one.form.size, 3), dtype=np.uint8)
    pictures[1] //= 4
    texts = ["a red dress", "Größe 42, don't wash at 60 °C", " ".join(map(str, range(200)))]
    said, other_said = (
        np.concatenate([each.encode_images(pictures), each.encode_texts(texts)]) for each in (one, other)
    )
    return float((said * other_said).sum(axis=1).min())


def _encoded(networks: Sequence[OnnxNetwork], given: npt.NDArray[Any]) -> Vector:
    try:
        for network in networks:
            given = network.run(given)
    except MemoryError:
        raise
    except Exception as error:  # whatever the runtime raises
        raise EncoderFailed(f"the model failed: {type(error).__name__}: {error}") from error
    if not np.isfinite(given).all():
        raise EncoderFailed("the model gave a value that is not finite")
    vectors = given.astype(np.float32, copy=False)
    return np.ascontiguousarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # without onnx everything works, slower
        return None


def _processor() -> str:
    """What this processor can do, on which it depends how a model is run."""
    if _PROCESSOR.exists():
        flags = next(
            (line for line in _PROCESSOR.read_text().splitlines() if line.startswith(("flags", "Features"))), ""
        )
        return " ".join(sorted(flags.partition(":")[2].split()))
    return platform.machine()

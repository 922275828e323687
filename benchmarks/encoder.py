"""What makes a model quicker on a processor, and does it say the same?

For the bundled model and for an untrained EfficientNet-Lite0: every execution at batch 1 and batch 32, on one thread
and on two, rounds in turn, medians. On one thread the time is the processor time of that thread, so that a busy
machine tells the same story; on two it is the clock's. Parity is the least cosine to the model as open_clip loads it,
of photos where `FRESHLENS_DATASETS` names some, else of drawn products. *First* is what building and the first call
cost by the clock.

    python -m benchmarks.encoder [--models bundled,efficientnet_lite0@160] [--rounds 9] [--compile 1]
"""

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch

from benchmarks.freshness import picture
from benchmarks.report import save
from processors.encoders.encoder import PictureForm
from processors.encoders.onnx_images import OnnxImages, exported
from processors.encoders.open_clip_encoder import BUNDLED, OpenClipEncoder, load_encoder
from processors.encoders.precision import fold_norms
from processors.pictures.decode import decode
from training.quantise import quantised

Run = Callable[[torch.Tensor], torch.Tensor]
BATCHES = (1, 32)
PICTURES = 96
JUDGED = 32
"""The first pictures are encoded and compared; int8 is calibrated on the others."""
LAST = torch.channels_last


def loaded(name: str) -> Any:
    """``bundled``, or NETWORK@SIDE of timm with random weights and norms that have seen pictures."""
    if name == BUNDLED:
        from processors import bundled

        model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{Path(bundled.__file__).parent}")
        return model.eval()
    network, _, side = name.partition("@")
    torch.manual_seed(0)
    vision = {"timm_model_name": network, "timm_pool": "avg", "timm_proj": "linear", "image_size": int(side)}
    text = {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2}
    model = open_clip.CLIP(256, vision, text).train()
    model.visual.preprocess_cfg = {"size": (int(side), int(side)), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    for norm in (each for each in model.modules() if isinstance(each, torch.nn.BatchNorm2d)):
        norm.momentum = None  # the plain mean of what it sees
    with torch.no_grad():
        model.encode_image(torch.from_numpy(_photos(int(side), 32)).permute(0, 3, 1, 2).float() / 127.5 - 1)
    return model.eval()


def given_to(model: Any) -> torch.Tensor:
    """(pictures, 3, side, side) float32, as the model wants them."""
    form = open_clip.get_model_preprocess_cfg(model)
    side = form["size"] if isinstance(form["size"], int) else form["size"][0]
    pixels = torch.from_numpy(_photos(side, PICTURES)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(form[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return ((pixels - mean) / std).contiguous()


def _photos(side: int, count: int) -> Any:
    form = PictureForm(side, "squash")
    return np.stack([decode(raw, form).pixels for raw in _sources(count)])


def _sources(count: int) -> list[bytes]:
    if folder := os.environ.get("FRESHLENS_DATASETS"):
        paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if len(paths) >= count:
            return [path.read_bytes() for path in paths[:: len(paths) // count][:count]]
    return [picture(number) for number in range(count)]


def served(threads: int) -> Run:
    """The bundled model as the product runs it on this processor."""
    encoder = load_encoder(BUNDLED, threads=threads)
    assert isinstance(encoder, OpenClipEncoder)
    return encoder._images


def executions(model: Any, given: torch.Tensor, threads: int, *, compiled: bool) -> Iterator[tuple[str, Run]]:
    """By name, each from (n, 3, side, side) float32 to vectors of any length; raises what building one raises."""
    folded = copy.deepcopy(model)
    fold_norms(folded)
    both = copy.deepcopy(folded).to(memory_format=LAST)
    half = copy.deepcopy(both).to(torch.bfloat16)
    side, rest = given.shape[-1], given[JUDGED:]
    yield "as open_clip loads it", model.encode_image
    yield "norms folded", folded.encode_image
    yield "folded, channels last", lambda x: both.encode_image(x.to(memory_format=LAST))
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():  # elsewhere a picture takes half a second
        yield (
            "folded, channels last, bfloat16",
            lambda x: half.encode_image(x.to(torch.bfloat16).to(memory_format=LAST)),
        )
    yield from _lazily("int8 in torch (static, FX)", lambda: _int8_in_torch(folded, rest))
    yield from _lazily("float32 in ONNX Runtime", lambda: OnnxImages(exported(folded.visual, side), threads))
    yield from _lazily(
        "int8 in ONNX Runtime", lambda: OnnxImages(quantised(exported(folded.visual, side), rest), threads)
    )
    yield from _lazily("int8 but for the projection", lambda: _before_head(folded, rest, threads))
    if compiled:
        yield from _lazily("torch.compile with freezing", lambda: _compiled(both))


def _lazily(name: str, build: Callable[[], Run]) -> Iterator[tuple[str, Run]]:
    made: list[Run] = []

    def run(batch: torch.Tensor) -> torch.Tensor:
        if not made:
            made.append(build())
        return made[0](batch)

    yield name, run


def _compiled(model: Any) -> Run:
    run = torch.compile(copy.deepcopy(model).visual, options={"freezing": True})
    return lambda x: run(x.to(memory_format=LAST))


def _int8_in_torch(model: Any, rest: torch.Tensor) -> Run:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    torch.backends.quantized.engine = "x86"
    prepared = prepare_fx(copy.deepcopy(model).visual, get_default_qconfig_mapping("x86"), (rest[:8],))
    with torch.no_grad():
        prepared(rest)
    return convert_fx(prepared)


def _before_head(folded: Any, rest: torch.Tensor, threads: int) -> Run:
    trunk = OnnxImages(quantised(exported(folded.visual.trunk, rest.shape[-1]), rest), threads)
    return lambda x: folded.visual.head(trunk(x))


def measure(name: str, rounds: int, *, compiled: bool) -> dict[str, Any]:
    """Time and parity of every execution; one that cannot run here says why."""
    model = loaded(name)
    given = given_to(model)
    with torch.inference_mode():
        truth = torch.nn.functional.normalize(model.encode_image(given[:JUDGED]))
    made: dict[str, dict[str, Any]] = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        asked = list(executions(model, given, threads, compiled=compiled and threads == 1))
        if name == BUNDLED:
            asked += _lazily("as served", partial(served, threads))
        runs = _begun(asked, given, truth, made)
        for run_name, figures in _timed(runs, given, rounds, threads).items():
            made[run_name][f"threads_{threads}"] = figures
    size = sum(weights.numel() for weights in model.visual.parameters())
    return {"side": given.shape[-1], "image_tower_parameters": size, "executions": made}


def _begun(
    runs: Iterable[tuple[str, Run]], given: torch.Tensor, truth: torch.Tensor, made: dict[str, dict[str, Any]]
) -> dict[str, Run]:
    works: dict[str, Run] = {}
    for name, run in runs:
        began = time.perf_counter()
        try:
            with torch.inference_mode():
                said = torch.nn.functional.normalize(run(given[:JUDGED]).float())
        except Exception as error:  # an execution that needs what this machine has not
            made[name] = {"failed": f"{type(error).__name__}: {str(error)[:80]}"}
            continue
        works[name] = run
        known = made.setdefault(name, {"first_s": round(time.perf_counter() - began, 2)})
        known["least_cosine"] = round(float((said * truth).sum(dim=1).min()), 5)
    return works


def _timed(runs: dict[str, Run], given: torch.Tensor, rounds: int, threads: int) -> dict[str, dict[str, float]]:
    clock = time.thread_time if threads == 1 else time.perf_counter
    seconds: dict[tuple[str, int], list[float]] = {(name, batch): [] for name in runs for batch in BATCHES}
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for (name, batch), seen in seconds.items():
                starts = range(0, JUDGED, batch) if batch > 1 else range(turn % 4, JUDGED, 4)
                began = clock()
                for start in starts:
                    runs[name](given[start : start + batch])
                if turn:  # the first round warms up
                    seen.append((clock() - began) / len(starts))
    return {
        name: {
            "batch_1_ms": round(statistics.median(seconds[name, 1]) * 1000, 3),
            "batch_32_per_s": round(32 / statistics.median(seconds[name, 32]), 1),
        }
        for name in runs
    }


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", default=f"{BUNDLED},efficientnet_lite0@160", help="with commas between")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", type=int, default=1)
    given = parser.parse_args()
    encoder = load_encoder(BUNDLED, threads=1)
    assert isinstance(encoder, OpenClipEncoder)
    models = {name: measure(name, given.rounds, compiled=bool(given.compile)) for name in given.models.split(",")}
    save(
        "encoder",
        "A small model on a processor: what makes it quicker, and does it say the same?",
        {"default": encoder.precision, "batch": BATCHES[1], "rounds": given.rounds, "models": models},
    )


if __name__ == "__main__":
    main()

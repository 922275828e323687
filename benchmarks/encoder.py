"""What makes the bundled model quicker on a processor, and does it say the same?

Each variant encodes the same drawn products in batches of 16 on one thread; the time is the processor time of that
thread per picture, so that a busy machine tells the same story, and the median over rounds in turn. Parity is the
least cosine to the model as open_clip loads it. *First* is what the first call costs by the clock, compiling included.

    python -m benchmarks.encoder [--pictures 64] [--rounds 9] [--compile 1]
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch

from benchmarks.freshness import picture
from benchmarks.report import save
from processors import bundled
from processors.encoders.open_clip_encoder import BUNDLED, OpenClipEncoder, load_encoder
from processors.encoders.precision import fold_norms
from processors.pictures.decode import decode

Run = Callable[[torch.Tensor], torch.Tensor]
BATCH = 16
LAST = torch.channels_last


def variants(model: Any, given: torch.Tensor, *, compiled: bool) -> dict[str, Run]:
    """By name, each from (n, 3, side, side) float32 to vectors of any length."""
    last = copy.deepcopy(model).to(memory_format=LAST)
    folded = copy.deepcopy(model)
    fold_norms(folded)
    both = copy.deepcopy(folded).to(memory_format=LAST)
    half = copy.deepcopy(model).to(torch.bfloat16)
    all_three = copy.deepcopy(both).to(torch.bfloat16)
    made: dict[str, Run] = {
        "as open_clip loads it": model.encode_image,
        "channels last": lambda x: last.encode_image(x.to(memory_format=LAST)),
        "norms folded": folded.encode_image,
        "folded, channels last": lambda x: both.encode_image(x.to(memory_format=LAST)),
        "bfloat16": lambda x: half.encode_image(x.to(torch.bfloat16)),
        "folded, channels last, bfloat16": lambda x: all_three.encode_image(
            x.to(torch.bfloat16).to(memory_format=LAST)
        ),
        "int8 (static, FX)": _int8(folded, given),
        "folded, channels last, bfloat16; 9 padded to 16": lambda x: all_three.encode_image(
            torch.cat([x[:9], torch.zeros_like(x[:7])]).to(torch.bfloat16).to(memory_format=LAST)
        )[:9],
        "folded, channels last, bfloat16; 9 as they are": lambda x: all_three.encode_image(
            x[:9].to(torch.bfloat16).to(memory_format=LAST)
        ),
    }
    if compiled:
        made["torch.compile"] = torch.compile(copy.deepcopy(both).visual)
        small = torch.compile(copy.deepcopy(all_three).visual, options={"freezing": True})
        made["torch.compile with freezing, bfloat16"] = lambda x: small(x.to(torch.bfloat16).to(memory_format=LAST))
    return made


def _int8(model: Any, given: torch.Tensor) -> Run:
    """Static quantisation of the picture tower, calibrated on the pictures themselves: the kindest case for it."""
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    torch.backends.quantized.engine = "x86"
    prepared = prepare_fx(copy.deepcopy(model).visual, get_default_qconfig_mapping("x86"), (given[:BATCH],))
    with torch.no_grad():
        prepared(given)
    return convert_fx(prepared)


def measure(count: int, rounds: int, *, compiled: bool) -> dict[str, Any]:
    """Time and parity of every variant; one that cannot run here says why."""
    torch.set_num_threads(1)
    encoder = load_encoder(BUNDLED, threads=1)
    assert isinstance(encoder, OpenClipEncoder)
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{Path(bundled.__file__).parent}")
    pixels = np.stack([decode(picture(number), encoder.form).pixels for number in range(count)])
    given = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
    given = given.contiguous()
    made: dict[str, Any] = {}
    runs: dict[str, Run] = {}
    for name, run in variants(model.eval(), given, compiled=compiled).items():
        began = time.perf_counter()
        try:
            with torch.no_grad():
                run(given[:BATCH])
        except Exception as error:  # a variant that needs what this machine has not
            made[name] = {"failed": f"{type(error).__name__}: {str(error)[:80]}"}
            continue
        made[name] = {"first_s": round(time.perf_counter() - began, 2)}
        runs[name] = run
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    with torch.inference_mode():
        truth = torch.nn.functional.normalize(model.encode_image(given).float())
        for _ in range(rounds):
            for name, run in runs.items():
                seconds[name].append(_seconds(run, given))
        for name, run in runs.items():
            said = torch.nn.functional.normalize(run(given[:BATCH]).float())
            made[name]["least_cosine"] = round(float((said * truth[: len(said)]).sum(dim=1).min()), 5)
            made[name]["ms_per_picture"] = round(statistics.median(seconds[name]) * 1000, 3)
    return {"batch": BATCH, "pictures": count, "rounds": rounds, "default": encoder.precision, "variants": made}


def _seconds(run: Run, given: torch.Tensor) -> float:
    began, count = time.thread_time(), 0
    for start in range(0, len(given) - BATCH + 1, BATCH):
        count += len(run(given[start : start + BATCH]))
    return (time.thread_time() - began) / count


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser()
    for name, default in (("pictures", 64), ("rounds", 9), ("compile", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    figures = measure(given.pictures, given.rounds, compiled=bool(given.compile))
    save(
        "encoder",
        "The bundled model on one thread of a processor: what makes it quicker, and does it say the same?",
        figures,
    )


if __name__ == "__main__":
    main()

"""Run many inputs through a DecoderPool and keep account of what became of them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from processors.encoders.encoder import PictureForm
from processors.pictures.decode import THUMBNAIL_SIZES
from processors.pictures.decoder_pool import DecoderPool
from schemas.errors import ImageTooLarge, UndecodableImage
from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import seeds

FORM = PictureForm(64)
FINDINGS = ("decoder-crashed", "decoder-timeout")
_WATCH_S = 0.05


@dataclass(slots=True)
class Report:
    """``outcomes`` by code (``decoded`` without one); ``findings``: what to look into, with the number of the input.

    ``memory_bytes``: the most that any child held at any time, as the kernel counts it.
    """

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[int, str, str]] = field(default_factory=list)
    memory_bytes: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        told = ", ".join(f"{count} {code}" for code, count in self.outcomes.most_common())
        return (
            f"{self.inputs} inputs in {self.seconds:.0f} s: {told}; "
            f"{len(self.findings)} findings; a child held at most {self.memory_bytes / 2**20:.0f} MiB"
        )


async def campaign(
    numbers: range, seed: int, *, workers: int = 1, tell: Callable[[str], None] = lambda line: None
) -> Report:
    """Decode the inputs of these numbers.

    A finding is an input that ended or hung a child, or that raised anything but what a picture may raise.
    """
    report, started = Report(), monotonic()
    seeds()
    pool = DecoderPool(FORM, workers)
    watching = asyncio.create_task(_watch(pool, report))
    try:
        await pool.warm()
        waiting = iter(numbers)
        await asyncio.gather(*(_work(pool, waiting, seed, report, tell) for _ in range(workers)))
        # Whatever happened, the pool must still do its work.
        for good in seeds():
            await _decode(pool, good.raw, is_video=good.is_video)
    finally:
        watching.cancel()
        pool.close()
    report.seconds = monotonic() - started
    return report


async def _work(
    pool: DecoderPool, numbers: Iterator[int], seed: int, report: Report, tell: Callable[[str], None]
) -> None:
    for number in numbers:
        chosen, raw = mutated(seed, number)
        try:
            await _decode(pool, raw, is_video=chosen.is_video)
            code = "decoded"
        except (UndecodableImage, ImageTooLarge) as error:
            code = error.code
        except Exception as error:
            code = f"raised {type(error).__name__}"
        report.inputs += 1
        report.outcomes[code] += 1
        if code in FINDINGS or code.startswith("raised"):
            report.findings.append((number, chosen.name, code))
            tell(f"{code} by {chosen.name}: python -m tests.fuzz --seed {seed} --replay {number}")
        if report.inputs % 500 == 0:
            tell(f"{report.inputs} inputs, {len(report.findings)} findings, {report.memory_bytes / 2**20:.0f} MiB")


async def _decode(pool: DecoderPool, raw: bytes, *, is_video: bool) -> None:
    if is_video:
        await pool.key_frames(raw, frames_max=3, thumbnail_sizes=THUMBNAIL_SIZES)
    else:
        await pool.decode(raw, thumbnail_sizes=THUMBNAIL_SIZES)


async def _watch(pool: DecoderPool, report: Report) -> None:
    while True:
        for pid in pool.pids:
            report.memory_bytes = max(report.memory_bytes, peak_bytes(pid))
        await asyncio.sleep(_WATCH_S)


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever had resident; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)

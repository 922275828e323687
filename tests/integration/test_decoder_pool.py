"""Decoding in child processes: a crash, a hang or hunger for memory costs one picture."""

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from processors.decode import THUMBNAIL_SIZES, Crop, decode
from processors.decoder_pool import DecoderPool
from processors.encoder import PictureForm
from schemas.errors import ImageTooLarge, UndecodableImage

FORM = PictureForm(16)
HOSTILE_CHILD = """
import os, time
from processors import decoder_worker

def decode(raw, form, limits, **how):
    if raw == b"abort":
        os.abort()
    if raw == b"hang":
        time.sleep(1000)
    while raw == b"spin":
        pass
    if raw == b"greed":
        bytearray(4 * 1024**3)
    return honest(raw, form, limits, **how)

honest, decoder_worker.decode = decoder_worker.decode, decode
decoder_worker.main()
"""


def png(colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
async def pool() -> AsyncIterator[DecoderPool]:
    pool = DecoderPool(FORM, 2)
    yield pool
    pool.close()


async def test_it_decodes_as_the_function_does(pool: DecoderPool) -> None:
    await pool.warm()
    crop = Crop(0, 0, 0.5, 1)
    theirs = await pool.decode(png(), crop=crop, thumbnail_sizes=THUMBNAIL_SIZES)
    ours = decode(png(), FORM, crop=crop, thumbnail_sizes=THUMBNAIL_SIZES)
    assert np.array_equal(theirs.pixels, ours.pixels)
    assert (theirs.phash, theirs.quality, theirs.thumbnails) == (ours.phash, ours.quality, ours.thumbnails)
    decoded = await asyncio.gather(*(pool.decode(png(f"rgb({n}, 0, 0)")) for n in range(50)))
    assert [int(picture.pixels[0, 0, 0]) for picture in decoded] == list(range(50))


async def test_refusals_arrive_with_their_code(pool: DecoderPool) -> None:
    with pytest.raises(UndecodableImage) as refused:
        await pool.decode(b"garbage")
    assert refused.value.code == "undecodable-image"


async def test_a_child_that_dies_or_hangs_or_eats_costs_its_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hostile_child.py").write_text(HOSTILE_CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    pool = DecoderPool(FORM, 1, timeout_s=1.0, module="hostile_child")
    try:
        await pool.warm()
        for raw, code in ((b"abort", "decoder-crashed"), (b"hang", "decoder-timeout"), (b"spin", "decoder-timeout")):
            await pool.decode(png())
            with pytest.raises(UndecodableImage) as refused:
                await pool.decode(raw)
            assert refused.value.code == code
        with pytest.raises(ImageTooLarge):
            await pool.decode(b"greed")
        assert (await pool.decode(png())).width == 30
    finally:
        pool.close()


async def test_a_caller_that_gives_up_leaves_the_pool_usable(pool: DecoderPool) -> None:
    tasks = [asyncio.create_task(pool.decode(png())) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(getattr(outcome, "width", 0) == 30 for outcome in outcomes[1::2])
    assert (await pool.decode(png())).width == 30


def test_a_child_imports_no_torch() -> None:
    program = "import sys, processors.decoder_worker; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, env=dict(os.environ))

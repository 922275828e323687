"""Decoding in child processes: a crash, a hang or hunger for memory costs one picture."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from processors.encoders.encoder import PictureForm
from processors.pictures.decode import THUMBNAIL_SIZES, Crop, DecodeLimits, decode
from processors.pictures.decoder_pool import MEMORY_BYTES_MAX, DecoderPool
from processors.pictures.video import VideoLimits, key_frames
from schemas.errors import ImageTooLarge, UndecodableImage
from tests import hostile, videos
from tests.fuzz.campaign import peak_bytes

FORM = PictureForm(16)
HOSTILE_CHILD = """
import os, signal, sys, time
import dataclasses
from base64 import b64decode
from processors.pictures import decoder_worker

PNG = "%s"
pipe = int(sys.argv[1])

def decode(raw, form, limits, **how):
    if raw == b"abort":
        os.abort()
    if raw == b"hang":
        time.sleep(1000)
    while raw == b"spin":
        pass
    if raw == b"greed":
        bytearray(4 * 1024**3)
    if raw == b"segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if raw == b"out of memory":
        os.kill(os.getpid(), signal.SIGKILL)
    if raw == b"exit":
        os._exit(0)
    if raw == b"garbage":
        os.write(pipe, b"\\0\\0\\0\\5hello")
    if raw == b"endless":
        os.write(pipe, b"\\xff\\xff\\xff\\xff" + b"a" * 1000)
    if raw == b"half":
        os.write(pipe, b"\\0\\0\\1\\0half an answer")
        time.sleep(1000)
    if raw == b"lie":
        found = honest(b64decode(PNG), form, limits, **how)
        return dataclasses.replace(found, pixels=found.pixels[:3])
    return honest(raw, form, limits, **how)

def key_frames(raw, *_, **__):
    while not os.path.exists(raw):
        time.sleep(0.01)
    return []

honest, decoder_worker.decode = decoder_worker.decode, decode
decoder_worker.key_frames = key_frames
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


@pytest.fixture
def hostile_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The module of a child that does what the bytes say; a video is done once the file that it names is there."""
    (tmp_path / "hostile_child.py").write_text(HOSTILE_CHILD % b64encode(png()).decode())
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    return "hostile_child"


@pytest.fixture
async def hostile_pool(hostile_child: str) -> AsyncIterator[DecoderPool]:
    """One such child."""
    pool = DecoderPool(FORM, 1, timeout_s=0.5, module=hostile_child)
    await pool.warm()
    yield pool
    pool.close()


DEATHS = {
    b"abort": "decoder-crashed",
    b"segfault": "decoder-crashed",
    b"out of memory": "decoder-crashed",
    b"exit": "decoder-crashed",
    b"garbage": "decoder-crashed",
    b"endless": "decoder-crashed",
    b"lie": "decoder-crashed",
    b"hang": "decoder-timeout",
    b"half": "decoder-timeout",
    b"spin": "decoder-timeout",
}


@pytest.mark.parametrize("raw", DEATHS)
async def test_a_child_that_dies_or_hangs_or_lies_costs_its_picture(hostile_pool: DecoderPool, raw: bytes) -> None:
    with pytest.raises(UndecodableImage) as refused:
        await hostile_pool.decode(raw)
    assert refused.value.code == DEATHS[raw]
    assert (await hostile_pool.decode(png())).width == 30
    assert len(hostile_pool.pids) == 1


async def test_a_child_that_was_killed_while_idle_costs_no_picture(pool: DecoderPool) -> None:
    await pool.warm()
    for _ in range(3):
        for pid in pool.pids:
            os.kill(pid, signal.SIGKILL)
        assert (await pool.decode(png())).width == 30


async def test_what_tells_the_whole_process_group_to_end_ends_no_child(pool: DecoderPool) -> None:
    await pool.warm()
    before = sorted(pool.pids)
    for pid in before:
        for told in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, told)
    for _ in before:
        assert (await pool.decode(png())).width == 30
    await pool.warm()
    assert sorted(pool.pids) == before


OWNER = """
import asyncio
from processors.encoders.encoder import PictureForm
from processors.pictures.decoder_pool import DecoderPool

async def main():
    pool = DecoderPool(PictureForm(16), 2)
    await pool.warm()
    print(*pool.pids, flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


def test_no_child_outlives_a_parent_that_was_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        children = [psutil.Process(int(pid)) for pid in owner.stdout.readline().split()]
        owner.kill()
    assert len(children) == 2
    _, alive = psutil.wait_procs(children, timeout=60)
    assert all(child.status() == psutil.STATUS_ZOMBIE for child in alive)


async def test_a_child_that_ran_out_of_memory_is_replaced(hostile_pool: DecoderPool) -> None:
    before = hostile_pool.pids
    with pytest.raises(ImageTooLarge):
        await hostile_pool.decode(b"greed")
    assert (await hostile_pool.decode(png())).width == 30
    assert hostile_pool.pids != before


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def test_a_child_knows_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    pool = DecoderPool(FORM, 1)
    try:
        await pool.decode(png())
        (pid,) = pool.pids
        environment = environment_of(pid)
    finally:
        pool.close()
    assert b"OMP_NUM_THREADS=1" in environment
    assert b"secret" not in environment


BOMBS = [*hostile.NOT_PICTURES.values(), *hostile.TRUNCATED.values(), *hostile.TOO_LARGE.values()]


async def test_no_hostile_picture_ends_a_child_or_takes_its_memory(pool: DecoderPool) -> None:
    await pool.warm()
    before = sorted(pool.pids)
    for make in BOMBS:
        with pytest.raises((UndecodableImage, ImageTooLarge)) as refused:
            await pool.decode(make(), thumbnail_sizes=THUMBNAIL_SIZES)
        assert refused.value.code in ("undecodable-image", "image-too-large")
    assert sorted(pool.pids) == before
    assert max(map(peak_bytes, before)) < 256 * 1024**2


async def test_the_largest_picture_that_is_allowed_fits_into_memory(pool: DecoderPool) -> None:
    raw = hostile.saved(Image.new("RGBA", (7_000, 7_000), (200, 0, 0, 255)), "PNG", compress_level=1)
    assert (await pool.decode(raw, thumbnail_sizes=THUMBNAIL_SIZES)).width == 7_000
    assert max(map(peak_bytes, pool.pids)) < MEMORY_BYTES_MAX


async def test_a_picture_that_takes_too_long_costs_only_itself() -> None:
    pool = DecoderPool(FORM, 1, timeout_s=0.3)
    try:
        with pytest.raises(UndecodableImage) as refused:
            await pool.decode(hostile.jpeg_of_scans(6_000, 2_000))
        assert refused.value.code == "decoder-timeout"
        assert (await pool.decode(png())).width == 30
    finally:
        pool.close()


async def test_key_frames_come_as_the_function_gives_them(pool: DecoderPool) -> None:
    raw = videos.video(videos.scenes([1, 2]))
    theirs = await pool.key_frames(raw, frames_max=4, thumbnail_sizes=THUMBNAIL_SIZES)
    ours = key_frames(raw, FORM, DecodeLimits(), VideoLimits(), frames_max=4, thumbnail_sizes=THUMBNAIL_SIZES)
    assert [frame.timestamp_ms for frame in theirs] == [frame.timestamp_ms for frame in ours]
    assert [frame.jpeg for frame in theirs] == [frame.jpeg for frame in ours]
    assert [frame.decoded.phash for frame in theirs] == [frame.decoded.phash for frame in ours]
    for one, other in zip(theirs, ours, strict=True):
        assert np.array_equal(one.decoded.pixels, other.decoded.pixels)


async def test_a_picture_waits_for_no_more_videos_than_half_of_the_children_have(
    hostile_child: str, tmp_path: Path
) -> None:
    pool, done = DecoderPool(FORM, 2, module=hostile_child), tmp_path / "done"
    try:
        await pool.warm()
        clips = [asyncio.create_task(pool.key_frames(bytes(done), frames_max=4)) for _ in range(4)]
        await asyncio.sleep(0)
        assert (await asyncio.wait_for(pool.decode(png()), 60)).width == 30
        assert not any(clip.done() for clip in clips)
        done.touch()
        outcomes = await asyncio.gather(*clips, return_exceptions=True)
    finally:
        pool.close()
    assert {type(outcome) for outcome in outcomes} == {UndecodableImage}, "nothing is in them"


@pytest.mark.parametrize("name", hostile.NOT_VIDEOS)
async def test_what_is_no_video_is_refused_with_a_code(pool: DecoderPool, name: str) -> None:
    with pytest.raises(UndecodableImage) as refused:
        await pool.key_frames(hostile.NOT_VIDEOS[name](), frames_max=4)
    assert refused.value.code == "undecodable-video"


async def test_a_caller_that_gives_up_leaves_the_pool_usable(pool: DecoderPool) -> None:
    tasks = [asyncio.create_task(pool.decode(png())) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(getattr(outcome, "width", 0) == 30 for outcome in outcomes[1::2])
    assert (await pool.decode(png())).width == 30


def test_a_child_imports_no_torch() -> None:
    program = "import sys, processors.pictures.decoder_worker; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, env=dict(os.environ))

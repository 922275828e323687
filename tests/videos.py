"""Little videos, made by PyAV when a test needs one."""

import io
from collections.abc import Sequence
from functools import cache

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

Shown = npt.NDArray[np.uint8]

CODECS = {
    "mp4": "libx264",
    "mov": "mpeg4",
    "webm": "libvpx",
    "matroska": "libvpx-vp9",
    "avi": "mjpeg",
    "mpegts": "mpeg2video",
}
"""A codec for each container that is read."""


@cache
def scene(number: int, width: int = 160, height: int = 96) -> Shown:
    """(height, width, 3): the same blots for the same number."""
    blots = np.random.default_rng(number).integers(0, 255, (6, 10, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blots).resize((width, height), Image.Resampling.BICUBIC))


def blurred(shown: Shown) -> Shown:
    """As a camera that moves sees it."""
    height, width, _ = shown.shape
    small = Image.fromarray(shown).resize((max(1, width // 12), max(1, height // 12)))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def video(frames: Sequence[Shown], container: str = "mp4", *, codec: str = "", rate: int = 10) -> bytes:
    """The frames as a video of one stream."""
    buffer = io.BytesIO()
    codec = codec or CODECS[container]
    with av.open(buffer, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return buffer.getvalue()


def scenes(numbers: Sequence[int], *, each: int = 10, width: int = 160, height: int = 96) -> list[Shown]:
    """``each`` frames of every scene, of which only the one in the middle is sharp."""
    return [
        scene(number, width, height) if place == each // 2 else blurred(scene(number, width, height))
        for number in numbers
        for place in range(each)
    ]


def sound(seconds: int = 1) -> bytes:
    """An MP4 without a picture."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=44_100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44_100 * seconds), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return buffer.getvalue()

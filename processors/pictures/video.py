"""Key frames of a video: of its longest scenes the sharpest frame each. Only ever reads the bytes it is given."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from processors.encoders.encoder import PictureForm
from processors.pictures.decode import Decoded, DecodeLimits, described
from schemas.errors import ImageTooLarge, UndecodableImage

FRAME_SIDE_MAX = 1024
"""Longest side of a frame that is kept, in pixels."""
_FORMAT_OF = {b"\x1aE\xdf\xa3": "matroska", b"OggS": "ogg", b"\x00\x00\x01\xba": "mpeg"}
_MOV_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "theora", "prores")
_DECODERS = (*_CODECS, "libdav1d", "libvpx", "libvpx-vp9")
_SAMPLES = 64
_STEP_S_MIN = 0.2
_ALL_FRAMES_S_MAX = 20.0
"""Of a longer video only the frames that stand for themselves are decoded: a thirtieth of the work."""
_SCENES_MAX = 32
_SCENE_CHANGE = 0.1
_BLANK = 0.02
_BROKEN_PACKETS_MAX = 32
_JPEG_QUALITY = 90

Grey = npt.NDArray[np.float32]


class VideoLimits(msgspec.Struct, frozen=True):
    """What is refused before any frame is decoded; a video may have as many bytes as a picture.

    Attributes:
        pixels_max: of one frame; a decoder keeps up to 17 of them.
        streams_max: video, audio and subtitles together.
    """

    duration_s_max: float = 600.0
    pixels_max: int = 4096 * 2304
    streams_max: int = 16


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """One frame as a picture: ``timestamp_ms`` from the start; ``jpeg``: itself, at most FRAME_SIDE_MAX wide."""

    decoded: Decoded
    timestamp_ms: int
    jpeg: bytes


@dataclass(slots=True, eq=False)  # arrays compare to arrays, and a scene is only ever itself
class _Scene:
    """Samples that look alike, and the sharpest of them."""

    first: Grey
    samples: int = 0
    sharpness: float = -1.0
    contrast: float = 0.0
    time_s: float = 0.0
    image: Image.Image | None = None
    size: tuple[int, int] = (0, 0)


def key_frames(
    raw: bytes,
    form: PictureForm,
    limits: DecodeLimits,
    video: VideoLimits,
    *,
    frames_max: int,
    thumbnail_sizes: Sequence[int] = (),
) -> list[KeyFrame]:
    """At most ``frames_max`` frames in the order of time, each the sharpest of a scene: MP4, QuickTime, WebM, AVI, TS.

    A video that breaks off gives the frames before.

    Raises:
        UndecodableImage: ``undecodable-video``: of no kind we read, without a picture, or broken. Dead-letter it.
        ImageTooLarge: more bytes, pixels, streams or seconds than the limits allow. Dead-letter it.
    """
    if len(raw) > limits.image_bytes_max:
        raise ImageTooLarge(f"the video has {len(raw)} bytes, at most {limits.image_bytes_max} are allowed")
    scenes = _scenes(raw, video)
    shown = [scene for scene in scenes if scene.contrast >= _BLANK] or scenes
    if not shown:
        raise _broken("no frame of it can be decoded")
    shown.sort(key=lambda scene: (-scene.samples, -scene.sharpness))
    chosen = sorted(shown[:frames_max], key=lambda scene: scene.time_s)
    return [_key_frame(scene, form, thumbnail_sizes) for scene in chosen]


def _scenes(raw: bytes, video: VideoLimits) -> list[_Scene]:
    import av  # 50 MB, which a child that sees no video is spared

    options = {
        # Nothing but the bytes at hand: no playlist, no reference to another file, no protocol.
        "protocol_whitelist": "none",
        "codec_whitelist": ",".join(_DECODERS),
        "max_streams": str(video.streams_max),
    }
    try:
        with av.open(io.BytesIO(raw), format=_format_of(raw), container_options=options, io_open=_refuse) as container:
            stream = _stream(container, video)
            return _split(_samples(container, stream, video))
    except MemoryError as error:
        raise ImageTooLarge("the video does not fit into memory, or has too many streams") from error
    except av.FFmpegError as error:
        raise _broken(f"{type(error).__name__}: {error}") from error


def _refuse(url: str, flags: int, options: dict[str, str]) -> Any:  # noqa: ARG001 - PyAV's signature
    raise OSError("a video may not open anything else")


def _broken(reason: str) -> UndecodableImage:
    return UndecodableImage(f"the video is broken: {reason}", code="undecodable-video")


def _format_of(raw: bytes) -> str:
    """The container by its first bytes; FFmpeg never guesses, since it knows formats that open other files."""
    if raw[4:8] in _MOV_ATOMS:
        return "mov"
    if raw[:4] == b"RIFF" and raw[8:12] == b"AVI ":
        return "avi"
    if raw[:1] == b"\x47" and raw[188:189] == b"\x47":
        return "mpegts"
    found = _FORMAT_OF.get(raw[:4])
    if found is None:
        raise UndecodableImage("the bytes are no video of a kind we read (MP4, WebM, AVI, …)", code="undecodable-video")
    return found


def _stream(container: Any, video: VideoLimits) -> Any:
    """The first picture stream, set up so that it decodes in this thread and no frame beyond the limits."""
    if len(container.streams) > video.streams_max:
        raise ImageTooLarge(f"the video has {len(container.streams)} streams, at most {video.streams_max} are allowed")
    stream = next(iter(container.streams.video), None)
    if stream is None:
        raise _broken("it has no picture stream")
    context = stream.codec_context
    if context.codec.canonical_name not in _CODECS:
        raise _broken(f"its codec {context.codec.canonical_name} is none that we read")
    _check_pixels(context.width, context.height, video)
    duration_s = container.duration / 1e6 if container.duration else 0.0
    if duration_s > video.duration_s_max:
        raise ImageTooLarge(f"the video lasts {duration_s:.0f} s, at most {video.duration_s_max:.0f} are allowed")
    context.thread_type, context.thread_count = "NONE", 1
    context.options = {"max_pixels": str(video.pixels_max)}
    if duration_s > _ALL_FRAMES_S_MAX:
        context.skip_frame = "NONKEY"
    return stream


def _check_pixels(width: int, height: int, video: VideoLimits) -> None:
    if width * height > video.pixels_max:
        raise ImageTooLarge(f"the video has {width} x {height} pixels, at most {video.pixels_max} are allowed")


def _samples(container: Any, stream: Any, video: VideoLimits) -> Iterator[tuple[float, Any]]:
    """Frames with their seconds, some time apart."""
    duration_s = container.duration / 1e6 if container.duration else 0.0
    step_s = max(_STEP_S_MIN, duration_s / _SAMPLES)
    due_s, first_s = 0.0, None
    for frame in _decoded(container, stream):
        at_s = float(frame.time or 0.0)
        first_s = at_s if first_s is None else first_s
        at_s -= first_s
        if at_s > video.duration_s_max:
            return
        if at_s >= due_s and not frame.is_corrupt:
            _check_pixels(frame.width, frame.height, video)
            due_s = at_s + step_s
            yield at_s, frame


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Every frame that can be decoded; a stream that breaks off ends there."""
    import av

    broken = 0
    packets = container.demux(stream)
    while broken <= _BROKEN_PACKETS_MAX:
        try:
            packet = next(packets)
            frames = packet.decode()
        except StopIteration:
            return
        except av.FFmpegError:
            broken += 1
            continue
        yield from frames


def _split(samples: Iterator[tuple[float, Any]]) -> list[_Scene]:
    """Scenes in the order of time. One begins where a sample differs from the first of the scene before."""
    scenes: list[_Scene] = []
    for time_s, frame in samples:
        grey: Grey = frame.reformat(width=256, height=256, format="gray").to_ndarray().astype(np.float32) / 255
        small: Grey = grey.reshape(32, 8, 32, 8).mean((1, 3))
        if not scenes or float(np.abs(small - scenes[-1].first).mean()) > _SCENE_CHANGE:
            scenes.append(_Scene(small))
            if len(scenes) > _SCENES_MAX:
                scenes.remove(min(scenes[:-1], key=lambda scene: (scene.samples, scene.sharpness)))
        _look(scenes[-1], grey, time_s, frame)
    return scenes


def _look(scene: _Scene, grey: Grey, time_s: float, frame: Any) -> None:
    """Count a sample in, and keep it if it is the sharpest so far."""
    scene.samples += 1
    sharpness = float(np.diff(grey, axis=0).var() + np.diff(grey, axis=1).var())
    if sharpness > scene.sharpness:
        scene.sharpness, scene.contrast, scene.time_s = sharpness, float(grey.std()), time_s
        scene.image, scene.size = _image(frame)


def _image(frame: Any) -> tuple[Image.Image, tuple[int, int]]:
    """The frame upright in mode RGB, at most FRAME_SIDE_MAX long, and the size that it has itself."""
    share = min(1.0, FRAME_SIDE_MAX / max(frame.width, frame.height))
    width, height = (max(1, round(side * share)) for side in (frame.width, frame.height))
    image = Image.fromarray(frame.reformat(width=width, height=height, format="rgb24").to_ndarray())
    turn = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}.get(
        round(frame.rotation) % 360
    )
    if turn is None:
        return image, (frame.width, frame.height)
    turned = image.transpose(turn)
    size = (frame.height, frame.width) if turn is not Image.Transpose.ROTATE_180 else (frame.width, frame.height)
    return turned, size


def _key_frame(scene: _Scene, form: PictureForm, thumbnail_sizes: Sequence[int]) -> KeyFrame:
    assert scene.image is not None
    buffer = io.BytesIO()
    scene.image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    decoded = described(scene.image, scene.size, form, thumbnail_sizes=thumbnail_sizes)
    return KeyFrame(decoded, round(scene.time_s * 1000), buffer.getvalue())

"""What the parent of a decoder and its child say to each other: MessagePack behind its length, over a socket.

MessagePack rather than pickle: a decoder that was taken over must not be able to run code in its parent.
"""

import socket
from time import monotonic

import msgspec

from processors.encoders.encoder import PictureForm
from processors.pictures.decode import Crop, DecodeLimits, Quality
from processors.pictures.video import VideoLimits

_LENGTH_BYTES = 4
_CHUNK = 1 << 20


class Start(msgspec.Struct, frozen=True):
    """What a child is started with. The times are of processor time, for one picture and for one video."""

    form: PictureForm
    limits: DecodeLimits
    memory_bytes_max: int
    timeout_s: float
    video: VideoLimits = VideoLimits()
    video_timeout_s: float = 20.0


class Job(msgspec.Struct, frozen=True):
    """One picture to decode, or at most ``frames_max`` key frames of one video."""

    raw: bytes
    crop: Crop | None
    thumbnail_sizes: tuple[int, ...]
    frames_max: int = 0
    """0: it is a picture."""


class Described(msgspec.Struct, frozen=True):
    """One picture, or one frame with its time and itself as a JPEG."""

    pixels: bytes
    width: int
    height: int
    phash: bytes
    quality: Quality
    thumbnails: dict[int, bytes]
    whole_phash: bytes
    timestamp_ms: int = 0
    jpeg: bytes = b""


class Answer(msgspec.Struct, frozen=True):
    """What became of a job: ``code`` empty and the pictures, or an error's code and message.

    ``ends``: the child ends after this answer, since its memory may be in pieces.
    """

    code: str = ""
    message: str = ""
    pictures: tuple[Described, ...] = ()
    ends: bool = False


def send(connection: socket.socket, message: msgspec.Struct, deadline: float | None = None) -> None:
    """Write one message; raises OSError, and TimeoutError at the deadline (of the monotonic clock)."""
    raw = msgspec.msgpack.encode(message)
    connection.settimeout(_left(deadline))
    connection.sendall(len(raw).to_bytes(_LENGTH_BYTES, "big"))
    connection.sendall(raw)


def receive(connection: socket.socket, bytes_max: int, deadline: float | None = None) -> bytes:
    """Read one message.

    Raises:
        EOFError: the other side is gone.
        OSError: also for more than ``bytes_max``, and TimeoutError at the deadline, however slowly bytes trickle in.
    """
    length = int.from_bytes(_read(connection, _LENGTH_BYTES, deadline), "big")
    if length > bytes_max:
        raise OSError(f"a message of {length} bytes: at most {bytes_max} are expected")
    return bytes(_read(connection, length, deadline))


def _read(connection: socket.socket, length: int, deadline: float | None) -> bytearray:
    raw = bytearray(length)
    place = 0
    with memoryview(raw) as view:
        while place < length:
            connection.settimeout(_left(deadline))
            count = connection.recv_into(view[place : place + _CHUNK])
            if count == 0:
                raise EOFError
            place += count
    return raw


def _left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left

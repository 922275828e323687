"""The child process of a DecoderPool: one picture at a time, within limits of memory and time. Imports no torch."""

import resource
import signal
import sys
from multiprocessing.connection import Connection

import msgspec
from PIL import Image

from processors.decode import Crop, Decoded, DecodeLimits, Quality, decode, perceptual_hash
from processors.encoder import PictureForm
from schemas.errors import FreshlensError, ImageTooLarge, UndecodableImage


class Job(msgspec.Struct, frozen=True):
    """One picture to decode."""

    raw: bytes
    crop: Crop | None
    thumbnail_sizes: tuple[int, ...]


class Answer(msgspec.Struct, frozen=True):
    """What became of a job: ``code`` empty and the picture, or an error's code and message.

    MessagePack rather than pickle: a decoder that was taken over must not be able to run code in its parent.
    """

    code: str = ""
    message: str = ""
    pixels: bytes = b""
    width: int = 0
    height: int = 0
    phash: bytes = b""
    quality: Quality | None = None
    thumbnails: dict[int, bytes] = {}


class Start(msgspec.Struct, frozen=True):
    """What a child is started with."""

    form: PictureForm
    limits: DecodeLimits
    memory_bytes_max: int
    timeout_s: float
    """Of processor time for one picture."""


def answer(job: Job, start: Start) -> Answer:
    """Decode one job; never raises for what a picture can cause."""
    try:
        decoded = decode(job.raw, start.form, start.limits, crop=job.crop, thumbnail_sizes=job.thumbnail_sizes)
    except MemoryError:
        return Answer(ImageTooLarge.code, "the picture does not fit into memory")
    except FreshlensError as error:
        return Answer(error.code, error.message)
    except Exception as error:
        return Answer(UndecodableImage.code, f"the picture is broken: {type(error).__name__}: {error}")
    return _answer_of(decoded)


def _answer_of(decoded: Decoded) -> Answer:
    return Answer(
        pixels=decoded.pixels.tobytes(),
        width=decoded.width,
        height=decoded.height,
        phash=decoded.phash,
        quality=decoded.quality,
        thumbnails=decoded.thumbnails,
    )


def main() -> None:
    """Answer jobs until the parent closes its end. Arguments: file descriptor, Start as JSON."""
    connection = Connection(int(sys.argv[1]))
    start = msgspec.json.decode(sys.argv[2], type=Start)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes the connection
    resource.setrlimit(resource.RLIMIT_AS, (start.memory_bytes_max, start.memory_bytes_max))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    decoder = msgspec.msgpack.Decoder(Job)
    perceptual_hash(Image.new("RGB", (8, 8)))  # it imports much at its first call: not at the expense of a picture
    while True:
        try:
            job = decoder.decode(connection.recv_bytes())
        except EOFError:
            return
        # Processor time, so that a busy machine costs no good picture: beyond it SIGPROF ends this process.
        signal.setitimer(signal.ITIMER_PROF, start.timeout_s)
        reply = msgspec.msgpack.encode(answer(job, start))
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send_bytes(reply)


if __name__ == "__main__":
    main()

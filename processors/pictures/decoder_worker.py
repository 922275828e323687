"""The child process of a DecoderPool: one picture at a time, within limits of memory and time. Imports no torch."""

import os
import resource
import signal
import socket
import sys

import cv2
import msgspec

from processors.pictures.decode import Decoded, decode
from processors.pictures.decoder_wire import Answer, Described, Job, Start, receive, send
from processors.pictures.video import key_frames
from schemas.errors import FreshlensError, ImageTooLarge, UndecodableImage

_JOB_BYTES_MAX = 2**32 - 1


def answer(job: Job, start: Start) -> Answer:
    """Do one job; never raises for what a picture can cause."""
    try:
        return Answer(pictures=_pictures(job, start))
    except MemoryError:
        return Answer(ImageTooLarge.code, "the picture does not fit into memory", ends=True)
    except FreshlensError as error:
        return Answer(error.code, error.message, ends=isinstance(error.__cause__, MemoryError))
    except Exception as error:
        return Answer(UndecodableImage.code, f"the picture is broken: {type(error).__name__}: {error}")


def _pictures(job: Job, start: Start) -> tuple[Described, ...]:
    if not job.frames_max:
        decoded = decode(job.raw, start.form, start.limits, crop=job.crop, thumbnail_sizes=job.thumbnail_sizes)
        return (_described(decoded),)
    found = key_frames(
        job.raw,
        start.form,
        start.limits,
        start.video,
        frames_max=job.frames_max,
        thumbnail_sizes=job.thumbnail_sizes,
    )
    return tuple(_described(frame.decoded, frame.timestamp_ms, frame.jpeg) for frame in found)


def _described(decoded: Decoded, timestamp_ms: int = 0, jpeg: bytes = b"") -> Described:
    return Described(
        pixels=decoded.pixels.tobytes(),
        width=decoded.width,
        height=decoded.height,
        phash=decoded.phash,
        quality=decoded.quality,
        thumbnails=decoded.thumbnails,
        whole_phash=decoded.whole_phash,
        timestamp_ms=timestamp_ms,
        jpeg=jpeg,
    )


def main() -> None:
    """Answer jobs until the parent closes its end. Arguments: file descriptor, Start as JSON."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    start = msgspec.json.decode(sys.argv[2], type=Start)
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)  # for the parent, which may finish its work, and whose end is ours
    resource.setrlimit(resource.RLIMIT_AS, (start.memory_bytes_max, start.memory_bytes_max))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    decoder = msgspec.msgpack.Decoder(Job)
    cv2.setNumThreads(1)  # a child has one processor's time
    _be_quiet()
    while True:
        try:
            job = decoder.decode(receive(connection, _JOB_BYTES_MAX))
        except EOFError:
            return
        # Processor time, so that a busy machine costs no good picture: beyond it SIGPROF ends this process.
        signal.setitimer(signal.ITIMER_PROF, start.video_timeout_s if job.frames_max else start.timeout_s)
        reply = answer(job, start)
        signal.setitimer(signal.ITIMER_PROF, 0)
        send(connection, reply)
        if reply.ends:
            return


def _be_quiet() -> None:
    """From here on libraries complain to nobody: what they say is about pictures, and strangers could fill our logs."""
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 2)


if __name__ == "__main__":
    main()

"""The child process of a Verifier: OpenCV works here, within limits of memory and time, and nowhere else."""

import resource
import signal
import sys
from multiprocessing.connection import Connection

import cv2
import msgspec

from processors.encoders.encoder import PictureForm
from processors.pictures.decode import Crop, decode
from query_api.ranking.geometry import Grey, grey_of, inliers, local_features

SIDE = 512
"""Longest side of what is compared: that of the largest thumbnail."""
_MEMORY_BYTES_MAX = 2 * 1024**3
_FORM = PictureForm(size=32)


class Job(msgspec.Struct, frozen=True):
    """A query's picture (as it came, or a thumbnail of ours) and the thumbnails to compare it with."""

    query: bytes
    crop: tuple[float, float, float, float] | None
    candidates: tuple[bytes, ...]


def counts(job: Job) -> tuple[int, ...]:
    """The inliers of each candidate; all 0 for a query that is no picture."""
    try:
        picture = _query(job)
    except Exception:  # the encoder has said already what is wrong with it
        return (0,) * len(job.candidates)
    asked = local_features(picture) if picture is not None else None
    greys = [grey_of(raw) for raw in job.candidates]
    return tuple(inliers(asked, local_features(grey)) if asked and grey is not None else 0 for grey in greys)


def _query(job: Job) -> Grey | None:
    crop = None if job.crop is None else Crop(*job.crop)
    return grey_of(decode(job.query, _FORM, crop=crop, thumbnail_sizes=(SIDE,)).thumbnails[SIDE])


def main() -> None:
    """Answer jobs until the parent closes its end. Argument: file descriptor."""
    connection = Connection(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES_MAX, _MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    cv2.setNumThreads(1)
    decoder = msgspec.msgpack.Decoder(Job)
    while True:
        try:
            job = decoder.decode(connection.recv_bytes())
        except EOFError:
            return
        connection.send_bytes(msgspec.msgpack.encode(counts(job)))


if __name__ == "__main__":
    main()

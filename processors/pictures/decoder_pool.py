"""Decoding in child processes: a decoder that crashes or hangs costs its picture, nothing else (HOLES 19)."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import msgspec
import numpy as np

from processors.encoders.encoder import PictureForm
from processors.pictures.decode import PHASH_BYTES, Crop, Decoded, DecodeLimits
from processors.pictures.decoder_wire import Answer, Described, Job, Start, receive, send
from processors.pictures.video import KeyFrame, VideoLimits
from schemas.errors import ImageTooLarge, UndecodableImage

MEMORY_BYTES_MAX = 2 * 1024**3
"""Address space of a child: the libraries take a quarter, a picture of 50 million pixels the rest."""
TIMEOUT_S = 5.0
"""Processor time for one picture; a photo of 12 million pixels takes 0.02 s, the largest allowed about one."""
VIDEO_TIMEOUT_S = 20.0
"""Processor time for one video; fifteen seconds of full HD take about two."""
_ANSWER_BYTES_MAX = 64 * 1024 * 1024
_PATIENCE = 6
_IMPORTS_S = 60.0
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
"""What a child needs of our environment. The rest has passwords in it, and a child reads what strangers sent."""


class DecoderPool:
    """``workers`` child processes that decode pictures into one form.

    They are spawned, never forked, and import no torch: 60 MB each. Close the pool at the end.
    """

    def __init__(
        self,
        form: PictureForm,
        workers: int,
        *,
        limits: DecodeLimits = DecodeLimits(),  # noqa: B008  # frozen
        memory_bytes_max: int = MEMORY_BYTES_MAX,
        timeout_s: float = TIMEOUT_S,
        video: VideoLimits = VideoLimits(),  # noqa: B008  # frozen
        video_timeout_s: float = VIDEO_TIMEOUT_S,
        module: str = "processors.pictures.decoder_worker",
    ) -> None:
        assert workers >= 1, workers
        self._start = Start(form, limits, memory_bytes_max, timeout_s, video, video_timeout_s)
        self._module = module
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decoder")
        # As many as there are threads, so that a thread always finds one.
        self._idle: list[_Child | None] = [None] * workers
        self._children: set[_Child] = set()
        self._is_closed = False
        # A video takes as long as hundreds of pictures, which must not wait behind all the videos there are.
        self._videos = asyncio.Semaphore(max(1, workers // 2))

    async def decode(self, raw: bytes, *, crop: Crop | None = None, thumbnail_sizes: Sequence[int] = ()) -> Decoded:
        """Decode one picture as :func:`processors.pictures.decode.decode` does, waiting for a free child.

        Raises:
            UndecodableImage, ImageTooLarge: as there; also ``decoder-crashed`` and ``decoder-timeout``.
        """
        pictures = await self._answered(Job(raw, crop, tuple(thumbnail_sizes)))
        return _decoded(pictures[0], self._start.form.size)

    async def key_frames(self, raw: bytes, *, frames_max: int, thumbnail_sizes: Sequence[int] = ()) -> list[KeyFrame]:
        """At most ``frames_max`` frames of a video, as :func:`processors.pictures.video.key_frames` chooses them.

        Raises:
            UndecodableImage, ImageTooLarge: as there; also ``decoder-crashed`` and ``decoder-timeout``.
        """
        assert frames_max >= 1, frames_max
        async with self._videos:
            frames = await self._answered(Job(raw, None, tuple(thumbnail_sizes), frames_max))
        size = self._start.form.size
        return [KeyFrame(_decoded(frame, size), frame.timestamp_ms, frame.jpeg) for frame in frames]

    async def _answered(self, job: Job) -> tuple[Described, ...]:
        if len(job.raw) > self._start.limits.image_bytes_max:
            raise ImageTooLarge(f"the picture has {len(job.raw)} bytes: too many")
        # A thread goes from one job to the next without the event loop, which has other things to do. One whose caller
        # gave up is done all the same: half an answer must not stay in the pipe.
        return _pictures(await asyncio.get_running_loop().run_in_executor(self._threads, self._asked, job))

    @property
    def pids(self) -> list[int]:
        """The processes that run now."""
        return [child.pid for child in list(self._children)]

    async def warm(self) -> None:
        """Start every child now rather than at its first picture; returns when they can work."""
        loop, nothing, idle = asyncio.get_running_loop(), Job(b"", None, ()), len(self._idle)
        # The longest idle first, so that each has its turn.
        await asyncio.gather(*(loop.run_in_executor(self._threads, self._asked, nothing, 0) for _ in range(idle)))

    def close(self) -> None:
        """End the children."""
        self._is_closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in list(self._children):
            child.close()

    def _started(self, child: "_Child | None") -> "_Child":
        if child is None:
            child = _Child(self._module, self._start)
            self._children.add(child)
            if self._is_closed:
                child.close()  # it came too late to be ended with the others
        return child

    def _asked(self, job: Job, place: int = -1) -> Answer:
        child = self._idle.pop(place)
        try:
            child, answer = self._ask(child, job)
            if answer is _CRASHED and not self._is_closed:
                # It may have ended before, or by another's hand: a picture that ends a second child did it itself.
                child, answer = self._ask(child, job)
        finally:
            self._idle.append(child)
        return answer

    def _ask(self, child: "_Child | None", job: Job) -> "tuple[_Child | None, Answer]":
        child = self._started(child)
        answer = child.ask(job)
        if not answer.ends:
            return child, answer
        self._children.discard(child)
        child.close()
        return None, answer


class _Child:
    """One child process and our end of the connection to it."""

    def __init__(self, module: str, start: Start) -> None:
        self._connection, theirs = socket.socketpair()
        kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno()), msgspec.json.encode(start).decode()],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # BLAS reserves address space per thread, and one picture needs one.
                env={**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        self.pid = self._process.pid
        self._start = start
        self._is_new = True

    def ask(self, job: Job) -> Answer:
        """What the child says, or why it said nothing; it is of no more use where the answer ``ends`` it."""
        # The child ends itself at its limit of processor time. By the clock it gets more: the machine may be busy,
        # and before its first picture come its imports.
        limit_s = self._start.video_timeout_s if job.frames_max else self._start.timeout_s
        deadline = monotonic() + _PATIENCE * limit_s + (_IMPORTS_S if self._is_new else 0.0)
        self._is_new = False
        try:
            send(self._connection, job, deadline)
            return msgspec.msgpack.decode(receive(self._connection, _ANSWER_BYTES_MAX, deadline), type=Answer)
        except TimeoutError:
            return _TIMEOUT
        except (EOFError, OSError, msgspec.DecodeError):
            return _TIMEOUT if self._ended_by() == -signal.SIGPROF else _CRASHED

    def _ended_by(self) -> int | None:
        try:
            return self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()


_CRASHED = Answer("decoder-crashed", "the decoder crashed on this picture, twice", ends=True)
_TIMEOUT = Answer("decoder-timeout", "the decoder took too long for this picture", ends=True)


def _pictures(answer: Answer) -> tuple[Described, ...]:
    if answer.code == ImageTooLarge.code:
        raise ImageTooLarge(answer.message)
    if answer.code in UndecodableImage.codes:
        raise UndecodableImage(answer.message, code=answer.code)
    if answer.code or not answer.pictures:
        raise UndecodableImage(answer.message or "the decoder gave no picture")
    return answer.pictures


def _decoded(picture: Described, size: int) -> Decoded:
    """A picture as the encoder takes it; what a child that was taken over sends instead is refused."""
    if len(picture.pixels) != 3 * size * size or len(picture.phash) != PHASH_BYTES:
        raise UndecodableImage(_CRASHED.message, code=_CRASHED.code)
    return Decoded(
        pixels=np.frombuffer(picture.pixels, dtype=np.uint8).reshape(size, size, 3),
        width=picture.width,
        height=picture.height,
        phash=picture.phash,
        quality=picture.quality,
        thumbnails=picture.thumbnails,
        whole_phash=picture.whole_phash,
    )

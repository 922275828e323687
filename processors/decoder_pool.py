"""Decoding in child processes: a decoder that crashes or hangs costs its picture, nothing else (HOLES 19)."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

import msgspec
import numpy as np

from processors.decode import Crop, Decoded, DecodeLimits
from processors.decoder_worker import Answer, Job, Start
from processors.encoder import PictureForm
from schemas.errors import ImageTooLarge, InvalidRecord, UndecodableImage

MEMORY_BYTES_MAX = 2 * 1024**3
"""Address space of a child: the libraries take a quarter, a picture of 50 million pixels the rest."""
TIMEOUT_S = 5.0
"""Processor time for one picture; a photo of 12 million pixels takes 0.02 s, the largest allowed about one."""
_PATIENCE = 6
_IMPORTS_S = 60.0


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
        module: str = "processors.decoder_worker",
    ) -> None:
        assert workers >= 1, workers
        self._start = Start(form, limits, memory_bytes_max, timeout_s)
        self._module = module
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decoder")
        self._idle: asyncio.LifoQueue[_Child | None] = asyncio.LifoQueue()
        for _ in range(workers):
            self._idle.put_nowait(None)
        self._children: set[_Child] = set()

    async def decode(self, raw: bytes, *, crop: Crop | None = None, thumbnail_sizes: Sequence[int] = ()) -> Decoded:
        """Decode one picture as :func:`processors.decode.decode` does, waiting for a free child.

        Raises:
            UndecodableImage, ImageTooLarge: as there; also ``decoder-crashed`` and ``decoder-timeout``.
        """
        if len(raw) > self._start.limits.image_bytes_max:
            raise ImageTooLarge(f"the picture has {len(raw)} bytes: too many")
        job = Job(raw, crop, tuple(thumbnail_sizes))
        child = await self._idle.get()
        try:
            # Shielded: a caller that gives up must not leave half an answer in the pipe.
            asking = asyncio.get_running_loop().run_in_executor(self._threads, self._ask, child, job)
            child, answer = await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(lambda done: self._idle.put_nowait(done.result()[0]))
            raise
        self._idle.put_nowait(child)
        return _decoded(answer, self._start.form.size)

    async def warm(self) -> None:
        """Start every child now rather than at its first picture; returns when they can work."""
        children = [await self._idle.get() for _ in range(self._idle.qsize())]
        loop, nothing = asyncio.get_running_loop(), Job(b"", None, ())
        asking = [loop.run_in_executor(self._threads, self._ask, child, nothing) for child in children]
        for child, _ in await asyncio.gather(*asking):
            self._idle.put_nowait(child)

    def close(self) -> None:
        """End the children."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in list(self._children):
            child.close()

    def _started(self, child: "_Child | None") -> "_Child":
        if child is None:
            child = _Child(self._module, self._start)
            self._children.add(child)
        return child

    def _ask(self, child: "_Child | None", job: Job) -> "tuple[_Child | None, Answer]":
        child = self._started(child)
        reply = child.ask(job)
        if isinstance(reply, Answer):
            return child, reply
        self._children.discard(child)
        child.close()
        return None, Answer(code=reply, message=_REASONS[reply])


_REASONS = {
    "decoder-crashed": "the decoder crashed on this picture",
    "decoder-timeout": "the decoder took too long for this picture",
}


class _Child:
    """One child process and our end of the connection to it."""

    def __init__(self, module: str, start: Start) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno()), msgspec.json.encode(start).decode()],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # BLAS reserves address space per thread, and one picture needs one.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        self._connection = Connection(ours.detach())
        self._timeout_s = start.timeout_s
        self._is_new = True

    def ask(self, job: Job) -> Answer | str:
        """The answer, or the code of why there is none; the child is then of no more use."""
        # The child ends itself at its limit of processor time. By the clock it gets more: the machine may be busy,
        # and before its first picture come its imports.
        wait_s = _PATIENCE * self._timeout_s + (_IMPORTS_S if self._is_new else 0.0)
        self._is_new = False
        try:
            self._connection.send_bytes(msgspec.msgpack.encode(job))
            if not self._connection.poll(wait_s):
                return "decoder-timeout"
            return msgspec.msgpack.decode(self._connection.recv_bytes(), type=Answer)
        except (EOFError, OSError, msgspec.DecodeError):
            return "decoder-timeout" if self._ended_by() == -signal.SIGPROF else "decoder-crashed"

    def _ended_by(self) -> int | None:
        try:
            return self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()


def _decoded(answer: Answer, size: int) -> Decoded:
    if answer.code == ImageTooLarge.code:
        raise ImageTooLarge(answer.message)
    if answer.code in (UndecodableImage.code, *UndecodableImage.codes):
        raise UndecodableImage(answer.message, code=answer.code)
    if answer.code or answer.quality is None or len(answer.pixels) != 3 * size * size:
        raise InvalidRecord(answer.message or "the decoder gave no picture")
    return Decoded(
        pixels=np.frombuffer(answer.pixels, dtype=np.uint8).reshape(size, size, 3),
        width=answer.width,
        height=answer.height,
        phash=answer.phash,
        quality=answer.quality,
        thumbnails=answer.thumbnails,
    )

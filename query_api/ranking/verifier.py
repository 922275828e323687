"""Geometric verification of the best results, in a child process: OpenCV never runs in the API's event loop."""

import asyncio
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Protocol

import msgspec
import numpy as np
import structlog
from msgspec.structs import replace

from query_api.ranking.ranked import Ranked, ordered, scores_of
from query_api.ranking.stages import Asked, Picture, Pool, StageSkipped
from schemas.errors import TransientError
from topics.store import ObjectStore
from topics.thumbnails import get_thumbnail

log = structlog.get_logger()

VERIFIED_MAX = 10
"""So many of the best are compared."""
INLIERS_MIN = 12
"""Fewer points in one plane happen by chance."""
_INLIERS_FULL = 60
_SIDE = 512
_TIMEOUT_S = 1.0
"""Ten comparisons take 0.2 s; a search waits no longer than this."""
_IN_HAND_MAX = 3
"""Comparisons that run or wait: what would wait longer than a search does is not begun."""
_IMPORTS_S = 20.0
_FIRST_S = 5.0
"""Within the time that a search has at most; the stage is left out sooner where its caller gave it less."""


class Comparer(Protocol):
    """Counts the points that a picture shares with others."""

    async def inliers(self, query: bytes, crop: tuple[float, ...] | None, candidates: list[bytes]) -> list[int]:
        """One number for each candidate; raises StageSkipped when there is no answer."""
        ...


class GeometryProcess:
    """A Comparer in one child process, started at its first use and again after a crash."""

    def __init__(self, module: str = "query_api.ranking.geometry_worker", timeout_s: float = _TIMEOUT_S) -> None:
        self._module = module
        self._timeout_s = timeout_s
        self._thread = ThreadPoolExecutor(1, "geometry")
        self._child: _Child | None = None
        self._in_hand = 0

    async def inliers(self, query: bytes, crop: tuple[float, ...] | None, candidates: list[bytes]) -> list[int]:
        if self._in_hand >= _IN_HAND_MAX:
            raise StageSkipped("other pictures are being compared")
        job = msgspec.msgpack.encode({"query": query, "crop": crop, "candidates": candidates})
        asking = asyncio.get_running_loop().run_in_executor(self._thread, self._ask, job)
        self._in_hand += 1
        asking.add_done_callback(self._done)
        try:
            # Whoever asks first waits for the child to start; nobody who comes later waits for those before.
            async with asyncio.timeout(self._timeout_s if self._child else _FIRST_S):
                # Shielded: a search that gives up must not leave half an answer in the pipe.
                counted = await asyncio.shield(asking)
        except TimeoutError:
            counted = None
        if counted is None or len(counted) != len(candidates):
            raise StageSkipped("the pictures could not be compared in time")
        return counted

    def close(self) -> None:
        """End the child."""
        self._thread.submit(self._end)
        self._thread.shutdown(wait=True)

    def _done(self, _: object) -> None:
        self._in_hand -= 1

    def _ask(self, job: bytes) -> list[int] | None:
        if self._child is None:
            self._child = _Child(self._module)
        answer = self._child.ask(job, self._timeout_s)
        if answer is None:
            log.warning("geometry process ended")
            self._end()
        return answer

    def _end(self) -> None:
        if self._child is not None:
            self._child.close()
        self._child = None


class _Child:
    """One child process and our end of the connection to it."""

    def __init__(self, module: str) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        self._connection = Connection(ours.detach())
        self._is_new = True

    def ask(self, job: bytes, timeout_s: float) -> list[int] | None:
        """The answer; None when there is none, and the child is of no more use."""
        wait_s = timeout_s + (_IMPORTS_S if self._is_new else 0.0)
        self._is_new = False
        try:
            self._connection.send_bytes(job)
            if not self._connection.poll(wait_s):
                return None
            return msgspec.msgpack.decode(self._connection.recv_bytes(), type=list[int])
        except (EOFError, OSError, msgspec.DecodeError):
            return None

    def close(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()


class Verifier:
    """The stage: of the best ten, those whose picture is that of the query come first."""

    def __init__(self, comparer: Comparer, store: ObjectStore) -> None:
        self._comparer = comparer
        self._store = store

    async def verify(self, pool: Pool, asked: Asked) -> Pool:
        """The pool with the best ten in a new order; each gains by the share of its points that lie as in the query.

        Raises:
            StageSkipped: the query has no picture, or the comparison failed or took too long.
        """
        head = [ranked for ranked in pool[:VERIFIED_MAX] if ranked.hit.content_hash]
        picture = asked.picture
        if picture is None:
            raise StageSkipped("the query has no picture to compare")
        query, candidates = await asyncio.to_thread(self._read, asked.tenant, picture, head)
        if not query:
            raise StageSkipped("the query's picture is not in the store")
        counted = await self._comparer.inliers(query, picture.crop, candidates)
        found = {ranked.hit.product_id: count for ranked, count in zip(head, counted, strict=True)}
        return lifted(pool, found)

    def _read(self, tenant: str, picture: Picture, head: Pool) -> tuple[bytes, list[bytes]]:
        query = picture.raw or self._thumbnail(tenant, picture.content_hash)
        return query, [self._thumbnail(tenant, ranked.hit.content_hash) for ranked in head]

    def _thumbnail(self, tenant: str, content_hash: bytes | None) -> bytes:
        """Empty when there is none."""
        try:
            return b"" if content_hash is None else get_thumbnail(self._store, tenant, content_hash.hex(), _SIDE)
        except (OSError, TransientError):
            return b""


def lifted(pool: Pool, inliers: dict[str, int]) -> Pool:
    """The best ten by score and geometry; a full match gains as much as lies between the first and the last of them."""
    head, rest = pool[:VERIFIED_MAX], pool[VERIFIED_MAX:]
    span = float(np.ptp(scores_of(head))) if head else 0.0
    return ordered(_lifted(ranked, inliers.get(ranked.hit.product_id), span) for ranked in head) + rest


def _lifted(ranked: Ranked, count: int | None, span: float) -> Ranked:
    if count is None:
        return ranked
    share = min(1.0, count / _INLIERS_FULL) if count >= INLIERS_MIN else 0.0
    return replace(ranked.plus("geometry", span * share), inliers=count)

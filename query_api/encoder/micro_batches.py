"""Micro-batches: while the model works on one batch the next one gathers; nobody waits for company."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from schemas.embeddings import Vector
from schemas.errors import EncoderFailed

I = TypeVar("I")  # noqa: E741
_Waiting = tuple[I, "asyncio.Future[Vector]"]


class MicroBatches(Generic[I]):
    """Calls ``encode`` in the executor with what has arrived, at most ``batch_max`` items, one batch at a time."""

    def __init__(self, encode: Callable[[Sequence[I]], Vector], executor: Executor, batch_max: int) -> None:
        self._encode = encode
        self._executor = executor
        self._batch_max = batch_max
        self._waiting: list[_Waiting[I]] = []
        self._turn: asyncio.Task[None] | None = None

    async def encode(self, item: I) -> Vector:
        """The (dim,) vector of one item.

        Raises:
            EncoderFailed: the model failed on this very item.
        """
        answer: asyncio.Future[Vector] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._turn is None:
            self._turn = asyncio.create_task(self._turns())
        return await answer

    async def _turns(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._batch_max], self._waiting[self._batch_max :]
                # Who gave up meanwhile costs nothing.
                await self._batch([waiting for waiting in batch if not waiting[1].done()])
        finally:
            self._turn = None

    async def _batch(self, batch: list[_Waiting[I]]) -> None:
        if not batch:
            return
        try:
            items = [item for item, _ in batch]
            vectors = await asyncio.get_running_loop().run_in_executor(self._executor, self._encode, items)
        except Exception as error:
            await self._one_by_one(batch, error)
            return
        for (_, answer), vector in zip(batch, vectors, strict=True):
            if not answer.done():
                answer.set_result(vector)

    async def _one_by_one(self, batch: list[_Waiting[I]], error: Exception) -> None:
        """One bad item must not fail its neighbours."""
        if len(batch) > 1:
            for waiting in batch:
                await self._batch([waiting])
        elif not batch[0][1].done():
            failed = error if isinstance(error, EncoderFailed) else EncoderFailed(f"the model failed: {error!r}")
            batch[0][1].set_exception(failed)

"""What grows at the end while readers hold its beginning, and liveness bits that are copied before a change."""

from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int32]
T = TypeVar("T", bound=np.generic)
_BLOCK_BYTES = 1 << 20


class GrowingArray(Generic[T]):
    """An append-only array with one writer. ``captured(n)`` stays valid whatever is appended later."""

    def __init__(self, dtype: type[T] | np.dtype[T], capacity: int = 1024) -> None:
        self._values: npt.NDArray[T] = np.zeros(capacity, dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, value: Any) -> None:
        if self._count == len(self._values):
            self._values = np.concatenate([self._values, np.zeros_like(self._values)])
        self._values[self._count] = value
        self._count += 1

    def __getitem__(self, index: int) -> Any:
        return self._values[index]

    def replace(self, index: int, value: Any) -> None:
        """Change an entry in place; the caller says why no reader minds."""
        self._values[index] = value

    def captured(self, count: int | None = None) -> npt.NDArray[T]:
        """The first ``count`` values (all by default)."""
        return self._values[: self._count if count is None else count]


class GrowingBlobs:
    """Bytes by number, append-only with one writer.

    They lie in few large blocks: as objects of their own they would take twice the room, and leave a memory full of
    holes behind when they are let go.
    """

    def __init__(self) -> None:
        self._blocks: list[memoryview] = []
        self._block_of, self._start, self._size = (GrowingArray(np.int32) for _ in range(3))
        self._end = 0

    def __len__(self) -> int:
        return len(self._size)

    def append(self, blob: bytes) -> None:
        if not self._blocks or self._end + len(blob) > len(self._blocks[-1]):
            self._blocks.append(memoryview(bytearray(max(_BLOCK_BYTES, len(blob)))))
            self._end = 0
        self._blocks[-1][self._end : self._end + len(blob)] = blob
        self._block_of.append(len(self._blocks) - 1)
        self._start.append(self._end)
        self._size.append(len(blob))
        self._end += len(blob)

    def __getitem__(self, number: int) -> memoryview:
        """Without a copy."""
        block, start, size = int(self._block_of[number]), int(self._start[number]), int(self._size[number])
        return self._blocks[block][start : start + size]


class Liveness:
    """Which rows live. What ``frozen`` returned never changes: a bit is cleared in a copy."""

    def __init__(self, alive: Mask) -> None:
        self._alive = alive
        self._count = len(alive)
        self._is_shared = True

    def append(self) -> None:
        """One more live row. It lies beyond everything handed out, so no copy is needed while there is room."""
        if self._count == len(self._alive):
            room = np.zeros(max(1024, self._count), np.bool_)
            self._alive, self._is_shared = np.concatenate([self._alive, room]), False
        self._alive[self._count] = True
        self._count += 1

    def kill(self, row: int) -> None:
        """A row dies, for ever."""
        assert self._alive[row], f"row {row} is dead already"
        if self._is_shared:
            self._alive, self._is_shared = self._alive.copy(), False
        self._alive[row] = False

    def frozen(self) -> Mask:
        """The bits as they are now."""
        self._is_shared = True
        return self._alive[: self._count]

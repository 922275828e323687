"""The rows that came after the generation, in segments: graphs, sealed blocks, and the open tail at the end."""

import bisect
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from index_nodes.rows.arrays import GrowingArray, Liveness, Mask, Rows
from index_nodes.rows.graph import DEAD_SHARE_MAX, Graph, GraphBuilder, Segment
from index_nodes.rows.tail import BLOCK_ROWS, OpenTail


@dataclass(frozen=True)
class DeltaView:
    """Delta rows as of one view: ``slots`` (d,) int32 and ``alive`` (d,) bool by row, segments by their first row."""

    slots: Rows
    alive: Mask
    segments: tuple[Segment, ...]

    def vector(self, row: int) -> npt.NDArray[np.float16]:
        """(dim,) float16 of a live row."""
        place = bisect.bisect_right(self.segments, row, key=lambda segment: segment.first_row) - 1
        segment = self.segments[place]
        vector: npt.NDArray[np.float16] = segment.vectors[row - segment.first_row]
        return vector

    def slots_of(self, segment: Segment) -> Rows:
        """(n,) int32: the slot of each row of a segment."""
        return self.slots[segment.first_row : segment.first_row + len(segment)]

    def alive_of(self, segment: Segment) -> Mask:
        """(n,) bool: which rows of a segment live."""
        return self.alive[segment.first_row : segment.first_row + len(segment)]

    @property
    def graphs(self) -> int:
        return sum(isinstance(segment, Graph) for segment in self.segments)


class Delta:
    """The delta under its one writer. ``codebook``: as :func:`codes.no_rows` takes it; None: rows are not coded."""

    def __init__(self, dim: int, builder: GraphBuilder, block_rows: int = BLOCK_ROWS, codebook: Any = None) -> None:
        self._dim, self._block_rows, self._builder, self._codebook = dim, block_rows, builder, codebook
        self._slots = GrowingArray(np.int32)
        self._alive = Liveness(np.zeros(0, np.bool_))
        self._sealed: list[Segment] = []
        self._building: set[int] = set()
        self._tail = OpenTail(0, dim, block_rows, codebook)
        self.live = 0

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def held(self) -> int:
        """Rows in memory, dead ones in segments that still live included."""
        return sum(map(len, self._sealed)) + len(self._tail)

    def append(self, slot: int, vector: npt.NDArray[np.float16]) -> int:
        """A new live row of a slot; returns its number in the delta."""
        if self._tail.is_full:
            self._seal()
        row = self._tail.append(vector)
        self._slots.append(slot)
        self._alive.append()
        self.live += 1
        return row

    def kill(self, row: int) -> None:
        self._alive.kill(row)
        self.live -= 1

    def captured(self) -> DeltaView:
        tail = (self._tail.captured(),) if len(self._tail) else ()
        return DeltaView(self._slots.captured(), self._alive.frozen(), (*self._sealed, *tail))

    def install_graphs(self) -> bool:
        """Let finished graphs take the place of their blocks; True if there were any."""
        finished = self._builder.finished()
        for graph in finished:
            self._building.discard(graph.first_row)
            self._sealed = [graph if old.first_row == graph.first_row else old for old in self._sealed]
        return bool(finished)

    def tidy(self) -> None:
        """Drop segments without a live row, and have graphs with many dead rows built again."""
        alive = self._alive.frozen()
        kept: list[Segment] = []
        for segment in self._sealed:
            part = alive[segment.first_row : segment.first_row + len(segment)]
            if not part.any():
                continue
            kept.append(segment)
            if isinstance(segment, Graph) and segment.dead_share(part) > DEAD_SHARE_MAX:
                self._build(segment, part)
        self._sealed = kept

    def _seal(self) -> None:
        block = self._tail.seal()
        self._tail = OpenTail(len(self._slots), self._dim, self._block_rows, self._codebook)
        alive = self._alive.frozen()[block.first_row :]
        self._sealed.append(block)
        if alive.any():
            self._build(block, alive)

    def _build(self, segment: Segment, alive: Mask) -> None:
        if segment.first_row not in self._building:
            self._building.add(segment.first_row)
            self._builder.submit(segment, alive)

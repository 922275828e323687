"""The single applier: the fold of index-log into slots and rows (HOLES 2), one immutable view after each batch."""

import numpy as np
import structlog

from index_nodes.arrays import Liveness
from index_nodes.delta import Delta
from index_nodes.generation import Generation
from index_nodes.graph import GraphBuilder
from index_nodes.keys import SlotKeys
from index_nodes.log import LogBatch, LogEntry
from index_nodes.offsets import Offsets
from index_nodes.overlay import Overlay, RowIds
from index_nodes.product import UNKNOWN, ProductState, distinct_views, fold
from index_nodes.tail import BLOCK_ROWS
from index_nodes.view import IndexView
from schemas.errors import LogRecordUnreadable
from schemas.index_log import IndexLogRecord, Void, read
from schemas.lane import Lane
from schemas.layout import NextOffset
from schemas.metrics import Metrics

_REWRITE_ENTRIES_MIN = 4096
_log = structlog.get_logger()


class Applier:
    """Has one writer. ``view`` is replaced after each batch and may be captured from any thread."""

    def __init__(
        self,
        generation: Generation,
        lane: Lane,
        builder: GraphBuilder,
        metrics: Metrics,
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        self._generation, self._lane, self._metrics, self._builder = generation, lane, metrics, builder
        self._keys = SlotKeys(generation.keys)
        self._overlay = Overlay(generation.slots, generation.kinds)
        self._main_alive = Liveness(np.ones(len(generation), np.bool_))
        self._main_live = len(generation)
        self._delta = Delta(lane.space.dim, builder, block_rows)
        self._products = generation.products
        self._has_deaths = False
        self.blocked: dict[int, LogRecordUnreadable] = {}
        """By partition, why nothing more of it is applied."""
        self.log_bytes = 0
        self.log_records = 0
        self.view = self._captured(Offsets.at(generation.positions))

    def apply(self, batch: LogBatch) -> None:
        """Apply what was read and swap the view.

        A partition stops for good at a record that only a newer program can read; see ``blocked``.
        """
        applied: dict[int, NextOffset] = {}
        for entry in batch.entries:
            if entry.partition in self.blocked or entry.offset < self.view.offsets.applied[entry.partition]:
                continue
            try:
                self._apply_entry(entry)
            except LogRecordUnreadable as error:
                self.blocked[entry.partition] = error
                _log.error("log-record-unreadable", reason=error.message)
            else:
                applied[entry.partition] = NextOffset(entry.offset + 1)
        for partition in batch.ends.keys() - self.blocked.keys():
            reached = applied.get(partition, self.view.offsets.applied[partition])
            applied[partition] = max(reached, batch.ends[partition])
        if batch.entries or any(self.view.offsets.applied[partition] != to for partition, to in applied.items()):
            self._swap(applied)

    def install_graphs(self) -> bool:
        """Take graphs that were finished into the view; True if there were any."""
        installed = self._delta.install_graphs()
        if installed:
            self._swap({})
        return installed

    def close(self) -> None:
        """Stop building graphs; the view stays usable."""
        self._builder.close()

    def _apply_entry(self, entry: LogEntry) -> None:
        self.log_records += 1
        self.log_bytes += len(entry.raw or b"")
        record = read(entry.raw, partition=entry.partition, layout=self._lane.layout, space=self._lane.space)
        if isinstance(record, Void):
            self._metrics.count("freshlens_records_void_total", code=record.code)
        else:
            self._apply_record(record)

    def _apply_record(self, record: IndexLogRecord) -> None:
        raw_key = record.key.to_bytes()
        slot = self._keys.find(raw_key)
        before, rows = (UNKNOWN, ()) if slot is None else self._current(slot)
        after, decision = fold(before, record)
        if decision.ignored is not None:
            self._metrics.count("freshlens_records_ignored_total", reason=decision.ignored.value)
            return
        if slot is None:
            slot = self._keys.add(raw_key)
        if after.content is not before.content:
            rows = self._rows_after(slot, before, rows, record, after)
        self._overlay.append(slot, record.key, after, rows)
        self._products += after.is_visible - before.is_visible
        self._metrics.count("freshlens_records_applied_total")

    def _current(self, slot: int) -> tuple[ProductState, RowIds]:
        entry = self._overlay.newest(slot)
        if entry < 0:
            return self._generation.state(slot), self._generation.rows_of(slot)
        return self._overlay.states[entry], self._overlay.rows[entry]

    def _rows_after(
        self, slot: int, before: ProductState, rows: RowIds, record: IndexLogRecord, after: ProductState
    ) -> RowIds:
        """The rows of the new content: a view that has a live row keeps it, and rows not named any more die."""
        live = {view.view_hash: row for view, row in zip(before.views, rows, strict=True)}
        views = distinct_views(record) if after.content is not None else []
        kept = [live.pop(view.view_hash, None) for view in views]
        for row in live.values():
            self._kill(row)
        return tuple(
            self._new_row(slot, view.vector) if row is None else row for view, row in zip(views, kept, strict=True)
        )

    def _new_row(self, slot: int, vector: bytes) -> int:
        return len(self._generation) + self._delta.append(slot, np.frombuffer(vector, "<f2"))

    def _kill(self, row: int) -> None:
        self._has_deaths = True
        main = len(self._generation)
        if row < main:
            self._main_alive.kill(row)
            self._main_live -= 1
        else:
            self._delta.kill(row - main)

    def _swap(self, applied: dict[int, NextOffset]) -> None:
        if self._has_deaths:
            self._delta.tidy()
            self._has_deaths = False
        if len(self._overlay) > max(_REWRITE_ENTRIES_MIN, 2 * self._overlay.touched):
            self._overlay = self._overlay.rewritten(self._keys)
        self.view = self._captured(self.view.offsets.advanced(applied))

    def _captured(self, offsets: Offsets) -> IndexView:
        return IndexView(
            generation=self._generation,
            keys=self._keys,
            slots=len(self._keys),
            overlay=self._overlay.captured(),
            main_alive=self._main_alive.frozen(),
            delta=self._delta.captured(),
            offsets=offsets,
            products=self._products,
            live_rows=self._main_live + self._delta.live,
        )

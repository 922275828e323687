"""The single applier: the fold of index-log into slots and rows (HOLES 2), one immutable view after each batch."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import structlog
from msgspec.structs import replace

from index_nodes.generations.generation import Generation
from index_nodes.generations.offsets import Offsets, Positions
from index_nodes.products.digest import Mark
from index_nodes.products.keys import SlotKeys
from index_nodes.products.overlay import Overlay, RowIds
from index_nodes.products.product import UNKNOWN, ProductState, distinct_views, fold
from index_nodes.replicas.log import LogBatch, LogEntry
from index_nodes.rows.arrays import Liveness
from index_nodes.rows.delta import Delta
from index_nodes.rows.graph import GraphBuilder
from index_nodes.rows.tail import BLOCK_ROWS
from index_nodes.views.view import IndexView
from schemas.errors import LogRecordUnreadable, TransientError
from schemas.index_log import IndexLogRecord, Void, read
from schemas.lane import Lane
from schemas.layout import NextOffset
from schemas.metrics import Metrics

ROWS_MAX = 1_000_000
"""Delta rows and overlaid products at which content is withheld; 256 dimensions cost about 1 KB each."""
_ROOM = 0.9
"""Content is taken in again when so little of the cap is used: not at every record that makes room for one."""
_REWRITE_ENTRIES_MIN = 4096
_MARK_EVERY = 10_000
"""Digests are remembered at multiples of this offset, where replicas can be compared."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Blocked:
    """Where a partition stopped, and why."""

    offset: int
    error: LogRecordUnreadable


class Applier:
    """Has one writer. ``view`` is replaced after each batch and may be captured from any thread.

    Args:
        voided: (partition, offset) of records that an operator had given up before: void for whoever can read them now.
        is_void: whether one was given up since; asked only of unreadable ones.
    """

    def __init__(
        self,
        generation: Generation,
        lane: Lane,
        builder: GraphBuilder,
        metrics: Metrics,
        block_rows: int = BLOCK_ROWS,
        rows_max: int = ROWS_MAX,
        voided: frozenset[tuple[int, int]] = frozenset(),
        is_void: Callable[[int, int], bool] = lambda _partition, _offset: False,
    ) -> None:
        self._rows_max, self._voided, self._is_void = rows_max, voided, is_void
        self._generation, self._lane, self._metrics, self._builder = generation, lane, metrics, builder
        self._keys = SlotKeys(generation.keys)
        self._overlay = Overlay(generation.visible, generation.kinds)
        self._main_alive = Liveness(np.ones(len(generation), np.bool_))
        self._main_live = len(generation)
        self._delta = Delta(lane.space.dim, builder, block_rows, generation.codebook)
        self._products = generation.products
        self._has_deaths = False
        self.blocked: dict[int, Blocked] = {}
        """By partition, why nothing more of it is applied."""
        self.log_bytes = 0
        self.log_records = 0
        self.newest_append_ms = generation.newest_append_ms
        """The greatest append time in the prefix that was applied: the clock by which tombstones age."""
        self._digests = dict(generation.digests)
        self.marks: dict[int, Mark] = {}
        """By partition, the last digest that other replicas have at the same offset."""
        self.view = self._captured(Offsets.at(generation.positions))

    @property
    def size(self) -> int:
        """What the cap counts: rows held in memory, and products in the overlay, deleted ones too."""
        return self._delta.held + self._overlay.touched

    @property
    def is_full(self) -> bool:
        """Whether content has to wait for the next generation."""
        return self.size >= self._rows_max

    @property
    def has_room(self) -> bool:
        """Whether withheld content may come in again."""
        return self.size <= _ROOM * self._rows_max

    def apply(self, batch: LogBatch) -> None:
        """Apply what was read and swap the view.

        A partition stops for good at a record that only a newer program can read; see ``blocked``.
        """
        applied = self._reached(batch, self.view.offsets.applied, self._apply_entry)
        if batch.entries or applied:
            self._swap(self.view.offsets.advanced(applied))

    def skim(self, batch: LogBatch) -> None:
        """Apply deletions, and offers of visible products, and swap the view (HOLES 8).

        What was withheld is read again from ``applied``; the join makes that exact.
        """
        masked = self._reached(batch, self.view.offsets.masked, self._skim_entry)
        if batch.entries or masked:
            self._swap(self.view.offsets.skimmed(masked))

    def unblock(self) -> bool:
        """Let partitions go on whose unreadable record was given up; True if there are any: read them again."""
        freed = {partition for partition, at in self.blocked.items() if self._is_given_up(partition, at.offset)}
        self.blocked = {partition: at for partition, at in self.blocked.items() if partition not in freed}
        return bool(freed)

    def install_graphs(self) -> bool:
        """Take graphs that were finished into the view; True if there were any."""
        installed = self._delta.install_graphs()
        if installed:
            self._swap(self.view.offsets)
        return installed

    def close(self) -> None:
        """Stop building graphs; the view stays usable."""
        self._builder.close()

    def _reached(
        self, batch: LogBatch, positions: Positions, take: Callable[[LogEntry], None]
    ) -> dict[int, NextOffset]:
        """Take the records at or beyond ``positions``; the partitions that moved, and how far."""
        reached: dict[int, NextOffset] = {}
        for entry in batch.entries:
            blocked = self.blocked.get(entry.partition)
            if entry.offset < positions[entry.partition] or (blocked and entry.offset >= blocked.offset):
                continue
            try:
                if (entry.partition, entry.offset) not in self._voided:
                    take(entry)
            except LogRecordUnreadable as error:
                if not self._is_given_up(entry.partition, entry.offset):
                    self.blocked[entry.partition] = Blocked(entry.offset, _with_way_out(error, entry))
                    _log.error("log-record-unreadable", partition=entry.partition, offset=entry.offset)
                    reached[entry.partition] = NextOffset(entry.offset)  # below lie markers, if anything
                    continue
                self._metrics.count("freshlens_records_void_total", code="voided-by-operator")
            reached[entry.partition] = NextOffset(entry.offset + 1)
            self._note(entry)
        for partition in batch.ends.keys() - self.blocked.keys():
            if batch.ends[partition] > reached.get(partition, positions[partition]):
                reached[partition] = batch.ends[partition]
        return reached

    def _is_given_up(self, partition: int, offset: int) -> bool:
        """Whether an unreadable record is void. Not while the store cannot say: the partition waits, and asks again."""
        try:
            return self._is_void(partition, offset)
        except (OSError, TransientError) as error:
            _log.warning("store-not-asked", partition=partition, offset=offset, error=str(error))
            return False

    def _note(self, entry: LogEntry) -> None:
        self.log_records += 1
        self.log_bytes += len(entry.raw or b"")
        self.newest_append_ms = max(self.newest_append_ms, entry.appended_at_ms)

    def _read(self, entry: LogEntry) -> IndexLogRecord | None:
        record = read(entry.raw, partition=entry.partition, layout=self._lane.layout, space=self._lane.space)
        if isinstance(record, Void):
            self._metrics.count("freshlens_records_void_total", code=record.code)
            return None
        return record

    def _apply_entry(self, entry: LogEntry) -> None:
        if (record := self._read(entry)) is not None:
            self._apply_record(entry.partition, record)
        if (entry.offset + 1) % _MARK_EVERY == 0 and not self.view.offsets.is_skimmed:
            self.marks = {**self.marks, entry.partition: Mark(entry.offset + 1, self._digests[entry.partition])}

    def _skim_entry(self, entry: LogEntry) -> None:
        record = self._read(entry)
        if record is None or not (record.offer or record.deleted):
            return
        slot = self._keys.find(record.key.to_bytes())
        is_shown = slot is not None and self._current(slot)[0].is_visible
        if record.deleted or is_shown:
            # A deletion of what is not shown counts too: the content before it may be withheld, and come in first.
            offer = record.offer if is_shown else None
            self._apply_record(entry.partition, replace(record, content=None, offer=offer))

    def _apply_record(self, partition: int, record: IndexLogRecord) -> None:
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
        self._digests[partition] = self._digests[partition].changed(raw_key, before, after)
        self._metrics.count("freshlens_records_applied_total")

    def _current(self, slot: int) -> tuple[ProductState, RowIds]:
        entry = self._overlay.newest(slot)
        if entry < 0:
            return self._generation.state(slot), self._generation.rows_of(slot)
        return self._overlay.state(entry), self._overlay.rows[entry]

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

    def _swap(self, offsets: Offsets) -> None:
        if self._has_deaths:
            self._delta.tidy()
            self._has_deaths = False
        if len(self._overlay) > max(_REWRITE_ENTRIES_MIN, 2 * self._overlay.touched):
            self._overlay = self._overlay.rewritten(self._keys)
        self.view = self._captured(offsets)

    def _captured(self, offsets: Offsets) -> IndexView:
        return IndexView(
            generation=self._generation,
            keys=self._keys,
            slots=len(self._keys),
            overlay=self._overlay.captured(),
            main_alive=self._main_alive.frozen(),
            main_live=self._main_live,
            delta=self._delta.captured(),
            offsets=offsets,
            digests=dict(self._digests),
            products=self._products,
            live_rows=self._main_live + self._delta.live,
        )


def _with_way_out(error: LogRecordUnreadable, entry: LogEntry) -> LogRecordUnreadable:
    return LogRecordUnreadable(
        f"{error.message} (offset {entry.offset}): upgrade this program, or give the record up with "
        f"`freshlens log void {entry.partition} {entry.offset}`"
    )

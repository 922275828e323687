"""What a node does, step by step, without a thread or a socket: restore, catch up, serve, and take newer heads over.

:class:`index_nodes.replicas.follower.Follower` runs it in threads; tests run it by hand.
"""

import threading
from collections.abc import Callable, Mapping

import structlog

from index_nodes.generations.heads import Head, head_numbers, newest_head, read_head
from index_nodes.products.digest import Digest
from index_nodes.replicas.log import IndexLog
from index_nodes.replicas.replica import Replica, open_replica, restore
from index_nodes.rows.graph import GraphBuilder, ThreadBuilder
from index_nodes.rows.tail import BLOCK_ROWS
from index_nodes.settings import NodeSettings
from index_nodes.states import NODE, NodeEvent, NodeState, advance
from index_nodes.views.view import IndexView
from schemas.clock import Clock
from schemas.errors import DigestMismatch, DiskFull, LogChanged, StorageError
from schemas.metrics import Metrics
from topics.store import ObjectStore

_log = structlog.get_logger()


class Serving:
    """One replica of one shard. ``open``, ``step`` and ``look_for_head`` may run in different threads.

    Args:
        on_state: called after each new state.
        new_builder: makes what builds the graphs of one replica.
    """

    def __init__(
        self,
        settings: NodeSettings,
        log: IndexLog,
        store: ObjectStore,
        clock: Clock,
        metrics: Metrics,
        *,
        on_state: Callable[[], None] = lambda: None,
        new_builder: Callable[[], GraphBuilder] = ThreadBuilder,
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        self._settings, self._index_log, self._store = settings, log, store
        self._clock, self._metrics, self._on_state = clock, metrics, on_state
        self._new_builder, self._block_rows = new_builder, block_rows
        self._lock = threading.Lock()
        self._until: Mapping[int, int] = {}
        self._candidate: Replica | None = None
        self._refused_seq = 0
        self._has_ended = False
        self._is_retry_due = False
        self.state = NodeState.STARTING
        self.replica: Replica | None = None
        self.answers = False
        """Whether searches are answered: once everything is applied that was there at the start and can be."""

    def open(self) -> None:
        """Restore the newest head, so that :meth:`step` can catch up from it.

        Raises:
            TransientError: call it again. StorageError: its docstring says what the operator does.
        """
        if self.state is NodeState.STARTING:
            self.advance(NodeEvent.RESTORE)
        self._until = dict(self._index_log.bounds().end)
        lane, shard = self._settings.lane, self._settings.shard
        replica = open_replica(
            newest_head(self._store, lane, shard),
            log=self._index_log,
            store=self._store,
            lane=lane,
            shard=shard,
            builder=self._new_builder(),
            metrics=self._metrics,
            clock=self._clock,
            block_rows=self._block_rows,
            rows_max=self._settings.delta_rows_max,
        )
        self.replica = replica
        self._note_generation(replica)
        self.advance(NodeEvent.LOADED)

    def step(self, timeout_s: float, should_stop: Callable[[], bool] = lambda: False) -> bool:
        """Apply what has arrived, waiting at most so long; True if there is a new view.

        Raises:
            StorageError: serve nothing more. DigestMismatch: start again.
        """
        assert self.replica is not None
        if self._is_retry_due:
            self._is_retry_due = False
            self.replica.retry_blocked()
        changed = self.replica.step(timeout_s)
        if (candidate := self._candidate) is not None:
            changed |= self._take_over(self.replica, candidate, should_stop)
        if not self.state.is_ready:
            changed |= self._note_progress(self.replica)
        return changed

    def look_for_head(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Build the newest head beside what serves, if it is newer; the next step takes it over.

        A head that cannot be restored is refused, and what is served stays as good as it was.

        Raises:
            TransientError, OSError: call it again.
        """
        served, lane, shard = self.replica, self._settings.lane, self._settings.shard
        self._is_retry_due = served is not None and served.blocked is not None
        numbers = head_numbers(self._store, lane, shard)
        if served is None or self._candidate or not numbers or numbers[-1] <= max(served.seq, self._refused_seq):
            return
        try:
            head = read_head(self._store, lane, shard, numbers[-1])
            self._candidate = self._restored(head, served, should_stop)
        except StorageError as error:
            if not isinstance(error, DiskFull):  # with room it can be had; what is damaged stays damaged
                self._refused_seq = numbers[-1]
            self._metrics.count("freshlens_generations_refused_total", code=error.code)
            _log.error("generation-refused", head=numbers[-1], code=error.code, reason=error.message)

    def check_log(self) -> None:
        """Do nothing if the log is still the one that is served.

        A topic that was created again under our offsets gives no error of its own once it is long enough.

        Raises:
            LogChanged: stop. TransientError, SettingsError: not known now.
        """
        assert self.replica is not None
        bounds, applied = self._index_log.bounds(), self.replica.view.offsets.applied
        if bounds.log_id != self.replica.log_id:
            raise LogChanged(f"index-log is now {bounds.log_id}, but what is served is of {self.replica.log_id}")
        behind = sum(max(0, bounds.end[partition] - offset) for partition, offset in applied.items())
        self._metrics.gauge("freshlens_index_lag_records", behind)

    def advance(self, event: NodeEvent) -> None:
        """Move the state, and say so. Once it drains, has failed or has stopped, only its end can come."""
        with self._lock:
            if event not in NODE[self.state] and self._has_ended:
                return
            self._has_ended |= event in (NodeEvent.STOP, NodeEvent.FAIL)
            self.state = advance(NODE, self.state, event)
        self._metrics.gauge("freshlens_node_serving", float(self.state.is_ready))
        _log.info("node-state", state=self.state.value)
        self._on_state()

    def close(self) -> None:
        """Let go of the log and of threads; views stay usable."""
        for replica in (self.replica, self._candidate):
            if replica is not None:
                replica.close()

    def _restored(self, head: Head, served: Replica, should_stop: Callable[[], bool]) -> Replica:
        builder = self._new_builder()
        try:
            return restore(
                head,
                served.view.offsets.applied,
                log=self._index_log,
                store=self._store,
                lane=self._settings.lane,
                shard=self._settings.shard,
                builder=builder,
                metrics=self._metrics,
                should_stop=should_stop,
                clock=self._clock,
                block_rows=self._block_rows,
                rows_max=self._settings.delta_rows_max,
            )
        except BaseException:
            builder.close()
            raise

    def _take_over(self, old: Replica, candidate: Replica, should_stop: Callable[[], bool]) -> bool:
        """Let the candidate show at least what is shown, and put it in its place; nothing goes back in time.

        What an operator gave up since the candidate was restored, the served one may have passed already.
        """
        candidate.retry_blocked()
        shown = old.view.offsets
        candidate.catch_up(shown.applied, should_stop)
        candidate.mask(shown.masked, should_stop)
        reached = candidate.view.offsets
        if not (reached.covers(shown.applied) and reached.masks(shown.masked)):
            return False
        check_digests(old.view, candidate.view)
        self.replica, self._candidate = candidate, None
        old.close()
        self._note_generation(candidate)
        _log.info("generation-swapped", head=candidate.seq, was=old.seq)
        return True

    def _note_progress(self, replica: Replica) -> bool:
        """Answer once nothing is missing that can be had; be ready once nothing is missing."""
        reachable = replica.readable(self._until)
        answered = self.answers
        self.answers = answered or replica.view.offsets.masks(reachable)
        if replica.has_applied(self._until):
            self.advance(NodeEvent.CAUGHT_UP)
        return self.answers != answered

    def _note_generation(self, replica: Replica) -> None:
        self._metrics.gauge("freshlens_generation_number", replica.seq)
        if replica.head is not None:
            age_s = (self._clock.now_us() - replica.head.created_at_us) / 1e6
            self._metrics.gauge("freshlens_generation_age_seconds", max(0.0, age_s))


def check_digests(served: IndexView, rebuilt: IndexView) -> None:
    """Do nothing if both hold the same wherever both end at the same offset (HOLES 24).

    Tombstones are compared only if both are of one build, since a compaction forgets old ones.

    Raises:
        DigestMismatch.
    """
    if served.offsets.is_skimmed or rebuilt.offsets.is_skimmed:
        return
    is_same_build = served.generation.build == rebuilt.generation.build
    for partition, offset in served.offsets.applied.items():
        ours, theirs = served.digests[partition], rebuilt.digests[partition]
        if rebuilt.offsets.applied[partition] == offset and not _agree(ours, theirs, is_same_build):
            raise DigestMismatch(
                f"index-log {partition} up to {offset}: served is {ours}, built again it is {theirs}; "
                "the node starts again from the store"
            )


def _agree(one: Digest, other: Digest, is_same_build: bool) -> bool:
    return one.live == other.live and (one.tombstones == other.tombstones or not is_same_build)

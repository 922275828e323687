"""The thread that follows the log for a node, and the one that watches for new heads and builds beside it."""

import threading
import time
from collections.abc import Callable

import structlog

from index_nodes.graph import ThreadBuilder
from index_nodes.heads import head_numbers, newest_head, read_head
from index_nodes.log import IndexLog
from index_nodes.replica import Replica, open_replica, restore
from index_nodes.settings import NodeSettings
from index_nodes.states import NODE, NodeEvent, NodeState, advance
from schemas.errors import FreshlensError, LogChanged, SettingsError, StorageError, TransientError
from schemas.metrics import Metrics
from topics.store import ObjectStore

_log = structlog.get_logger()
_POLL_S = 0.05
_RETRY_S = 0.5


class Follower:
    """Keeps ``replica`` at the end of the log and on the newest head.

    Args:
        on_change: called after each new view, state or replica, from a thread of the follower.
    """

    def __init__(
        self,
        settings: NodeSettings,
        log: IndexLog,
        store: ObjectStore,
        metrics: Metrics,
        on_change: Callable[[], None],
    ) -> None:
        self._settings, self._index_log, self._store, self._metrics = settings, log, store, metrics
        self._on_change = on_change
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._candidate: Replica | None = None
        self._refused_seq = 0
        self._is_blocked = False  # caught up but for what only a newer program reads: answers, and is not ready
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True)
            for name, work in (("follower", self._follow), ("head-watcher", self._watch))
        ]
        self.state = NodeState.STARTING
        self.replica: Replica | None = None
        self.failure: FreshlensError | None = None

    def start(self) -> None:
        self._threads[0].start()

    def drain(self) -> None:
        """Be ready for nothing new, and let the threads end."""
        self._stopping.set()
        self._advance(NodeEvent.STOP)

    def stop(self) -> None:
        """After ``drain``: returns when both threads have ended."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        for replica in (self.replica, self._candidate):
            if replica is not None:
                replica.close()
        self._advance(NodeEvent.DRAINED)

    @property
    def answers(self) -> bool:
        """Whether searches are answered: once caught up with what can be read."""
        return self.state.is_ready or self._is_blocked

    def _advance(self, event: NodeEvent) -> None:
        """Move the node's state, and say so. Once it drains, has failed or has stopped, only its end can come."""
        with self._lock:
            if event not in NODE[self.state] and self._stopping.is_set():
                return
            self.state = advance(NODE, self.state, event)
        self._metrics.gauge("freshlens_node_serving", float(self.state.is_ready))
        _log.info("node-state", state=self.state.value)
        self._on_change()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            # A node whose thread died would serve an ever older index: it stops instead, and is started again.
            _log.exception("node-failed")
            self.failure = error if isinstance(error, FreshlensError) else FreshlensError(repr(error))
            self._stopping.set()
            self._advance(NodeEvent.FAIL)

    def _follow(self) -> None:
        self._advance(NodeEvent.RESTORE)
        replica = self._opened()
        if replica is None:
            return
        self.replica = replica
        self._advance(NodeEvent.LOADED)
        until = self._ends()
        while not (replica.has_applied(replica.readable(until)) or self._stopping.is_set()):
            if replica.step(_POLL_S):
                self._on_change()
        self._is_blocked = replica.blocked is not None
        if replica.has_applied(until) and not self._stopping.is_set():
            self._advance(NodeEvent.CAUGHT_UP)
        self._on_change()
        self._note_generation(replica)
        self._threads[1].start()
        while not self._stopping.is_set():
            self._step()

    def _opened(self) -> Replica | None:
        """A replica of the newest head, as soon as the broker answers; None if told to stop before."""
        while not self._stopping.is_set():
            try:
                head = newest_head(self._store, self._settings.lane, self._settings.shard)
                return open_replica(
                    head,
                    log=self._index_log,
                    store=self._store,
                    lane=self._settings.lane,
                    shard=self._settings.shard,
                    builder=ThreadBuilder(),
                    metrics=self._metrics,
                )
            except TransientError as error:
                _log.warning("restore-waits", reason=error.message)
                self._stopping.wait(_RETRY_S)
        return None

    def _ends(self) -> dict[int, int]:
        """Where the log ends now; readiness waits for it."""
        while not self._stopping.is_set():
            try:
                return dict(self._index_log.bounds().end)
            except TransientError as error:
                _log.warning("restore-waits", reason=error.message)
                self._stopping.wait(_RETRY_S)
        return {}

    def _step(self) -> None:
        assert self.replica is not None
        changed = self.replica.step(_POLL_S)
        if (candidate := self._candidate) is not None:
            changed |= self._taken_over(self.replica, candidate)
        if changed:
            self._on_change()

    def _taken_over(self, old: Replica, candidate: Replica) -> bool:
        """Let the candidate catch up with what is served, and put it in its place; nothing goes back in time."""
        candidate.catch_up(old.view.offsets.applied, self._stopping.is_set)
        if self._stopping.is_set():
            return False
        self.replica, self._candidate = candidate, None
        old.close()
        self._note_generation(candidate)
        if not self.state.is_ready and candidate.blocked is None:
            self._advance(NodeEvent.CAUGHT_UP)
        _log.info("generation-swapped", head=candidate.seq, was=old.seq)
        return True

    def _watch(self) -> None:
        while not self._stopping.wait(self._settings.heads_poll_s):
            try:
                self._check_log()
                self._look_for_head()
            except (TransientError, SettingsError) as error:
                # SettingsError: the topic is not there, which a broker also says while it starts.
                _log.warning("head-watch-waits", reason=error.message)
            except OSError as error:
                _log.warning("store-unavailable", reason=str(error))

    def _check_log(self) -> None:
        """A topic that was created again under our offsets gives no error of its own once it is long enough."""
        assert self.replica is not None
        bounds, applied = self._index_log.bounds(), self.replica.view.offsets.applied
        if bounds.log_id != self.replica.log_id:
            raise LogChanged(f"index-log is now {bounds.log_id}, but what is served is of {self.replica.log_id}")
        behind = sum(max(0, bounds.end[partition] - offset) for partition, offset in applied.items())
        self._metrics.gauge("freshlens_index_lag_records", behind)

    def _look_for_head(self) -> None:
        served = self.replica
        numbers = head_numbers(self._store, self._settings.lane, self._settings.shard)
        if served is None or self._candidate or not numbers or numbers[-1] <= max(served.seq, self._refused_seq):
            return
        builder = ThreadBuilder()
        try:
            head = read_head(self._store, self._settings.lane, self._settings.shard, numbers[-1])
            self._candidate = restore(
                head,
                served.view.offsets.applied,
                log=self._index_log,
                store=self._store,
                lane=self._settings.lane,
                shard=self._settings.shard,
                builder=builder,
                metrics=self._metrics,
                should_stop=self._stopping.is_set,
            )
        except StorageError as error:
            # What is served stays as good as it was; the next head gets its chance.
            builder.close()
            self._refused_seq = numbers[-1]
            _log.error("generation-refused", head=numbers[-1], code=error.code, reason=error.message)

    def _note_generation(self, replica: Replica) -> None:
        self._metrics.gauge("freshlens_generation_number", replica.seq)
        if replica.head is not None:
            age_s = time.time() - replica.head.created_at_us / 1e6
            self._metrics.gauge("freshlens_generation_age_seconds", max(0.0, age_s))

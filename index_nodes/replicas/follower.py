"""The threads of a node: one follows the log, one watches the store for new heads."""

import threading
from collections.abc import Callable

import structlog

from index_nodes.replicas.log import IndexLog
from index_nodes.replicas.memory import give_back
from index_nodes.replicas.replica import Replica
from index_nodes.replicas.serving import Serving
from index_nodes.settings import NodeSettings
from index_nodes.states import NodeEvent, NodeState
from schemas.clock import SystemClock
from schemas.errors import FreshlensError, SettingsError, TransientError
from schemas.metrics import Metrics
from topics.store import ObjectStore

_log = structlog.get_logger()
_POLL_S = 0.05
_RETRY_S = 0.5


class Follower:
    """Runs a :class:`Serving` until told to drain.

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
        self._heads_poll_s, self._on_change = settings.heads_poll_s, on_change
        self._serving = Serving(settings, log, store, SystemClock(), metrics, on_state=on_change)
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True)
            for name, work in (("follower", self._follow), ("head-watcher", self._watch))
        ]
        self.failure: FreshlensError | None = None

    @property
    def state(self) -> NodeState:
        return self._serving.state

    @property
    def replica(self) -> Replica | None:
        return self._serving.replica

    @property
    def answering(self) -> Replica | None:
        """The replica, while searches are answered."""
        return self._serving.replica if self._serving.answers else None

    def start(self) -> None:
        self._threads[0].start()

    def drain(self) -> None:
        """Be ready for nothing new, and let the threads end."""
        self._stopping.set()
        self._serving.advance(NodeEvent.STOP)

    def stop(self) -> None:
        """After ``drain``: returns when both threads have ended."""
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._serving.close()
        self._serving.advance(NodeEvent.DRAINED)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            # A node whose thread died would serve an ever older index: it stops instead, and is started again.
            _log.exception("node-failed")
            self.failure = error if isinstance(error, FreshlensError) else FreshlensError(repr(error))
            self._stopping.set()
            self._serving.advance(NodeEvent.FAIL)

    def _follow(self) -> None:
        if not self._opened():
            return
        self._threads[1].start()
        while not self._stopping.is_set():
            if self._serving.step(_POLL_S, self._stopping.is_set):
                self._on_change()

    def _opened(self) -> bool:
        """Open as soon as the broker answers; False if told to stop before."""
        while not self._stopping.is_set():
            try:
                self._serving.open()
            except TransientError as error:
                _log.warning("restore-waits", reason=error.message)
                self._stopping.wait(_RETRY_S)
            else:
                return True
        return False

    def _watch(self) -> None:
        lean = -1  # the head that is served without what loading it, or the one before, left in memory
        while not self._stopping.wait(self._heads_poll_s):
            if (replica := self.replica) is not None and replica.seq != lean:
                lean = replica.seq
                give_back()
            del replica  # or the one that is replaced would live until the next look
            try:
                self._serving.check_log()
                self._serving.look_for_head(self._stopping.is_set)
            except (TransientError, SettingsError) as error:
                # SettingsError: the topic is not there, which a broker also says while it starts.
                _log.warning("head-watch-waits", reason=error.message)
            except OSError as error:
                _log.warning("store-unavailable", reason=str(error))

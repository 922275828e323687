"""The newest revisions of search-quality, read in a thread, for analysts and the page."""

import threading

import structlog
from confluent_kafka import Message, TopicPartition

from schemas import framing
from schemas.errors import FreshlensError, InvalidRecord
from schemas.feedback import SearchQuality
from schemas.framing import SchemaRegistry
from topics import administration, clients
from topics.declarations import SEARCH_QUALITY
from topics.registry import open_registry
from topics.settings import KafkaSettings

WINDOWS_MAX = 1440
"""Windows kept for each tenant: a day of minutes."""
TENANTS_MAX = 1000
_RECORDS_MAX = 20_000
_RETRY_S = 2.0
_POLL_S = 0.5
log = structlog.get_logger()

Key = tuple[str, int]
"""Arm and start of a window."""


class QualityWindows:
    """By tenant, the greatest revision of each of the newest windows. Pure; used under the reader's lock."""

    def __init__(self, windows_max: int = WINDOWS_MAX, tenants_max: int = TENANTS_MAX) -> None:
        self._windows_max = windows_max
        self._tenants_max = tenants_max
        self._of_tenant: dict[str, dict[Key, SearchQuality]] = {}

    def take(self, row: SearchQuality) -> None:
        """Keep the row unless a greater revision of its window is known."""
        windows = self._of_tenant.pop(row.tenant, {})
        self._of_tenant[row.tenant] = windows  # the tenant heard of last is the last to go
        key = (row.arm, row.window_start)
        known = windows.get(key)
        if known is None or row.revision >= known.revision:
            windows[key] = row
        if len(windows) > self._windows_max:
            del windows[min(windows, key=lambda key: key[1])]
        if len(self._of_tenant) > self._tenants_max:
            del self._of_tenant[next(iter(self._of_tenant))]

    def newest(self, tenant: str, limit: int) -> list[SearchQuality]:
        """At most ``limit`` rows, newest window first, then by arm."""
        rows = self._of_tenant.get(tenant, {}).values()
        return sorted(rows, key=lambda row: (-row.window_start, row.arm))[:limit]


class QualityReader:
    """Follows search-quality from some way back. ``start()`` it, ask ``windows``, ``stop()`` it."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._registry = open_registry(kafka)
        self._windows = QualityWindows()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="search-quality", daemon=True)

    def start(self) -> None:
        """Begin to read, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; returns within a second or two."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def windows(self, tenant: str, limit: int = 60) -> list[SearchQuality]:
        """The tenant's newest windows in their newest revision, newest first."""
        with self._lock:
            return self._windows.newest(tenant, limit)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except FreshlensError as error:
                log.warning("search-quality is read again later", code=error.code, reason=error.message)
            except Exception:
                log.exception("search-quality is read again later")
            self._stopping.wait(_RETRY_S)

    def _follow(self) -> None:
        topic = self._kafka.topic(SEARCH_QUALITY)
        admin = clients.admin(self._kafka)
        begins, ends = administration.begin_offsets(admin, topic), administration.end_offsets(admin, topic)
        consumer = clients.consumer(self._kafka)
        try:
            consumer.assign([TopicPartition(topic, p, max(begins[p], end - _RECORDS_MAX)) for p, end in ends.items()])
            while not self._stopping.is_set():
                message = consumer.poll(_POLL_S)
                if message is not None:
                    self._take(message, self._registry)
        finally:
            consumer.close()

    def _take(self, message: Message, registry: SchemaRegistry | None) -> None:
        if (error := message.error()) is not None:
            raise clients.translated(error, "read search-quality")
        try:
            row = framing.SEARCH_QUALITY.decode(message.value() or b"", SearchQuality, registry)
        except InvalidRecord as invalid:
            log.warning("a record of search-quality is passed over", offset=message.offset(), reason=invalid.message)
            return
        with self._lock:
            self._windows.take(row)

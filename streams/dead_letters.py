"""Records that can never be processed: kept whole, with code and reason, on dead-letters (HOLES 20)."""

import asyncio

import structlog

from schemas.clock import Clock
from schemas.errors import FreshlensError
from schemas.events import DeadLetter, Source
from schemas.framing import DEAD_LETTERS
from schemas.hashing import content_hash
from schemas.metrics import Metrics
from schemas.versions import ResolvedVersion
from streams.faults import FaultLimit
from streams.outbox import Outbox
from topics import declarations as names
from topics.settings import KafkaSettings
from topics.store import ObjectStore

VALUE_BYTES_MAX = 256 * 1024
KEY_BYTES_MAX = 4 * 1024
REASON_CHARS_MAX = 1_000
_log = structlog.get_logger()


def dead_letter(
    key: bytes | None,
    value: bytes | None,
    source: Source,
    error: FreshlensError,
    *,
    attempts: int,
    failed_at: int,
    resolved: ResolvedVersion | None = None,
) -> DeadLetter:
    """The dead letter of one record; bytes larger than 256 KB are left to the store, under ``stored_at``."""
    raw = value or b""
    digest = content_hash(raw)
    is_large = len(raw) > VALUE_BYTES_MAX
    return DeadLetter(
        code=error.code,
        reason=error.message[:REASON_CHARS_MAX],
        source=source,
        key=key[:KEY_BYTES_MAX] if key is not None else None,
        value=None if is_large else value,
        value_hash=digest,
        attempts=attempts,
        failed_at=failed_at,
        stored_at=f"dead-letters/{digest.hex()[:2]}/{digest.hex()}" if is_large else None,
        version=resolved.version if resolved else None,
        sequence=resolved.sequence if resolved else None,
    )


class DeadLetters:
    """Sends dead letters; returns when the broker has confirmed them.

    ``limit`` sees every record of the worker, and holds back the dead letters that are too many.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        outbox: Outbox,
        store: ObjectStore,
        limit: FaultLimit,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.limit = limit
        self._topic = kafka.topic(names.DEAD_LETTERS)
        self._outbox, self._store, self._clock, self._metrics = outbox, store, clock, metrics

    async def send(
        self,
        key: bytes | None,
        value: bytes | None,
        source: Source,
        error: FreshlensError,
        *,
        attempts: int = 1,
        resolved: ResolvedVersion | None = None,
    ) -> None:
        """Keep the record with the error's code; raises OSError when the store cannot take large bytes.

        Of a fault of ours it may return late: when a paused worker goes on.
        """
        letter = dead_letter(
            key, value, source, error, attempts=attempts, failed_at=self._clock.now_us(), resolved=resolved
        )
        if letter.stored_at is not None and value is not None:
            await asyncio.to_thread(self._store.put, letter.stored_at, value)
        await self.limit.admit(error, source)
        await self._outbox.send(self._topic, letter.key, DEAD_LETTERS.encode(letter))
        self._metrics.count("freshlens_dead_letters_total", topic=source.topic, code=error.code)
        _log.info(
            "dead letter",
            code=error.code,
            reason=letter.reason,
            topic=source.topic,
            partition=source.partition,
            offset=source.offset,
        )

"""Letting a held source through: what was kept of it as dead letters is sent through again, with its versions."""

from collections.abc import Callable, Iterator

from freshlens import dead_letters
from freshlens.dead_letters import Found, Replay, Selection
from processors.watch.sources import source_of
from schemas.errors import InvalidRecord, SourceHeld
from schemas.framing import SchemaRegistry
from streams.watch.holds import Hold
from streams.watch.watcher import added_in
from topics.settings import KafkaSettings
from topics.store import ObjectStore

_BATCH = 500


def kept_of(kafka: KafkaSettings, store: ObjectStore, registry: SchemaRegistry | None, hold: Hold) -> Iterator[Found]:
    """The dead letters of a held source, since it is held; what cannot be read any more is left out."""
    for found in dead_letters.find(kafka, Selection(code=SourceHeld.code, since_us=hold.since)):
        try:
            raw = dead_letters.original(found.letter, store)
            event = added_in(found.letter.source.topic, raw, registry)
        except InvalidRecord:
            continue
        if source_of(event.tenant, event.content, event.offer) == hold.source:
            yield found


def send_through(
    kafka: KafkaSettings, kept: Iterator[Found], replay: Callable[[Found], Replay | None]
) -> tuple[int, int]:
    """Replay all of these; returns how many were sent and how many ``replay`` refused. Doing it twice does no harm."""
    sent = refused = 0
    for batch in _batches(kept):
        replays = [made for found in batch if (made := replay(found)) is not None]
        dead_letters.send(kafka, replays)
        sent, refused = sent + len(replays), refused + len(batch) - len(replays)
    return sent, refused


def _batches(kept: Iterator[Found]) -> Iterator[list[Found]]:
    batch: list[Found] = []
    for found in kept:
        batch.append(found)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    yield batch

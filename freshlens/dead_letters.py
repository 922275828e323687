"""Dead letters: finding them, and sending them through again with the version they had (HOLES 4, 20)."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from confluent_kafka import KafkaError, Message

from freshlens.log_reading import records
from processors.added import DeclarationOf, read
from schemas import framing
from schemas.errors import FreshlensError, InvalidRecord
from schemas.events import DeadLetter, ProductAdded, ProductDeleted, ProductRetry, Source
from schemas.framing import SchemaRegistry
from schemas.identity import ProductKey, check_record_key, key_from_bytes, product_key
from schemas.versions import ResolvedVersion, resolve
from topics import administration, clients
from topics.declarations import ADDS, DEAD_LETTERS, PRODUCT_DELETED, PRODUCT_RETRY, TOPICS
from topics.settings import KafkaSettings, check_is_remembered
from topics.store import ObjectStore

CLOCKS_APART_MS = 600_000
"""How much a worker's clock, which says when a record failed, may be ahead of the broker's."""
_SHOWN: dict[str, type[msgspec.Struct]] = {
    **dict.fromkeys(ADDS, ProductAdded),
    PRODUCT_DELETED: ProductDeleted,
    PRODUCT_RETRY: ProductRetry,
}


@dataclass(frozen=True, slots=True)
class Found:
    """A dead letter and where it lies on dead-letters."""

    partition: int
    offset: int
    letter: DeadLetter

    @property
    def id(self) -> str:
        return f"{self.partition}:{self.offset}"

    @property
    def product(self) -> ProductKey | None:
        """The product that the record's key names; None where it names none."""
        try:
            return key_from_bytes(self.letter.key or b"")
        except InvalidRecord:
            return None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant; what is None or empty lets all pass."""

    ids: frozenset[str] = frozenset()
    code: str | None = None
    product: ProductKey | None = None
    since_us: int | None = None
    """Failed then or later, in microseconds since 1970."""
    until_us: int | None = None
    """Failed before."""

    def has(self, found: Found) -> bool:
        return (
            (not self.ids or found.id in self.ids)
            and (self.code is None or found.letter.code == self.code)
            and (self.product is None or found.product == self.product)
            and (self.since_us is None or found.letter.failed_at >= self.since_us)
            and (self.until_us is None or found.letter.failed_at < self.until_us)
        )


class Replay(NamedTuple):
    """A record that gives a dead letter another chance; ``topic`` is the logical name."""

    topic: str
    key: bytes | None
    value: bytes


class Once:
    """Tells which replays are the first of their record: one that failed again after a replay has several letters."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    @property
    def count(self) -> int:
        """How many were the first."""
        return len(self._seen)

    def is_new(self, replay: Replay) -> bool:
        """Whether nothing equal was asked about before."""
        before = self.count
        self._seen.add(blake2b(msgspec.msgpack.encode(replay), digest_size=16).digest())
        return self.count > before


def find(kafka: KafkaSettings, selection: Selection) -> Iterator[Found]:
    """The dead letters that are meant, in no order among partitions; records that are none are passed over."""
    client, topic = clients.admin(kafka), kafka.topic(DEAD_LETTERS)
    begins, ends = administration.begin_offsets(client, topic), administration.end_offsets(client, topic)
    if selection.since_us is not None:
        begins = administration.offsets_at(client, topic, selection.since_us // 1000 - CLOCKS_APART_MS)
    for message in records(kafka, topic, begins, ends, lambda _done, _total: None):
        try:
            letter = framing.DEAD_LETTERS.decode(message.value() or b"", DeadLetter)
        except InvalidRecord:
            continue
        found = Found(message.partition() or 0, message.offset() or 0, letter)
        if selection.has(found):
            yield found


def original(letter: DeadLetter, store: ObjectStore) -> bytes:
    """The bytes that could not be processed.

    Raises:
        InvalidRecord: they are gone: the record had no value, or the store has it no more.
    """
    if letter.value is not None:
        return letter.value
    if letter.stored_at is None:
        raise InvalidRecord("the record had no value")
    try:
        return store.get(letter.stored_at)
    except FileNotFoundError:
        raise InvalidRecord(f"the store has no {letter.stored_at} any more") from None


def replay_of(
    letter: DeadLetter,
    raw: bytes,
    declaration_of: DeclarationOf,
    registry: SchemaRegistry | None,
    *,
    now_ms: int,
    horizon_ms: int,
) -> Replay:
    """The record that replays a dead letter. Pure.

    Its version is the one resolved the first time, or resolved now as it would have been then, from the time of the
    first append: never from the time of the replay, or an old add would win over a newer delete.

    Raises:
        InvalidRecord: still not processable, for this reason, or older than tombstones are kept, so that nobody could
            tell any more whether its product was deleted since. Publish it anew instead.
    """
    source = letter.source
    resolved = None if letter.version is None else ResolvedVersion(letter.version, letter.sequence or 0)
    if source.topic == PRODUCT_RETRY:
        retry = framing.PRODUCT_RETRY.decode(raw, ProductRetry)
        raw, source, resolved = retry.event, retry.source, ResolvedVersion(retry.version, retry.sequence)
    check_is_remembered(source, now_ms, horizon_ms)
    if source.topic in ADDS:
        return _added(letter.key, raw, source, resolved, declaration_of, registry)
    if source.topic == PRODUCT_DELETED:
        return _deleted(letter.key, raw, source, resolved, declaration_of, registry)
    if source.topic not in TOPICS:
        raise InvalidRecord(f"it is a row of {source.topic}: load the dump again, which embeds nothing twice")
    return Replay(source.topic, letter.key, raw)


def _added(
    raw_key: bytes | None,
    raw: bytes,
    source: Source,
    resolved: ResolvedVersion | None,
    declaration_of: DeclarationOf,
    registry: SchemaRegistry | None,
) -> Replay:
    incoming = read(raw_key, raw, source, declaration_of, registry)
    version, sequence = resolved or incoming.resolved
    event = framing.PRODUCT_ADDED.encode(incoming.event)
    retry = ProductRetry(event, source, version, sequence, attempts=0, not_before=0)
    return Replay(PRODUCT_RETRY, incoming.key.to_bytes(), framing.PRODUCT_RETRY.encode(retry))


def _deleted(
    raw_key: bytes | None,
    raw: bytes,
    source: Source,
    resolved: ResolvedVersion | None,
    declaration_of: DeclarationOf,
    registry: SchemaRegistry | None,
) -> Replay:
    """A delete goes to its own topic again, with its version made explicit."""
    event = framing.PRODUCT_DELETED.decode(raw, ProductDeleted, registry)
    key = product_key(event.tenant, event.product_id)
    check_record_key(raw_key, key)
    kind = declaration_of(key.tenant).versions
    if resolved is None:
        resolved = resolve(kind, event.version, appended_at_ms=source.appended_at, offset=source.offset)
    explicit = msgspec.structs.replace(event, version=resolved.version)
    return Replay(PRODUCT_DELETED, key.to_bytes(), framing.PRODUCT_DELETED.encode(explicit))


def send(kafka: KafkaSettings, replays: list[Replay]) -> None:
    """Produce and wait until all is confirmed; raises BrokerUnavailable, or what the broker refused."""
    failed: list[FreshlensError] = []
    producer = clients.producer(kafka)

    def delivered(error: KafkaError | None, message: Message) -> None:
        if (refused := clients.refusal(error, message, "replay dead letters")) is not None:
            failed.append(refused)

    with clients.kafka_errors("replay dead letters"):
        for topic, key, value in replays:
            producer.produce(kafka.topic(topic), value, key, on_delivery=delivered)
            producer.poll(0)
        producer.flush()
    if failed:
        raise failed[0]


def decoded(letter: DeadLetter, raw: bytes, registry: SchemaRegistry | None) -> msgspec.Struct | None:
    """The record's own value where it can be decoded, to show it."""
    kind = _SHOWN.get(letter.source.topic)
    if kind is None:
        return None
    try:
        return framing.CODECS[TOPICS[letter.source.topic].schema].decode(raw, kind, registry)
    except FreshlensError:
        return None

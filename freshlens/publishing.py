"""Publishing files of products, and following each event until it is decided."""

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from confluent_kafka import Consumer, Message, TopicPartition

from schemas import framing
from schemas.errors import Backpressure, FreshlensError, InvalidProduct, InvalidRecord
from schemas.events import DeadLetter, Picture, ProductDeleted, ProductRetry, Source
from schemas.identity import ProductKey
from schemas.index_log import IndexLogRecord
from schemas.join import Ranks
from schemas.product_lines import LocatePicture, product_added
from schemas.progress import Position
from topics import administration, clients
from topics.declarations import DEAD_LETTERS, INDEX_LOG, PRODUCT_RETRY
from topics.publisher import Event, Publisher
from topics.settings import KafkaSettings

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp", ".avif"}
PICTURE_BYTES_MAX = 10 * 1024 * 1024

Line = Mapping[str, Any] | InvalidProduct
"""A product's JSON, or why the line is none."""


def read_products(path: Path | IO[bytes]) -> Iterator[tuple[str, Line]]:
    """(name of the line, its JSON) of a file of JSON lines, a folder of pictures, or an open stream.

    In a folder, and those within it, each picture is a product whose id is the file's name without suffix. Of several
    with one name only the first is published: they would be one product.
    """
    if isinstance(path, Path) and path.is_dir():
        yield from _pictures(path)
    elif isinstance(path, Path):
        with path.open("rb") as lines:
            yield from _json_lines(lines)
    else:
        yield from _json_lines(path)


def count_products(path: Path) -> int:
    """How many products :func:`read_products` will yield, for a progress bar."""
    if path.is_dir():
        return sum(file.suffix.lower() in PICTURE_SUFFIXES for file in path.rglob("*"))
    with path.open("rb") as lines:
        return sum(1 for line in lines if line.strip())


def _pictures(folder: Path) -> Iterator[tuple[str, Line]]:
    first: dict[str, Path] = {}
    for file in sorted(file for file in folder.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES):
        place, product_id = file.relative_to(folder), file.stem
        if (other := first.setdefault(product_id, place)) != place:
            yield str(file), InvalidProduct(f"{other} has the id {product_id!r}, too; give one of them another name")
        else:
            yield str(file), {"product_id": product_id, "title": product_id, "image": str(place)}


def _json_lines(lines: IO[bytes]) -> Iterator[tuple[str, Line]]:
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            yield f"line {number}", json.loads(text)
        except ValueError as error:  # or no UTF-8: with characters replaced, two ids could become one
            yield f"line {number}", InvalidProduct(f"not JSON: {error}")


def locate_beside(folder: Path) -> LocatePicture:
    """How a picture of a file's line is found: a URI as it is, a path relative to the file, sent inline.

    Who writes the file need not be who may read this machine: paths that leave its folder are refused.
    """
    root = Path(os.path.abspath(folder))

    def locate(place: str) -> Picture:
        if "://" in place:
            return Picture(uri=place)
        path = Path(os.path.normpath(root / place))
        if not path.is_relative_to(root):
            raise InvalidProduct(f"{place}: pictures lie in the folder of their file, or below it")
        try:
            if path.stat().st_size > PICTURE_BYTES_MAX:
                raise InvalidProduct(f"{place}: a picture has at most {PICTURE_BYTES_MAX // 2**20} MiB")
            return Picture(inline=path.read_bytes())
        except OSError as error:
            raise InvalidProduct(f"{place}: {error.strerror or error}") from error

    return locate


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of one event: the ranks it was given, or why it was rejected or has to wait."""

    name: str
    key: ProductKey
    ranks: Ranks | None = None
    rejected: str | None = None
    waiting: bool = False


Place = tuple[str, int, int]
"""Topic (without prefix), partition, offset of an input record."""


@dataclass
class Following:
    """Events sent and what is known of each; pure but for its lock, fed by producer and reader threads."""

    sent: dict[Place, tuple[str, ProductKey]] = field(default_factory=dict)
    outcomes: dict[Place, Decided] = field(default_factory=dict)
    early: dict[Place, IndexLogRecord | DeadLetter | ProductRetry] = field(default_factory=dict)
    """Decisions that were read before the producer was told where its record lies."""
    positions: list[Position] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def confirmed(self, name: str, key: ProductKey, position: Position) -> None:
        """The broker has the event of this product, at this position."""
        place = (position.topic, position.partition, position.offset)
        with self.lock:
            self.sent[place] = (name, key)
            self.positions.append(position)
            if (record := self.early.pop(place, None)) is not None:
                self._decide(place, record)

    def seen(self, source: Source, record: IndexLogRecord | DeadLetter | ProductRetry) -> None:
        """A record that came of the event at ``source``."""
        place = (source.topic, source.partition, source.offset)
        with self.lock:
            if place in self.sent:
                self._decide(place, record)
            else:
                self.early[place] = record

    def undecided(self) -> int:
        """How many confirmed events nothing is known of yet."""
        with self.lock:
            return len(self.sent) - len(self.outcomes)

    def decided(self) -> list[Decided]:
        """What is known so far."""
        with self.lock:
            return list(self.outcomes.values())

    def _decide(self, place: Place, record: IndexLogRecord | DeadLetter | ProductRetry) -> None:
        name, key = self.sent[place]
        known = self.outcomes.get(place)
        if isinstance(record, DeadLetter):
            outcome = Decided(name, key, rejected=f"{record.code}: {record.reason}")
        elif isinstance(record, ProductRetry):
            outcome = Decided(name, key, waiting=True)
        else:
            outcome = Decided(name, key, ranks=record.ranks)
            if known is not None and known.waiting and record.content is None:
                return  # only the offer came through; the pictures are still waited for
        self.outcomes[place] = outcome


class DecisionReader:
    """Reads what the workers make of events, from now on; start it before publishing, stop it at the end."""

    def __init__(self, kafka: KafkaSettings, following: Following) -> None:
        self._kafka = kafka
        self._following = following
        self._stop = threading.Event()
        self._consumer: Consumer = clients.consumer(kafka)
        admin = clients.admin(kafka)
        self._readers: dict[str, tuple[framing.Codec, Any]] = {
            kafka.topic(INDEX_LOG): (framing.INDEX_LOG, IndexLogRecord),
            kafka.topic(DEAD_LETTERS): (framing.DEAD_LETTERS, DeadLetter),
            kafka.topic(PRODUCT_RETRY): (framing.PRODUCT_RETRY, ProductRetry),
        }
        starts = [
            TopicPartition(topic, partition, offset)
            for topic in self._readers
            for partition, offset in administration.end_offsets(admin, topic).items()
        ]
        self._consumer.assign(starts)
        self._thread = threading.Thread(target=self._read, name="decisions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _read(self) -> None:
        while not self._stop.is_set():
            for message in self._consumer.consume(500, timeout=0.1):
                if message.error() is None:
                    self._note(message)

    def _note(self, message: Message) -> None:
        codec, kind = self._readers[message.topic() or ""]
        try:
            record: Any = codec.decode(message.value() or b"", kind)
        except InvalidRecord:
            return  # void for every reader, so for us too
        self._following.seen(record.source, record)


class Sender:
    """Sends events one after another, slowing down when the producer's buffer is full.

    ``hot``: products go ahead of everything on product-added.
    """

    def __init__(self, publisher: Publisher, following: Following, *, hot: bool = False) -> None:
        self._publisher = publisher
        self._following = following
        self._hot = hot
        self.failed: list[Decided] = []

    def send(self, name: str, event: Event) -> None:
        """Send one event; what is wrong with it, or with the broker, is noted in ``failed``."""
        key = ProductKey(event.tenant, event.product_id)

        def done(outcome: Position | FreshlensError) -> None:
            if isinstance(outcome, Position):
                self._following.confirmed(name, key, outcome)
            else:
                self._fail(name, key, outcome)

        while True:
            try:
                self._publisher.send(event, done, hot=self._hot)
            except Backpressure:
                time.sleep(0.05)
            except InvalidRecord as error:
                self._fail(name, key, error)
                return
            else:
                return

    def send_line(self, name: str, line: Line, *, tenant: str, volatile: frozenset[str], locate: LocatePicture) -> None:
        """Send the product of one line."""
        product_id = str(line.get("product_id", "")) if isinstance(line, Mapping) else ""
        try:
            if isinstance(line, InvalidProduct):
                raise line
            event = product_added(line, tenant=tenant, volatile=volatile, locate=locate)
        except InvalidProduct as error:
            self._fail(name, ProductKey(tenant, product_id), error)
            return
        self.send(name, event)

    def send_delete(self, tenant: str, product_id: str, version: int | None) -> None:
        """Send one deletion."""
        self.send(product_id, ProductDeleted(tenant, product_id, version))

    def _fail(self, name: str, key: ProductKey, error: FreshlensError) -> None:
        self.failed.append(Decided(name, key, rejected=f"{error.code}: {error.message}"))

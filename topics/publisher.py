"""Publishing catalogue events: what the API and the command do with a product that somebody hands them."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
from confluent_kafka import KafkaError, Message

from schemas import framing
from schemas.errors import FreshlensError, InvalidProduct
from schemas.events import Content, Picture, ProductAdded, ProductDeleted
from schemas.hashing import content_hash
from schemas.identity import ProductKey
from schemas.progress import Position
from topics import administration, clients
from topics.declarations import INPUT_BYTES_MAX, INPUTS, PRODUCT_ADDED, PRODUCT_ADDED_HOT, PRODUCT_DELETED, TOPICS
from topics.settings import KafkaSettings
from topics.store import ObjectStore, original_key

INLINE_BYTES_MAX = 64 * 1024
"""A larger inline picture goes to the store and travels by reference: brokers are no place for photos."""
_FLUSH_S = 0.5
_STORING = 8
"""Pictures that are written to the store at a time by those who wait for it."""

Event = ProductAdded | ProductDeleted
OnDone = Callable[[Position | FreshlensError], object]


class Publisher:
    """Sends events to ``product-added``, its hot lane, and ``product-deleted``; one per process, closed at the end.

    Without a store, large pictures stay inline up to the topic's limit.
    """

    def __init__(self, kafka: KafkaSettings, *, store: ObjectStore | None = None) -> None:
        self._kafka = kafka
        self._store = store
        self._producer = clients.producer(kafka)
        self._registry = _registry(kafka)
        self._log_ids = {
            name: str(administration.describe_log(clients.admin(kafka), kafka.topic(name))) for name in INPUTS
        }
        self._closing = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="publisher", daemon=True)
        self._poller.start()
        self._storing = ThreadPoolExecutor(_STORING, thread_name_prefix="pictures")

    def send(self, event: Event, on_done: OnDone, *, hot: bool = False) -> None:
        """Hand the event to the producer; ``on_done`` is called in the publisher's thread, once.

        ``hot``: ahead of everything on product-added, for a few products at a time. A deletion always is.

        Raises:
            InvalidProduct: the event is larger than the topic takes, or does not fit the schema.
            Backpressure: the producer's buffer is full; wait and send again.
        """
        self._send(self._with_large_pictures_stored(event), on_done, hot=hot)

    def _send(self, event: Event, on_done: OnDone, *, hot: bool) -> None:
        name = _topic_of(event, hot=hot)
        value = self._encoded(name, event)
        if len(value) > INPUT_BYTES_MAX - 4096:
            raise InvalidProduct(f"{event.tenant}/{event.product_id}: {len(value)} bytes of event are too many")

        def delivered(error: KafkaError | None, message: Message) -> None:
            refused = clients.refusal(error, message, f"publish to {name}")
            if refused is None:
                on_done(Position(self._log_ids[name], name, message.partition() or 0, message.offset() or 0))
            else:
                on_done(refused)

        key = ProductKey(event.tenant, event.product_id).to_bytes()
        with clients.kafka_errors(f"publish to {name}"):
            self._producer.produce(self._kafka.topic(name), value, key, on_delivery=delivered)

    async def publish(self, event: Event, *, hot: bool = False) -> Position:
        """Send one event and wait until the broker has it; ``hot`` as for :meth:`send`.

        Raises:
            InvalidProduct, Backpressure: as :meth:`send`.
            TransientError: the broker did not confirm.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Position] = loop.create_future()

        def settle(outcome: Position | FreshlensError) -> None:
            if done.done():
                return
            if isinstance(outcome, Position):
                done.set_result(outcome)
            else:
                done.set_exception(outcome)

        if _with_large_pictures(event):
            event = await loop.run_in_executor(self._storing, self._with_large_pictures_stored, event)
        self._send(event, lambda outcome: loop.call_soon_threadsafe(settle, outcome), hot=hot)
        return await done

    def flush(self, timeout_s: float = 30) -> int:
        """Wait until everything sent is confirmed or the time is up; returns how many are still unconfirmed."""
        return int(self._producer.flush(timeout_s))

    def close(self, timeout_s: float = 30, told: Callable[[int], object] = lambda _: None) -> None:
        """Stop once everything sent is confirmed, or the time is up; what is unconfirmed then has failed.

        Args:
            timeout_s: ``DELIVERED_WITHIN_S`` gives every record its time.
            told: called now and then with the number of those still unconfirmed.
        """
        until = time.monotonic() + timeout_s
        while (left := self.flush(_FLUSH_S)) and time.monotonic() < until:  # in steps, between which Ctrl-C is heard
            told(left)
        self._producer.purge()
        self.flush(_FLUSH_S)  # which calls ``on_done`` for these
        self._closing.set()
        self._poller.join()
        self._storing.shutdown(wait=False, cancel_futures=True)

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(0.05)

    def _encoded(self, name: str, event: Event) -> bytes:
        codec = framing.CODECS[TOPICS[name].schema]
        if self._registry is None:
            return codec.encode(event)
        return codec.encode_confluent(event, self._registry.id_of(f"{self._kafka.topic(name)}-value", codec.schema))

    def _with_large_pictures_stored(self, event: Event) -> Event:
        content = _with_large_pictures(event)
        if content is None or self._store is None:
            return event
        pictures = tuple(self._stored(picture) for picture in content.pictures)
        return msgspec.structs.replace(event, content=msgspec.structs.replace(content, pictures=pictures))

    def _stored(self, picture: Picture) -> Picture:
        if self._store is None or picture.inline is None or not _is_large(picture):
            return picture
        digest = content_hash(picture.inline).hex()
        self._store.put(original_key(digest), picture.inline)
        return Picture(uri=f"store://originals/{digest}")


def _topic_of(event: Event, *, hot: bool) -> str:
    if isinstance(event, ProductDeleted):
        return PRODUCT_DELETED
    return PRODUCT_ADDED_HOT if hot else PRODUCT_ADDED


def _registry(kafka: KafkaSettings) -> framing.SchemaRegistry | None:
    if kafka.schema_registry_url is None:
        return None
    from topics.registry import open_registry  # its client is heavy, and few have a registry

    return open_registry(kafka)


def _with_large_pictures(event: Event) -> Content | None:
    """The content of an event, if it has any."""
    content = None if isinstance(event, ProductDeleted) else event.content
    return content if content is not None and any(map(_is_large, content.pictures)) else None


def _is_large(picture: Picture) -> bool:
    return picture.inline is not None and len(picture.inline) > INLINE_BYTES_MAX

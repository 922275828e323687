"""Products published at a steady rate beside what is measured."""

import threading
import time
from collections.abc import Iterator

from freshlens.publishing import Following, Sender
from schemas.events import ProductAdded
from topics.publisher import Publisher
from topics.settings import KafkaSettings


class Steady(threading.Thread):
    """Publishes so many of the events a second until it is stopped; ``sent``: how many so far."""

    def __init__(self, kafka: KafkaSettings, events: Iterator[ProductAdded], per_s: float) -> None:
        super().__init__(daemon=True)
        self._publisher, self._events, self._per_s = Publisher(kafka), events, per_s
        self._stopped = threading.Event()
        self.sent = 0

    def run(self) -> None:
        sender, began = Sender(self._publisher, Following()), time.perf_counter()
        for event in self._events:
            if self._stopped.wait(max(0.0, began + self.sent / self._per_s - time.perf_counter())):
                return
            sender.send(event.product_id, event)
            self.sent += 1

    def stop(self) -> None:
        self._stopped.set()
        self.join()
        self._publisher.close()

"""product-added-hot: the few products that go ahead of everything, however much is queued on product-added."""

import asyncio
from collections import deque

from streams.app import Received
from streams.intake import Intake
from streams.ledger import AckLedger
from streams.ledger_consumer import LedgerConsumer

WAITING_MAX = 16
"""Records read and not taken yet, beyond which no more are read: each may have a megabyte."""


async def run_hot_lane(consumer: LedgerConsumer, intake: Intake, ledger: AckLedger) -> None:
    """Hand every record to ``intake`` until cancelled; what is not finished then is delivered again.

    While the intake has no room, or the worker is paused, the consumer polls on: whoever does not follow its group
    holds up the next rebalance, and with it the hot products of every other worker.
    """
    waiting: deque[Received] = deque()
    taking: asyncio.Task[None] | None = None
    async with consumer.subscribed():
        try:
            while True:
                consumer.hold_back(len(waiting) >= WAITING_MAX)
                waiting.extend(await consumer.polled())
                if taking is None or taking.done():
                    if taking is not None:
                        taking.result()
                    taking = asyncio.create_task(_take(waiting, intake, ledger))
        finally:
            if taking is not None:
                taking.cancel()
            intake.cancel()


async def _take(waiting: deque[Received], intake: Intake, ledger: AckLedger) -> None:
    while waiting:
        received = waiting.popleft()
        if ledger.is_current(received.ticket):  # else another worker has its partition by now
            await intake.take(received)

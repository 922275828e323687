"""product-added-hot: the few products that go ahead of everything, however much is queued on product-added."""

from streams.intake import Intake
from streams.ledger_consumer import LedgerConsumer


async def run_hot_lane(consumer: LedgerConsumer, intake: Intake) -> None:
    """Hand every record to ``intake`` until cancelled; what is not finished then is delivered again."""
    async with consumer.subscribed():
        try:
            while True:
                for received in await consumer.polled():
                    await intake.take(received)
        finally:
            intake.cancel()

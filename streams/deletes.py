"""The delete worker: product-deleted becomes index-log, in a process of its own so that nothing slow is before it."""

from processors.deleted import index_record
from schemas.framing import SchemaRegistry
from streams.app import Received
from streams.emitting import Finisher, IndexLogWriter
from topics.tenants import TenantDirectory


class DeleteStep:
    """Gives one product-deleted event its effect."""

    def __init__(
        self,
        *,
        writer: IndexLogWriter,
        finisher: Finisher,
        tenants: TenantDirectory,
        registry: SchemaRegistry | None,
    ) -> None:
        self._writer, self._finisher = writer, finisher
        self._tenants, self._registry = tenants, registry

    async def delete(self, received: Received) -> str:
        """Raises InvalidRecord: dead-letter it."""
        declaration_of = await self._tenants.at_hand(received.key)
        record = index_record(received.key, received.value, received.source, declaration_of, self._registry)
        partition, next_offset = await self._writer.write(record)
        self._finisher.confirmed(received.ticket, partition, next_offset)
        return "deleted"

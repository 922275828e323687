"""The delete worker: product-deleted becomes index-log, in a process of its own so that nothing slow is before it."""

from processors.added import DeclarationOf
from processors.deleted import index_record
from schemas.framing import SchemaRegistry
from streams.app import Received
from streams.emitting import Finisher, IndexLogWriter


class DeleteStep:
    """Gives one product-deleted event its effect."""

    def __init__(
        self,
        *,
        writer: IndexLogWriter,
        finisher: Finisher,
        declaration_of: DeclarationOf,
        registry: SchemaRegistry | None,
    ) -> None:
        self._writer, self._finisher = writer, finisher
        self._declaration_of, self._registry = declaration_of, registry

    async def delete(self, received: Received) -> str:
        """Raises InvalidRecord: dead-letter it."""
        record = index_record(received.key, received.value, received.source, self._declaration_of, self._registry)
        partition, next_offset = await self._writer.write(record)
        self._finisher.confirmed(received.ticket, partition, next_offset)
        return "deleted"

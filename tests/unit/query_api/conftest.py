"""An application over doubles for every test that wants one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.unit.query_api.doubles import Api, running_api, shard_product, status_of_node


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """One shard with the products a, b, c and d (red, blue, red, deleted), served and heard of."""
    async with running_api(tmp_path) as running:
        running.shard.put(
            shard_product("a", version=1, attributes={"color": "red"}, price=5.0, content_hash=b"\x01" * 16),
            shard_product("b", version=2, attributes={"color": "blue"}, price=15.0),
            shard_product("c", version=3, attributes={"color": "red"}, price=25.0),
            shard_product("d", version=4, deleted=9),
        )
        running.cluster.learn(statuses=[status_of_node()])
        yield running

"""Views come many times a second, and each holds on to the states of products: none waits for a garbage collection."""

import gc
import time
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from index_nodes.rows.graph import ThreadBuilder
from index_nodes.rows.tail import Block
from schemas.filters import parse_filter
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index

RED, BLUE = records.picture(0), records.picture(1)


@pytest.fixture(autouse=True)
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _searched(index: Index) -> None:
    index.search(RED)
    index.search(RED, clause=parse_filter({"price": {"lt": 20}}))
    index.search(None, exact=True)


def test_a_view_that_was_searched_is_gone_with_the_next(index: Index) -> None:
    index.apply(*(records.content(f"p{n}", 1, [RED]) for n in range(20)), records.offer("p1", 1, 10.0))
    _searched(index)
    old = weakref.ref(index.view)
    index.apply(records.content("q", 1, [BLUE]))
    assert old() is None


def test_what_a_generation_held_is_gone_with_the_swap(index: Index) -> None:
    index.apply(*(records.content(f"p{n}", 1, [RED]) for n in range(20)), records.offer("p1", 1, 10.0))
    index.compact_and_swap()
    index.apply(records.content("p2", 2, [BLUE]))
    _searched(index)
    old = [weakref.ref(each) for each in (index.view, index.view.generation, index.view.overlay.overlay)]
    index.compact_and_swap()
    assert [each() for each in old] == [None, None, None]
    _searched(index)


def test_a_closed_builder_lets_go_of_its_blocks_unbuilt() -> None:
    builder = ThreadBuilder()
    vectors = np.random.default_rng(1).standard_normal((8_192, 32)).astype(np.float16)
    blocks = [Block(number, vectors) for number in range(3)]
    for block in blocks:
        builder.submit(block, np.ones(len(vectors), np.bool_))
    builder.close()
    held = [weakref.ref(block) for block in blocks]
    del block, blocks
    deadline = time.monotonic() + 60
    while any(block() is not None for block in held):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert builder.finished() == []

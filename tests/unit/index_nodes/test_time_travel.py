"""The index as of an offset vector is the fold of exactly that much log (HOLES 25)."""

import random

import pytest

from index_nodes.replicas.time_travel import view_as_of
from index_nodes.views.view import IndexView
from schemas.errors import LogChanged, LogTruncated
from schemas.layout import NextOffset
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index

RED = records.picture(1)
Fold = dict[bytes, object]


def folded(view: IndexView) -> Fold:
    return {view.keys.raw(slot): view.state(slot).ranks for slot in range(view.slots)}


def test_every_moment_that_was_is_found_again(index: Index) -> None:
    rng = random.Random(7)
    moments: list[tuple[dict[int, NextOffset], Fold]] = []
    for step in range(60):
        name = f"p{rng.randrange(12)}"
        made = [records.content(name, step, [RED]), records.offer(name, step, 1.0 * step), records.delete(name, step)]
        index.apply(rng.choice(made))
        if step % 3 == 0:
            moments.append((dict(index.view.offsets.applied), folded(index.view)))
        if step % 20 == 19:
            index.compact()
    assert len(moments) == 20
    for positions, expected in moments:
        view = view_as_of(positions, log=index.log, store=index.store, lane=index.lane, shard=0)
        assert folded(view) == expected
        assert dict(view.offsets.applied) == positions


def test_outside_of_what_is_retained_it_says_so(index: Index) -> None:
    index.apply(*(records.content(f"p{n}", 1, [RED]) for n in range(20)))
    early = dict(index.view.offsets.applied)
    index.apply(*(records.content(f"p{n}", 2, [RED]) for n in range(20)))
    index.compact()
    index.log.begin = [len(partition) for partition in index.log.records]
    with pytest.raises(LogTruncated):
        view_as_of(early, log=index.log, store=index.store, lane=index.lane, shard=0)
    beyond = {partition: NextOffset(offset + 9) for partition, offset in index.view.offsets.applied.items()}
    with pytest.raises(LogChanged):
        view_as_of(beyond, log=index.log, store=index.store, lane=index.lane, shard=0)

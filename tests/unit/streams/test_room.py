"""The bound on what is in flight."""

import asyncio

import pytest

from streams.room import Room, Share


async def test_it_holds_back_by_events_and_by_bytes_first_come_first_served() -> None:
    room = Room(events_max=2, bytes_max=100)
    await room.enter(60)
    order: list[str] = []

    async def enter(name: str, size: int) -> None:
        await room.enter(size)
        order.append(name)

    large, small = asyncio.create_task(enter("large", 50)), asyncio.create_task(enter("small", 10))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert order == [], "the small one does not overtake"
    room.leave(60)
    await asyncio.gather(large, small)
    assert order == ["large", "small"]
    assert (room.events, room.bytes) == (2, 60)
    third = asyncio.create_task(enter("third", 1))
    await asyncio.sleep(0)
    assert not third.done()
    third.cancel()
    await asyncio.gather(third, return_exceptions=True)
    room.leave(50)
    room.leave(10)
    assert (room.events, room.bytes) == (0, 0)


async def test_one_event_larger_than_all_of_it_is_let_in_alone() -> None:
    room = Room(events_max=5, bytes_max=10)
    await room.enter(1000)
    waiting = asyncio.create_task(room.enter(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    room.leave(1000)
    await waiting


async def test_it_can_be_made_wider() -> None:
    room = Room(events_max=1, bytes_max=10)
    await room.enter(1)
    waiting = [asyncio.create_task(room.enter(1)) for _ in range(3)]
    await asyncio.sleep(0)
    room.widen(3)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, True, False]
    waiting[2].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_it_is_crowded_long_before_it_is_full() -> None:
    room = Room(events_max=100, bytes_max=1_000)
    for _ in range(5):
        await room.enter(1)
    assert not room.is_crowded
    await room.enter(1)
    assert room.is_crowded
    room.leave(1)
    room.resize(1, 60)
    assert room.is_crowded, "few events, but large ones"


async def test_what_is_in_grows_only_as_far_as_there_is_room_but_alone_it_may() -> None:
    room = Room(events_max=5, bytes_max=100)
    one, other = Share(room), Share(room)
    await one.take(10)
    await other.take(10)
    assert one.has_room(90)
    assert not other.has_room(11)
    assert other.has_room(5), "it has more"
    assert room.bytes == 100
    one.give_back()
    one.give_back()
    assert (room.events, room.bytes) == (1, 10)
    assert other.has_room(1_000)
    other.settle(20)
    await other.take(30)
    assert (room.events, room.bytes) == (1, 30)
    other.give_back()
    assert (room.events, room.bytes) == (0, 0)


async def test_one_that_is_cancelled_while_it_is_let_in_takes_no_room() -> None:
    room = Room(events_max=1, bytes_max=10)
    await room.enter(1)
    waiting = asyncio.create_task(room.enter(5))
    await asyncio.sleep(0)
    room.leave(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (room.events, room.bytes) == (0, 0)

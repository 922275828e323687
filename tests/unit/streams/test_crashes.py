"""Who is to blame when a worker crashes: only a record that was in hand alone, and only at the third time."""

import asyncio
from pathlib import Path
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.crashes import CRASHES_MAX, CrashJournal, Suspicion, Where
from streams.ledger import Place, Ticket

PLACE = Place("product-added", 0)


def ticket(offset: int) -> Ticket:
    return Ticket(PLACE, offset, 1)


def where(offset: int) -> Where:
    return Where(*PLACE, offset)


def crash_with(path: Path, *offsets: int) -> None:
    """A process that ends with these in hand: nothing of it runs any more."""
    lines = Suspicion.read(path.read_text().splitlines()) if path.exists() else Suspicion()
    after = lines.after_crash()
    after.in_hand.update(dict.fromkeys(map(where, offsets)))
    path.write_text(after.lines())


async def test_a_clean_end_suspects_nobody(tmp_path: Path) -> None:
    journal = CrashJournal(tmp_path / "journal")
    async with journal.in_hand(ticket(1)), journal.in_hand(ticket(2)):
        pass
    task = asyncio.create_task(hold(journal, 3, asyncio.Event()))
    await asyncio.sleep(0)
    task.cancel()
    journal.close()
    await asyncio.gather(task, return_exceptions=True)
    assert (tmp_path / "journal").read_text() == ""


async def hold(journal: CrashJournal, offset: int, until: asyncio.Event) -> None:
    async with journal.in_hand(ticket(offset)):
        await until.wait()


async def test_only_a_crash_with_one_record_in_hand_counts(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    crash_with(path, 1, 2, 3)
    crash_with(path, 1)
    journal = CrashJournal(path)
    assert [journal.crashes(ticket(offset)) for offset in (1, 2, 3)] == [1, 0, 0]
    crash_with(path, 1)
    crash_with(path, 1)
    assert CrashJournal(path).crashes(ticket(1)) == CRASHES_MAX


async def test_after_a_crash_few_are_in_hand_until_the_suspects_are_through(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    crash_with(path, *range(9))
    journal, over = CrashJournal(path), asyncio.Event()
    tasks = [asyncio.create_task(hold(journal, offset, over)) for offset in range(20)]
    await asyncio.sleep(0)
    assert len(Suspicion.read(path.read_text().splitlines()).in_hand) == 3, "the root of nine"
    over.set()
    await asyncio.gather(*tasks)
    over.clear()
    tasks = [asyncio.create_task(hold(journal, offset, over)) for offset in range(20, 30)]
    await asyncio.sleep(0)
    assert len(Suspicion.read(path.read_text().splitlines()).in_hand) == 10, "all suspects are through"
    over.set()
    await asyncio.gather(*tasks)


async def test_suspects_that_do_not_come_again_hold_up_nobody(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    crash_with(path, 5, 6)
    journal, over = CrashJournal(path), asyncio.Event()
    tasks = [asyncio.create_task(hold(journal, offset, over)) for offset in range(10, 15)]
    await asyncio.sleep(0)
    assert len(Suspicion.read(path.read_text().splitlines()).in_hand) == 1
    await journal.on_begin({Place("product-retry", 0): 0})
    await journal.on_begin({PLACE: 7})  # others finished them
    await asyncio.sleep(0)
    assert len(Suspicion.read(path.read_text().splitlines()).in_hand) == 5
    over.set()
    await asyncio.gather(*tasks)


async def test_a_suspect_that_is_only_dropped_remains_one(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    crash_with(path, 5)
    journal = CrashJournal(path)
    task = asyncio.create_task(hold(journal, 5, asyncio.Event()))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    journal.close()
    assert CrashJournal(path).crashes(ticket(5)) == 1


async def test_the_journal_stays_short(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = CrashJournal(path)
    over = asyncio.Event()
    held = asyncio.create_task(hold(journal, 1, over))
    await asyncio.sleep(0)
    for offset in range(2, 40_000):
        async with journal.in_hand(ticket(offset)):
            pass
    assert path.stat().st_size < 1_100_000
    assert list(Suspicion.read(path.read_text().splitlines()).in_hand) == [where(1)]
    over.set()
    await held


def test_a_torn_line_is_passed_over() -> None:
    whole = Suspicion({where(1): None}, {where(2): None}, {where(2): 1}).lines()
    for length in range(len(whole)):
        read = Suspicion.read(whole[:length].splitlines())
        assert set(read.in_hand) <= {where(1)}
        assert set(read.suspects) <= {where(2)}
    assert Suspicion.read(["+ t x 1 .", "! t 1 .", "+", "", "\ufffd"]) == Suspicion()
    assert Suspicion.read(whole.splitlines()) == Suspicion({where(1): None}, {where(2): None}, {where(2): 1})


@settings(max_examples=100)
@given(
    count=st.integers(1, 300),
    poisons=st.sets(st.integers(0, 299), min_size=1, max_size=3),
    choose=st.randoms(use_true_random=False),
)
def test_poison_is_given_up_and_no_neighbour(count: int, poisons: set[int], choose: Random) -> None:
    """Whatever the order in which records are finished and the moment of the crash."""
    poisons = {poison for poison in poisons if poison < count}
    state, done, given_up, crashes = Suspicion(), set[int](), set[int](), 0
    while len(done) < count:
        state = Suspicion.read(state.lines().splitlines()).after_crash()
        crashes += bool(state.suspects)
        state.begin({PLACE: min(set(range(count)) - done)})
        waiting = [offset for offset in range(count) if offset not in done]
        while waiting or state.in_hand:
            while waiting and len(state.in_hand) < min(state.together if state.suspects else 10_000, 10_000):
                offset = waiting.pop(0)
                if state.crashes.get(where(offset), 0) >= CRASHES_MAX:
                    given_up.add(offset)
                    done.add(offset)
                else:
                    state.in_hand[where(offset)] = None
            if not state.in_hand:
                break
            next_one = choose.choice(list(state.in_hand))
            if next_one.offset in poisons:
                break  # it crashes, with all that is in hand
            state.finished(next_one)
            done.add(next_one.offset)
    assert given_up == poisons
    assert crashes <= 8 * max(1, len(poisons)) + 3

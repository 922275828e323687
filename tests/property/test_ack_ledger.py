"""The ledger against a model of Kafka: whatever is committed, everything below it is finished (HOLES 3).

Two workers share a partition: one after the other they are assigned it, finish in any order, perhaps long after they
lost it, commit at any time, and crash. The group refuses commits of a generation that is over, as the broker does.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.ledger import AckLedger, Place, Ticket

PLACE = Place("product-added", 0)
OTHER = Place("product-added", 1)
WORKERS = st.integers(0, 1)


class Worker:
    """A worker process: its ledger, where its consumer stands, and the generation it believes it is in."""

    def __init__(self) -> None:
        self.ledger = AckLedger()
        self.position = 0
        self.generation: int | None = None
        self.unfinished: set[int] = set()  # of the present assignment


class LedgerMachine(RuleBasedStateMachine):
    """A partition with gaps (transaction markers), two workers with rebalances, zombies, crashes and late commits."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []  # offsets that hold a record; others are gaps
        self.end = 0
        self.log_start = 0
        self.done: set[int] = set()  # offsets whose effect is confirmed, by whomever
        self.lost: set[int] = set()  # removed before anybody finished them, and reported
        self.committed = 0
        self.generation = 0
        self.owner: int | None = None
        self.workers = [Worker(), Worker()]
        self.tickets: list[tuple[Worker, Ticket]] = []

    @rule(gap=st.integers(0, 2), count=st.integers(1, 4))
    def publish(self, gap: int, count: int) -> None:
        self.end += gap
        self.log += range(self.end, self.end + count)
        self.end += count

    @rule(number=WORKERS)
    def assign(self, number: int) -> None:
        """A rebalance that gives a worker the partition (again), from the committed offset; the other may not know."""
        worker = self.workers[number]
        self.generation += 1
        self.owner, worker.generation = number, self.generation
        position = max(self.committed, self.log_start)
        self.lost |= set(range(self.committed, position)) - self.done
        worker.ledger.begin(PLACE, position)
        worker.position, worker.unfinished = position, set()

    @rule(number=WORKERS, commits=st.booleans())
    def revoke(self, number: int, commits: bool) -> None:
        """The worker hears that it lost the partition; it may still commit at that moment."""
        if commits:
            self.commit(number)
        worker = self.workers[number]
        worker.ledger.end(PLACE)
        worker.generation = None
        if self.owner == number:
            self.owner = None

    @rule(number=WORKERS)
    def crash(self, number: int) -> None:
        self.workers[number] = Worker()
        if self.owner == number:
            self.owner = None

    @precondition(lambda self: any(worker.generation is not None for worker in self.workers) and self.log)
    @rule(number=WORKERS)
    def deliver(self, number: int) -> None:
        """The next record, to the owner or to a zombie that does not know yet."""
        worker = self.workers[number]
        offset = next((offset for offset in self.log if offset >= max(worker.position, self.log_start)), None)
        if worker.generation is None or offset is None:
            return
        worker.position = offset + 1
        ticket = worker.ledger.deliver(PLACE, offset)
        assert ticket is not None
        assert ticket.offset == offset
        assert worker.ledger.is_current(ticket)
        worker.unfinished.add(offset)
        self.tickets.append((worker, ticket))

    @rule(number=WORKERS, offset=st.integers(0, 20))
    def deliver_again(self, number: int, offset: int) -> None:
        """Something from before a rebalance slips through: below what was delivered it is not to be processed."""
        worker = self.workers[number]
        if worker.generation is not None and offset < worker.position:
            assert worker.ledger.deliver(PLACE, offset) is None

    @precondition(lambda self: self.tickets)
    @rule(which=st.integers(0, 100))
    def finish(self, which: int) -> None:
        """The effect is confirmed, in any order, perhaps long after the assignment ended, even after a crash."""
        worker, ticket = self.tickets.pop(which % len(self.tickets))
        self.done.add(ticket.offset)
        is_current = ticket.assignment == worker.ledger.assignment(PLACE)
        assert worker.ledger.finish(ticket) == is_current
        if is_current:
            worker.unfinished.discard(ticket.offset)
        assert not worker.ledger.finish(ticket), "twice is once"

    @rule(number=WORKERS)
    def commit(self, number: int) -> None:
        """Kafka takes it from the present generation only; Faust never commits backwards."""
        worker = self.workers[number]
        watermark = worker.ledger.watermark(PLACE)
        if watermark is not None and worker.generation == self.generation and self.owner == number:
            self.committed = max(self.committed, watermark)

    @rule(share=st.floats(0, 1))
    def retention(self, share: float) -> None:
        """The log is cut, at worst above what was committed."""
        self.log_start = max(self.log_start, int(self.end * share))

    @rule(number=WORKERS, offset=st.integers(0, 5))
    def another_partition(self, number: int, offset: int) -> None:
        """Partitions know nothing of each other."""
        ledger = self.workers[number].ledger
        before = ledger.watermark(PLACE), ledger.assignment(PLACE)
        ledger.begin(OTHER, offset)
        ticket = ledger.deliver(OTHER, offset)
        assert ticket is not None
        assert ledger.watermark(OTHER) == offset
        ledger.finish(ticket)
        ledger.end(OTHER)
        assert (ledger.watermark(PLACE), ledger.assignment(PLACE)) == before

    @invariant()
    def committed_is_never_past_an_unfinished_record(self) -> None:
        settled = self.done | self.lost
        unfinished = [offset for offset in self.log if offset not in settled and offset >= self.log_start]
        assert self.committed <= min(unfinished, default=self.end)

    @invariant()
    def what_was_finished_and_delivered_in_a_row_may_be_committed(self) -> None:
        """It does not lag either: the watermark stands at the lowest unfinished record, or at the position."""
        for worker in self.workers:
            if worker.generation is None:
                assert worker.ledger.watermark(PLACE) is None
                assert worker.ledger.in_flight == 0
            else:
                assert worker.ledger.watermark(PLACE) == min(worker.unfinished, default=worker.position)
                assert worker.ledger.in_flight == len(worker.unfinished)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=400, stateful_step_count=40, deadline=None)

"""Facts are true for ever: all of a source below W has its effect in index-log below X (HOLES 10)."""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streams.ledger import AckLedger, Place, Ticket
from streams.progress import Progress, Vouched

PLACE = Place("product-added", 0)
INDEX_PARTITIONS = 2


@dataclass
class Worker:
    """One process that may think the partition is its own: a zombie goes on writing and publishing."""

    ledger: AckLedger = field(default_factory=AckLedger)
    progress: Progress = field(default_factory=Progress)
    position: int | None = None
    tickets: list[Ticket] = field(default_factory=list)
    asked: dict[Place, Vouched] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)


EVENTS = 5
DEAD_EVENT = 3
WORKERS = st.integers(0, 1)


class ProgressMachine(RuleBasedStateMachine):
    """Two workers, one partition: effects out of order, dead letters, crashes, zombies and delayed answers.

    What any worker would publish is checked after every step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.committed = 0
        self.index_log = [0] * INDEX_PARTITIONS  # end offsets
        self.effects: dict[int, tuple[int, int] | None] = {}  # source offset -> first (partition, next offset)
        self.workers = [Worker(), Worker()]
        self.look_up(0)

    @rule(number=WORKERS)
    def look_up(self, number: int) -> None:
        """Kafka gives the partition to this worker (after a crash, too), which asks for the committed offset."""
        worker = Worker()
        worker.ledger.begin(PLACE, self.committed)
        worker.progress.begin(PLACE, worker.ledger.assignment(PLACE), self.committed)
        worker.asked = self.workers[number].asked  # an answer to an earlier question may still be on its way
        worker.ends = self.workers[number].ends
        self.workers[number] = worker

    @rule(number=WORKERS)
    def deliver(self, number: int) -> None:
        worker = self.workers[number]
        if worker.position is None:
            worker.position = self.committed  # its seek; perhaps somebody else committed since its look-up
        if worker.ledger.watermark(PLACE) is not None and worker.position < EVENTS:
            ticket = worker.ledger.deliver(PLACE, worker.position)
            assert ticket is not None
            worker.position += 1
            worker.progress.delivered(ticket)
            worker.tickets.append(ticket)

    @rule(number=WORKERS, choice=st.integers(0, 2))
    def finish(self, number: int, choice: int) -> None:
        """Any event in hand, by a record in its key's partition of index-log; one event is a dead letter for all."""
        worker = self.workers[number]
        if not worker.tickets:
            return
        ticket = worker.tickets.pop(choice % len(worker.tickets))
        place = None
        if ticket.offset != DEAD_EVENT:
            partition = ticket.offset % INDEX_PARTITIONS
            self.index_log[partition] += 1
            place = (partition, self.index_log[partition])
            worker.progress.confirmed(ticket, *place)
        self.effects.setdefault(ticket.offset, place)
        worker.ledger.finish(ticket)

    @rule(number=WORKERS)
    def commit(self, number: int) -> None:
        watermark = self.workers[number].ledger.watermark(PLACE)
        if watermark is not None and self.workers[number].position is not None:
            self.committed = max(self.committed, watermark)

    @rule(number=WORKERS, asks=st.booleans(), answers=st.booleans())
    def end_offsets(self, number: int, asks: bool, answers: bool) -> None:
        worker = self.workers[number]
        if asks:
            worker.asked = worker.progress.wanting_base()
            worker.ends = dict(enumerate(self.index_log))
        if answers:
            worker.progress.take_base(worker.asked, worker.ends)

    @invariant()
    def every_fact_that_could_be_published_is_true(self) -> None:
        for worker in self.workers:
            for _, watermark, reach in worker.progress.facts(worker.ledger, repeat=True):
                for offset in range(watermark):
                    assert offset in self.effects, f"{offset} below W={watermark} is not finished"
                    effect = self.effects[offset]
                    assert effect is None or effect[1] <= reach[effect[0]], (offset, watermark, reach, effect)


TestProgress = ProgressMachine.TestCase
TestProgress.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)

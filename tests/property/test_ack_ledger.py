"""The ledger against a model of Kafka: whatever is committed, everything below it is finished (HOLES 3)."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from streams.ledger import AckLedger, Place, Ticket

PLACE = Place("product-added", 0)


class LedgerMachine(RuleBasedStateMachine):
    """One partition with gaps (transaction markers), rebalances, late completions, crashes and commits at any time."""

    tickets = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []  # offsets that hold a record; others are gaps
        self.end = 0
        self.done: set[int] = set()  # offsets whose effect is confirmed, by whomever
        self.committed = 0
        self.ledger = AckLedger()
        self.position = 0
        self.assigned = False

    @rule(gap=st.integers(0, 2), count=st.integers(1, 4))
    def publish(self, gap: int, count: int) -> None:
        self.end += gap
        self.log += range(self.end, self.end + count)
        self.end += count

    @rule()
    def assign(self) -> None:
        """A rebalance that gives us the partition (again), from the committed offset."""
        self.ledger.begin(PLACE, self.committed)
        self.position, self.assigned = self.committed, True

    @rule()
    def revoke(self) -> None:
        self.ledger.end(PLACE)
        self.assigned = False

    @rule()
    def crash(self) -> None:
        self.ledger, self.assigned = AckLedger(), False

    @rule(target=tickets)
    def deliver(self) -> Ticket | None:
        offset = next((offset for offset in self.log if offset >= self.position), None)
        if not self.assigned or offset is None:
            return None
        self.position = offset + 1
        ticket = self.ledger.deliver(PLACE, offset)
        assert ticket is not None
        assert ticket.offset == offset
        return ticket

    @rule(offset=st.integers(0, 20))
    def deliver_again(self, offset: int) -> None:
        """Something from before a rebalance slips through: below what was delivered it is not to be processed."""
        if self.assigned and offset < self.position:
            assert self.ledger.deliver(PLACE, offset) is None

    @rule(ticket=consumes(tickets))
    def finish(self, ticket: Ticket | None) -> None:
        """The effect is confirmed, in any order, perhaps long after the assignment ended."""
        if ticket is not None:
            self.done.add(ticket.offset)
            self.ledger.finish(ticket)

    @rule()
    def commit(self) -> None:
        watermark = self.ledger.watermark(PLACE)
        if watermark is not None:
            self.committed = max(self.committed, watermark)

    @invariant()
    def committed_is_never_past_an_unfinished_record(self) -> None:
        unfinished = [offset for offset in self.log if offset not in self.done]
        assert self.committed <= min(unfinished, default=self.end)

    @invariant()
    def in_flight_is_what_was_delivered_and_not_finished(self) -> None:
        assert self.ledger.in_flight <= len(self.log)
        if not self.assigned:
            assert self.ledger.watermark(PLACE) is None


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)

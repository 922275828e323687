"""Who acts: producers, nodes, compactors, an operator, and nature. Each is stepped, and each may die in any effect."""

from collections.abc import Callable
from random import Random
from typing import Protocol

from index_nodes.compaction.compaction import compact_once
from index_nodes.compaction.publication import roll_back
from index_nodes.compaction.retention import collect
from index_nodes.generations.heads import head_numbers
from index_nodes.replicas.log import LogEntry
from index_nodes.replicas.replica import Replica
from index_nodes.replicas.serving import Serving
from index_nodes.replicas.voids import VoidMark, Voids
from index_nodes.rows.graph import Graph, Segment, build_graph
from index_nodes.settings import NodeSettings, RetentionPolicy
from index_nodes.states import NodeState
from schemas.clock import ManualClock
from schemas.errors import BuildRejected, HeadExists, LogRecordUnreadable, StorageError, TransientError
from schemas.framing import INDEX_LOG as CODEC
from schemas.index_log import IndexLogRecord
from schemas.lane import Lane
from schemas.metrics import NullMetrics
from schemas.node_status import NodeStatus
from tests.simulation.broker import SimBroker, SimLog
from tests.simulation.checks import Captured, Checks, captured, check_captured, require
from tests.simulation.disk import SimDisk, SimStore
from tests.simulation.life import Life, Surroundings
from tests.simulation.workload import REDELIVERED_AGE_MS_MAX, Catalogue
from tests.unit.index_nodes import records
from topics.settings import KafkaSettings

BLOCK_ROWS = 6
"""So few that sealing and graphs happen all the time."""
_ROUND_S = 10.0
"""Retention comes no more often than the compactor looks; an operator is quicker than two rounds."""


class Scene(Protocol):
    """What all actors share."""

    random: Random
    clock: ManualClock
    lane: Lane
    broker: SimBroker
    disk: SimDisk
    catalogue: Catalogue
    checks: Checks
    is_calm: bool
    statuses: dict[str, NodeStatus]

    def say(self, who: str, what: str) -> None: ...

    @property
    def is_nested(self) -> bool: ...

    def let_days_pass(self) -> None: ...


class Actor:
    """Something that acts, dies and is started again."""

    def __init__(self, name: str, scene: Scene, surroundings: Surroundings) -> None:
        self.name, self.scene, self._surroundings = name, scene, surroundings
        self.is_acting = False
        self.start()

    def start(self) -> None:
        """A new life, with nothing but what is durable."""
        self.life = Life(self.name, self._surroundings)
        self.log = SimLog(self.scene.broker, self.life, self.scene.clock)
        self.store = SimStore(self.scene.disk, self.life)

    def act(self) -> None:
        raise NotImplementedError


class Producer(Actor):
    """Writes what the catalogue says: in any order, some of it twice, and again after a crash."""

    def __init__(self, name: str, scene: Scene, surroundings: Surroundings) -> None:
        self._in_flight: list[IndexLogRecord] = []  # kept by the input topic, so a crash does not lose it
        self._delivered: list[IndexLogRecord] = []
        super().__init__(name, scene, surroundings)

    def start(self) -> None:
        super().start()
        # What was not committed comes again.
        self._in_flight += self._delivered[-3:]

    def act(self) -> None:
        random = self.scene.random
        for _ in range(random.randint(1, 4)):
            self._in_flight += self.scene.catalogue.next_records()
        if self._delivered and random.random() < 0.2:
            self._in_flight.append(random.choice(self._delivered))
        for _ in range(random.randint(1, 8)):
            if self._in_flight:
                self._deliver(random.randrange(len(self._in_flight)))

    def flush(self) -> None:
        """Deliver all, without dying of it."""
        self.is_acting, self.life = True, Life(self.name, self._surroundings)
        while self._in_flight:
            self._deliver(0)
        self.is_acting = False

    def forget_old(self, now_ms: int) -> None:
        """What is older than retention and dead letters cannot come again."""
        self._delivered = [
            record for record in self._delivered if now_ms - record.source.appended_at < REDELIVERED_AGE_MS_MAX
        ]

    def _deliver(self, place: int) -> None:
        record = self._in_flight[place]
        where = self.life.effect("produce", lambda: self.scene.broker.append(record))
        self.scene.say(self.name, f"{where} {described(record)}")
        self._delivered.append(record)
        if self.scene.is_calm or self.scene.random.random() < 0.85:  # else the answer got lost, and it is sent again
            self._in_flight.remove(record)


class Builder:
    """Builds graphs some time after it was asked to."""

    def __init__(self, random: Random) -> None:
        self._random, self._asked = random, list[tuple[Segment, object]]()

    def submit(self, block: Segment, alive: object) -> None:
        self._asked.append((block, alive))

    def finished(self) -> list[Graph]:
        if not self._asked or self._random.random() < 0.6:
            return []
        block, alive = self._asked.pop(0)
        return [build_graph(block, alive)]  # type: ignore[arg-type]

    def close(self) -> None:
        self._asked.clear()


class Node(Actor):
    """One replica: a :class:`Serving`, restarted whenever it fails, and looked at after each step."""

    def __init__(self, name: str, scene: Scene, surroundings: Surroundings, shard: int, rows_max: int) -> None:
        self.shard = shard
        self._settings = NodeSettings(KafkaSettings(""), scene.lane, "", shard=shard, delta_rows_max=rows_max)
        super().__init__(name, scene, surroundings)

    def start(self) -> None:
        super().start()
        self._shown: dict[tuple[str, int], int] = {}
        self._steady: frozenset[str] = frozenset()
        self._seq = 0
        self._held: Captured | None = None
        self.serving = Serving(
            self._settings,
            self.log,
            self.store,
            self.scene.clock,
            NullMetrics(),
            new_builder=lambda: Builder(self.scene.random),
            block_rows=BLOCK_ROWS,
        )

    @property
    def is_settled(self) -> bool:
        """Whether it shows all that the log has."""
        replica = self.serving.replica
        if replica is None or self.serving.state is not NodeState.SERVING or replica.is_skimming:
            return False
        return replica.has_applied(self.scene.broker.bounds.end)

    def described(self) -> str:
        replica = self.serving.replica
        if replica is None:
            return f"{self.name} has no replica"
        return f"{self.name} is {self.serving.state.value} on head {replica.seq}: {replica.view.offsets}"

    def act(self) -> None:
        if self.serving.replica is None:
            self._unless_busy(self.serving.open)
        elif self.scene.random.random() < 0.25:
            self._unless_busy(self.serving.check_log)
            self._unless_busy(self.serving.look_for_head)
        else:
            self._step()
        self.look()

    def _step(self) -> None:
        served = self.serving.replica
        assert served is not None
        self.serving.step(0.05)
        # A search may have captured what was served until another replica took over.
        self._note_offsets(served)

    def _note_offsets(self, replica: Replica) -> None:
        """Nothing that was shown goes back in time."""
        offsets = replica.view.offsets
        for name, positions in (("applied", offsets.applied), ("masked", offsets.masked)):
            for partition, offset in positions.items():
                was = self._shown.get((name, partition), 0)
                where = f"{self.name} on head {replica.seq}, {name} {dict(positions)}"
                require(offset >= was, "offsets-grow", f"{where}: partition {partition} was at {was}")
                self._shown[name, partition] = offset

    def look(self) -> None:
        """Check what it shows now; and what a slow query sees that began earlier."""
        replica = self.serving.replica
        if replica is None:
            return
        view, random = replica.view, self.scene.random
        where = f"{self.name} on head {replica.seq} at {dict(view.offsets.applied)}"
        if view.offsets.is_skimmed:
            where += f", masked to {dict(view.offsets.masked)}"
        if replica.seq != self._seq:
            self._steady, self._seq = frozenset(), replica.seq
        visible = frozenset(self.scene.checks.view(where, view, self._steady))
        self._steady = self._steady & visible if view.offsets.is_skimmed else visible
        self.scene.statuses[self.name] = self._status(replica)
        self._note_offsets(replica)
        if self._held is not None and random.random() < 0.5:
            check_captured(f"{where}, a view held from {dict(self._held.view.offsets.applied)}", self._held)
        if self._held is None or random.random() < 0.2:
            self._held = captured(view)

    def _status(self, replica: Replica) -> NodeStatus:
        lane = self.scene.lane
        return NodeStatus(
            node_id=self.name, url="", shard=self.shard, replica=0, layout_id=lane.layout.layout_id, lane=lane.name,
            space=str(lane.space), log_id=str(replica.log_id), state=self.serving.state.value, generation=replica.seq,
            applied={}, products=0, delta_rows=0, reported_at=self.scene.clock.now_us(),
        )  # fmt: skip

    def _unless_busy(self, perform: Callable[[], None]) -> None:
        try:
            perform()
        except (TransientError, OSError) as error:
            self.scene.say(self.name, f"waits: {error}")


class Compactor(Actor):
    """Makes generations; there may be several."""

    def act(self) -> None:
        shard = self.scene.random.randrange(self.scene.lane.layout.shards)
        try:
            report = compact_once(self.log, self.store, self.scene.lane, shard, clock=self.scene.clock)
        except HeadExists as error:
            self.scene.say(self.name, f"was overtaken: {error}")
        except BuildRejected as error:
            require("hours old" in error.message, "good-builds-pass", str(error))
        except LogRecordUnreadable as error:
            self.scene.say(self.name, f"cannot read on: {error}")
        else:
            self.scene.say(self.name, report.summary)


class Janitor(Actor):
    """Removes what retention lets go, round by round, as the compactor's process does between compactions."""

    last_round_s = -_ROUND_S

    def act(self) -> None:
        if self.scene.clock.monotonic() - self.last_round_s < _ROUND_S:
            return
        self.last_round_s = self.scene.clock.monotonic()
        lane, policy = self.scene.lane, RetentionPolicy()
        for shard in range(lane.layout.shards):
            statuses = list(self.scene.statuses.values())
            plan = collect(self.log, self.store, lane, shard, statuses, policy, NullMetrics(), self.scene.clock)
            if plan:
                self.scene.say(self.name, f"shard {shard}: {plan}")


class Operator(Actor):
    """Rolls back to any head there is, and gives up what nobody can read."""

    def act(self) -> None:
        if (unreadable := self.scene.broker.unreadable) and self.scene.random.random() < 0.7:
            self._void(unreadable[0])
        else:
            self._roll_back()

    def _void(self, entry: LogEntry) -> None:
        mark = VoidMark(entry.partition, entry.offset, "simulated", self.scene.clock.now_us())
        Voids(self.store, self.scene.lane, self.log.log_id()).add(mark)
        self.scene.say(self.name, f"gives up {entry.partition}@{entry.offset}")

    def _roll_back(self) -> None:
        shard = self.scene.random.randrange(self.scene.lane.layout.shards)
        if numbers := head_numbers(self.store, self.scene.lane, shard):
            seq = self.scene.random.choice(numbers)
            try:
                head = roll_back(self.log, self.store, self.scene.lane, shard, seq, clock=self.scene.clock)
            except StorageError as error:
                self.scene.say(self.name, f"cannot roll back to head {seq}: {error}")
            else:
                self.scene.say(self.name, f"rolled back to head {seq} by head {head.seq}")


class Nature(Actor):
    """What happens to brokers, disks and clocks."""

    def act(self) -> None:
        kinds: dict[Callable[[], None], float] = {
            self._stall: 4, self._pass: 4, self._marker: 2, self._garbage: 1, self._clean: 1, self._newer: 0.4,
            self.scene.let_days_pass: 1.5,
        }  # fmt: skip
        (happen,) = self.scene.random.choices(list(kinds), list(kinds.values()))
        happen()

    def _partition(self) -> int:
        return self.scene.random.randrange(len(self.scene.broker.partitions))

    def _stall(self) -> None:
        partition, seconds = self._partition(), self.scene.random.uniform(0.2, 3.0)
        self.scene.broker.stalled_until[partition] = self.scene.clock.monotonic() + seconds
        self.scene.say(self.name, f"partition {partition} stalls for {seconds:.1f} s")

    def _pass(self) -> None:
        self.scene.clock.advance(self.scene.random.choice([1.0, 4.0] if self.scene.is_nested else [1.0, 60.0, 3600.0]))

    def _marker(self) -> None:
        self.scene.broker.append_marker(self._partition())

    def _garbage(self) -> None:
        torn = CODEC.encode(records.content("p0", 99, []))[:-3]
        raw = self.scene.random.choice([None, b"", b"not ours at all", torn])
        where = self.scene.broker.append_garbage(self._partition(), raw)
        self.scene.say(self.name, f"{where} garbage")

    def _clean(self) -> None:
        self.scene.broker.clean()

    def _newer(self) -> None:
        for record in self.scene.catalogue.next_records():
            where = self.scene.broker.append_newer(record)
            self.scene.say(self.name, f"{where} of tomorrow's schema: {described(record)}")


def described(record: IndexLogRecord) -> str:
    """One record for people."""
    content, offer, deleted = record.content, record.offer, record.deleted
    views = " ".join(view.view_hash.hex()[:4] for view in content.views) if content else ""
    parts = [
        f"content v{content.rank.version} [{views}] {content.attributes}" if content else "",
        f"offer v{offer.rank.version} price {offer.price} stock {offer.stock}" if offer else "",
        f"deleted v{deleted.rank.version}" if deleted else "",
    ]
    return f"{record.tenant}/{record.product_id} " + ", ".join(part for part in parts if part)

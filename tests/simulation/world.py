"""One simulated world: who is in it, who acts when, what goes wrong, and that all is well once nothing does."""

import hashlib
import shutil
import tempfile
import traceback
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from unittest import mock

from structlog.testing import capture_logs

from schemas.clock import ManualClock
from schemas.errors import BrokerUnavailable, FreshlensError
from schemas.node_status import NodeStatus
from tests.simulation.actors import Actor, Compactor, Janitor, Nature, Node, Operator, Producer
from tests.simulation.broker import SimBroker
from tests.simulation.checks import Checks, Violation, check_same, require
from tests.simulation.disk import SimDisk
from tests.simulation.fold import fold
from tests.simulation.life import Crash, Life
from tests.simulation.workload import Catalogue
from tests.unit.index_nodes import records

STEPS = 120
_CALM_ROUNDS_MAX = 200
_EFFECTS_MAX = 50_000
_TRACE_LINES = 60
_NESTED_MAX = 2
_DAY_S = 86_400.0


class World:
    """Everything that there is, as one seed draws it."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.random, self.clock = seed, Random(seed), ManualClock()
        self._folder, self._history = str(folder), hashlib.blake2b(digest_size=8)
        random = self.random
        shards = 2 if random.random() < 0.2 else 1
        self.lane = records.lane_of(partitions=random.randint(shards, 3), shards=shards)
        self.broker = SimBroker(self.lane, self.clock, random)
        self.disk = SimDisk(folder, random, self._created)
        self.catalogue = Catalogue(random, self.clock, products=random.choice([2, 4, 8]))
        self.checks = Checks(self.lane, self.broker, self.disk, self.clock, random)
        self.trace: deque[str] = deque(maxlen=_TRACE_LINES)
        self.statuses: dict[str, NodeStatus] = {}
        self.is_calm = False
        self._effects = 0
        self._faults = random.choice([0.0, 0.005, 0.02])
        self._crashes = random.choice([0.0, 0.05, 0.2])
        self._interleaving = random.choice([0.0, 0.02, 0.1])
        self._populate()

    def _populate(self) -> None:
        random = self.random
        rows_max = random.choice([8, 14, 24, 1_000_000])
        self.producers = [Producer(f"producer {n}", self, self) for n in range(random.randint(1, 3))]
        self.nodes = [
            Node(f"node {shard}.{n}", self, self, shard, rows_max)
            for shard in range(self.lane.layout.shards)
            for n in range(2 // self.lane.layout.shards)
        ]
        self.compactors = [Compactor(f"compactor {n}", self, self) for n in range(random.randint(1, 2))]
        self._weights: dict[Actor, float] = dict.fromkeys(self.producers, 3.0)
        self._weights |= dict.fromkeys(self.nodes, 6.0)
        self._weights |= dict.fromkeys(self.compactors, 0.8)
        self._weights |= {Operator("operator", self, self): 0.3, Nature("nature", self, self): 1.5}
        self._weights |= {Janitor("janitor", self, self): 0.5}

    def run(self, steps: int) -> None:
        """Raises Violation as soon as a promise is broken."""
        for _ in range(steps):
            roll = self.random.random()
            if roll < 0.01:
                self._lose_power()
            elif roll < 0.02:
                self._upgrade()
            else:
                self._act(self._drawn())
        self._calm_down()

    def new_uuid(self) -> uuid.UUID:
        """Names of builds are drawn too, as their order may decide something."""
        return uuid.UUID(int=self.random.getrandbits(128), version=4)

    def say(self, who: str, what: str) -> None:
        line = f"{self.clock.monotonic():12.2f}  {who}: {what.replace(self._folder, '')}"
        self._history.update(line.encode())
        self.trace.append(line)

    @property
    def history(self) -> str:
        """A hash of everything that happened."""
        return self._history.hexdigest()

    def between_effects(self, life: Life, effect: str) -> None:
        """Others act while one waits; and what can fail fails."""
        self._effects += 1
        require(self._effects < _EFFECTS_MAX, "progress", f"{self._effects} effects and no end; now {effect}")
        if self.is_calm:
            return
        if self.random.random() < self._interleaving and sum(a.is_acting for a in self._weights) <= _NESTED_MAX:
            self._act(self._drawn())
        self._fail_perhaps(life, effect)

    def after_effect(self, life: Life, effect: str) -> None:
        """A write may have taken place although its caller is told that it failed."""
        if not self.is_calm and effect.startswith("store.put"):
            self._fail_perhaps(life, effect)

    @property
    def is_nested(self) -> bool:
        """Whether somebody acts while another waits."""
        return sum(actor.is_acting for actor in self._weights) > 1

    def _fail_perhaps(self, life: Life, effect: str) -> None:
        if self.random.random() >= self._faults:
            return
        if effect.startswith("store"):
            self.say(life.actor, f"{effect} fails")
            raise OSError(f"{effect}: simulated")
        if effect.startswith("log.") and effect != "log.read":
            self.say(life.actor, f"{effect} fails")
            raise BrokerUnavailable(f"{effect}: simulated")

    def _drawn(self) -> Actor:
        idle = [actor for actor in self._weights if not actor.is_acting]
        (actor,) = self.random.choices(idle, [self._weights[actor] for actor in idle])
        return actor

    def _act(self, actor: Actor) -> None:
        life = actor.life
        if not self.is_calm and life.effects_left is None and self.random.random() < self._crashes:
            life.effects_left, life.dies_after = self.random.randint(0, 25), self.random.random() < 0.5
        actor.is_acting = True
        try:
            actor.act()
        except Crash as crash:
            self.say(actor.name, f"crashes {crash}")
            actor.start()
        except (FreshlensError, OSError) as error:
            self.say(actor.name, f"stops: {type(error).__name__}: {error}")
            actor.start()
        except AssertionError as error:
            if isinstance(error, Violation):
                raise
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise Violation("own-asserts", f"{actor.name}: {where.name}, line {where.lineno}: {error}") from error
        finally:
            actor.is_acting = False
        for head in self.checks.new_heads():
            self.say("store", f"head {head.seq} of build {head.build}: {head.next_offsets}")
        self.checks.store()

    def _lose_power(self) -> None:
        """Every actor dies, and with it what was not synced."""
        self.say("nature", f"power fails; of what was not synced, back are {self.disk.lose_power()}")
        for actor in self._weights:
            actor.start()

    def _created(self, key: str) -> None:
        """From the moment in which a record is marked void, it means nothing."""
        if key.startswith("voids/"):
            partition, offset = key.rsplit("/", 1)[1].removesuffix(".json").split("-")
            meant = self.broker.void(int(partition), int(offset))
            self.catalogue.published = [each for each in self.catalogue.published if each is not meant]

    def _upgrade(self) -> None:
        """Every program is replaced by one that reads what was unreadable."""
        if readable := self.broker.upgrade():
            self.say("nature", f"an upgrade makes {readable} records readable")
            for actor in self._weights:
                actor.start()

    def let_days_pass(self) -> None:
        """Producers have delivered by then, and do not deliver again what has expired.

        Nobody stands still for days between two effects: retention's ages are made for less.
        """
        if self.is_nested:
            return
        for producer in self.producers:
            producer.flush()
        days = self.random.choice([1, 4, 20, 40])
        self.clock.advance(days * _DAY_S)
        for producer in self.producers:
            producer.forget_old(self.clock.now_us() // 1000)
        self.say("nature", f"{days} days pass")

    def _calm_down(self) -> None:
        """No more faults: everybody gets there, in a bounded number of steps, and nothing was lost."""
        self.is_calm = True
        self.say("nature", "faults end")
        self._upgrade()
        self.broker.stalled_until = [0.0] * len(self.broker.stalled_until)
        for actor in self._weights:
            actor.start()
        for producer in self.producers:
            producer.flush()
        self._until_settled()
        published = fold(self.catalogue.published)
        for node in self.nodes:
            assert node.serving.replica is not None
            check_same(node.name, node.serving.replica.view, published, node.shard, self.lane)

    def _until_settled(self) -> None:
        for _ in range(_CALM_ROUNDS_MAX):
            if all(node.is_settled for node in self.nodes):
                return
            for actor in (*self.compactors, *self.nodes):
                if self.random.random() < 0.5 and not (isinstance(actor, Node) and actor.is_settled):
                    self._act(actor)
        waiting = [node.described() for node in self.nodes if not node.is_settled]
        raise Violation("progress", f"after {_CALM_ROUNDS_MAX} rounds without a fault, still behind: {waiting}")


def run_seed(seed: int, steps: int = STEPS) -> World:
    """The whole life of the world of one seed.

    Raises:
        Violation: with how to replay it, and the last events.
    """
    with _own_folder() as folder, capture_logs() as logs:
        world = World(seed, folder)
        names = mock.patch.object(uuid, "uuid4", world.new_uuid)
        try:
            with names:
                world.run(steps)
        except Violation as violation:
            logged = [f"{each.get('event')}: {each.get('reason', '')}" for each in logs[-5:]]
            lines = [*world.trace, "last log lines:", *logged, f"replay: make sim SEED={seed}"]
            raise Violation(violation.promise, "\n".join([str(violation), *lines])) from violation
    return world


@contextmanager
def _own_folder() -> Iterator[Path]:
    """Where files are mapped from and built: memory, where the machine has such a folder."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="freshlens-sim-", dir=memory if memory.is_dir() else None))
    try:
        with mock.patch.object(tempfile, "tempdir", str(folder)):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""What the store holds of a shard: heads, builds and rejections, and from them the state of each build."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from index_nodes.generations.heads import Head, Rejection, head_numbers, read_head, rejections
from index_nodes.generations.manifest import MANIFEST, build_key, builds_prefix
from index_nodes.states import GENERATION, GenerationEvent, GenerationState, advance
from schemas.errors import ManifestCorrupt
from schemas.lane import Lane
from topics.store import ObjectStore

_NAME = re.compile(r"(\d{8}T\d{6})-[0-9a-f]{12}")
_TIME = "%Y%m%dT%H%M%S"


def build_name(now_us: int, unique: str) -> str:
    """The name of a new build: when it was begun, in UTC, and twelve hexadecimal digits of ``unique``.

    The time is part of the name so that a build whose compactor died before it wrote anything else has an age.
    """
    return f"{datetime.fromtimestamp(now_us // 1_000_000, UTC).strftime(_TIME)}-{unique[:12]}"


def made_at_us(build: str) -> int | None:
    """When a build was begun, by its name; None for a name that is not ours."""
    found = _NAME.fullmatch(build)
    if found is None:
        return None
    return int(datetime.strptime(found[1], _TIME).replace(tzinfo=UTC).timestamp()) * 1_000_000


@dataclass(frozen=True)
class Sibling:
    """A head of another shard, layout or lane, as far as it matters to this one."""

    lane: str
    build: str
    log_id: str
    next_offsets: dict[str, int]


@dataclass(frozen=True)
class Inventory:
    """One shard.

    Attributes:
        heads: of this shard, ascending.
        siblings: every other head in the store: builds of all lanes and layouts lie side by side.
        files: build → its files, the manifest among them if it is there.
        rejections: by build, oldest first.
    """

    heads: tuple[Head, ...] = ()
    siblings: tuple[Sibling, ...] = ()
    files: dict[str, frozenset[str]] = field(default_factory=dict)
    rejections: dict[str, Rejection] = field(default_factory=dict)

    @property
    def newest_seq(self) -> int:
        return self.heads[-1].seq if self.heads else 0

    @property
    def builds(self) -> list[str]:
        """Every build that is there or that a head or a record names, oldest first."""
        return sorted({*self.files, *(head.build for head in self.heads), *self.rejections})

    def state_of(self, build: str) -> GenerationState:
        """Where the build is in its life, by what the store tells; raises IllegalTransition if that cannot be."""
        state = GenerationState.PLANNED
        for event in self._events(build):
            state = advance(GENERATION, state, event)
        return state

    def _events(self, build: str) -> Iterator[GenerationEvent]:
        seqs = [head.seq for head in self.heads if head.build == build]
        is_complete = MANIFEST in self.files.get(build, ())
        yield GenerationEvent.BUILD
        if not (seqs or is_complete or build in self.rejections):
            return
        yield GenerationEvent.BUILT
        if build in self.rejections:
            yield GenerationEvent.REJECT
        if seqs:
            yield GenerationEvent.ACCEPT if build in self.rejections else GenerationEvent.VERIFIED
            yield GenerationEvent.PUBLISH
            yield from self._events_published(seqs)
        elif self._outlived_its_head(build):
            yield from (GenerationEvent.VERIFIED, GenerationEvent.PUBLISH, GenerationEvent.SUPERSEDE)
        if not is_complete and (not seqs or seqs[-1] != self.newest_seq):
            yield GenerationEvent.DELETE

    def _outlived_its_head(self, build: str) -> bool:
        """Whether retention has removed the heads of its time, and will remove the build next."""
        if build in self.rejections or not self.heads or self.heads[0].seq == 1:
            return False
        return (made_at_us(build) or 0) < self.heads[0].created_at_us

    def _events_published(self, seqs: list[int]) -> Iterator[GenerationEvent]:
        is_active = True
        for head in self.heads:
            if head.seq <= seqs[0]:
                continue
            is_its = head.seq in seqs
            if is_active and not is_its:
                yield GenerationEvent.SUPERSEDE
            elif is_its and not is_active:
                yield GenerationEvent.ROLL_BACK
            is_active = is_its


def read_inventory(store: ObjectStore, lane: Lane, shard: int) -> Inventory:
    """What the store holds now.

    Raises:
        ManifestCorrupt: a head or a record cannot be read, so nobody can say what may be removed.
    """
    # Builds before heads: one that is published meanwhile is then known as published or not at all.
    files = _files(store, shard)
    return Inventory(
        heads=tuple(read_head(store, lane, shard, seq) for seq in head_numbers(store, lane, shard)),
        siblings=tuple(_siblings(store, lane, shard)),
        files=files,
        rejections={rejection.build: rejection for rejection in rejections(store, lane, shard)},
    )


def delete_build(store: ObjectStore, shard: int, build: str) -> None:
    """Remove what there is of a build; the manifest first, so that no half of it can be loaded."""
    folder = build_key(shard, build)
    manifest = build_key(shard, build, MANIFEST)
    for key in sorted(store.list(folder), key=lambda key: (key != manifest, key)):
        store.delete(key)


def _files(store: ObjectStore, shard: int) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for key in store.list(builds_prefix(shard)):
        _, _, build, file = key.split("/", 3)
        found.setdefault(build, set()).add(file)
    return {build: frozenset(files) for build, files in found.items()}


def _siblings(store: ObjectStore, lane: Lane, shard: int) -> Iterator[Sibling]:
    for key in store.list("heads"):
        _, layout_id, lane_name, of_shard, _ = key.split("/", 4)
        if (layout_id, lane_name, of_shard) == (lane.layout.layout_id, lane.name, str(shard)):
            continue
        try:
            head = msgspec.json.decode(store.get(key), type=Head)
        except FileNotFoundError:
            continue  # removed meanwhile
        except msgspec.DecodeError as error:
            raise ManifestCorrupt(f"{key}: {error}") from error
        yield Sibling(lane_name, head.build, head.log_id, head.next_offsets)

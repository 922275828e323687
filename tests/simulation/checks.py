"""What must always be true, checked from outside: against what the broker has and what the disk has."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

import msgspec
from msgspec.structs import replace

from index_nodes.generations import generation as generations
from index_nodes.generations.generation import Generation
from index_nodes.generations.heads import Head
from index_nodes.generations.manifest import MANIFEST, Manifest, build_key, check_files
from index_nodes.products.product import ProductState
from index_nodes.views.search import search
from index_nodes.views.view import IndexView
from schemas.clock import ManualClock
from schemas.errors import FreshlensError
from schemas.filters import And, AnyOf, Filter, Not, Range
from schemas.identity import partition_of, product_key
from schemas.index_log import IndexedContent, IndexedOffer, IndexLogRecord
from schemas.lane import Lane
from tests.simulation.broker import SimBroker
from tests.simulation.disk import SimDisk, SimStore
from tests.simulation.fold import Fold, Product, best, fold, fold_product
from tests.simulation.life import Life, Undisturbed
from tests.simulation.workload import PICTURES, TENANTS
from topics.declarations import TOMBSTONE_MS

Answers = tuple[tuple[str, float], ...]


class Violation(AssertionError):
    """A promise was broken. ``promise`` is its name."""

    def __init__(self, promise: str, what: str) -> None:
        super().__init__(what)
        self.promise = promise


def require(holds: bool, promise: str, what: Callable[[], str] | str) -> None:
    if not holds:
        raise Violation(promise, what if isinstance(what, str) else what())


@dataclass(frozen=True)
class Held:
    """What an index holds of one product."""

    state: ProductState
    vectors: tuple[bytes, ...]


@dataclass(frozen=True)
class Captured:
    """A view that a slow query still holds, and what it saw at first."""

    view: IndexView
    holdings: dict[str, Held]
    answers: list[Answers]


_FILTERS: tuple[tuple[Filter | None, Callable[[Product], bool]], ...] = (
    (None, lambda product: True),
    (None, lambda product: True),
    (AnyOf("in_stock", (True,)), lambda product: product.is_in_stock),
    (AnyOf("colour", ("red",)), lambda product: product.fields.get("colour") == "red"),
    (Not(AnyOf("colour", ("red",))), lambda product: product.fields.get("colour") != "red"),
    (AnyOf("tags", ("blue",)), lambda product: "blue" in product.fields.get("tags", ())),  # type: ignore[operator]
    (Range("price", gte=1.5), lambda product: product.fields.get("price", 0.0) >= 1.5),  # type: ignore[operator]
    (
        And((AnyOf("in_stock", (True,)), Not(AnyOf("sale", (True,))))),
        lambda product: product.is_in_stock and not product.fields.get("sale", False),
    ),
)


@dataclass
class Checks:
    """Remembers what was seen, to compare it with what comes."""

    lane: Lane
    broker: SimBroker
    disk: SimDisk
    clock: ManualClock
    random: Random
    heads: dict[int, list[Head]] = field(default_factory=dict)
    _seen: int = 0
    _files: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _live: dict[tuple[int, int], int] = field(default_factory=dict)
    _meaning: dict[tuple[int, int], object] = field(default_factory=dict)

    def prefix(self, offsets: Mapping[int, int], begin: Mapping[int, int] | None = None) -> Iterator[IndexLogRecord]:
        """The records below these offsets, and not below ``begin``."""
        for partition, end in sorted(offsets.items()):
            first = begin[partition] if begin else 0
            for written in self.broker.partitions[partition][first:end]:
                require(
                    not written.is_newer or written.is_void,
                    "unreadable-stops",
                    f"read past what nobody can read in {partition}",
                )
                if written.means is not None:
                    yield written.means

    def view(self, where: str, view: IndexView, steady: frozenset[str] = frozenset()) -> list[str]:
        """The view is what it claims to be, and so are its answers; the keys of what it shows.

        Args:
            steady: what was shown all the time since content is withheld.
        """
        base = list(self.prefix(view.offsets.applied))
        expected = fold(base)
        held = dict(held_by_view(view))
        if view.offsets.is_skimmed:
            beyond = [replace(each, content=None) for each in self.prefix(view.offsets.masked, view.offsets.applied)]
            expected = self._skimmed(where, held, base, beyond, steady)
        self._holdings(where, held, expected, is_skimmed=view.offsets.is_skimmed)
        visible = [key for key, product in expected.items() if product.content is not None]
        require(view.products == len(visible), "counts", f"{where} counts {view.products} products, not {len(visible)}")
        rows = sum(len(expected[key].vectors) for key in visible)
        require(view.live_rows == rows, "counts", f"{where} counts {view.live_rows} rows, not {rows}")
        self._answers(where, view, expected)
        if not view.offsets.is_skimmed:
            self._digests(where, {p: d.live for p, d in view.digests.items()}, view.offsets.applied, expected)
        return visible

    def _skimmed(
        self,
        where: str,
        held: dict[str, Held],
        base: list[IndexLogRecord],
        beyond: list[IndexLogRecord],
        steady: frozenset[str],
    ) -> Fold:
        """While content is withheld: no deletion below ``masked`` is missing, and no offer of what was there before.

        What appears later has the offers of its own prefix at least, and further ones as they are read again.
        """
        expected = fold(base)
        for key in {_key(record) for record in beyond}:
            of_base = [record for record in base if _key(record) == key]
            of_beyond = [record for record in beyond if _key(record) == key]
            newest = fold_product([*of_base, *of_beyond])
            oldest = fold_product([*of_base, *(replace(record, offer=None) for record in of_beyond)])
            offer = held[key].state.offer if key in held else None
            if key not in steady and newest.content is not None and _rank(oldest) <= _rank(offer) <= _rank(newest):
                newest = dataclasses.replace(newest, offer=offer)
            expected[key] = newest
        return expected

    def new_heads(self) -> list[Head]:
        """Heads that were published since, each a continuation of its chain and the fold of what it says."""
        keys, self._seen = self.disk.created[self._seen :], len(self.disk.created)
        published = [key for key in keys if key.startswith("heads/")]
        return [self._head(key) for key in published]

    def store(self) -> None:
        """Whatever a head names is there and would survive, and the log goes on from it."""
        heads = {key for key in self.disk.objects if key.startswith("heads/")}
        for key in sorted(heads - self.disk.removed):
            head, shard = self._decoded(key)
            require(head in self.heads.get(shard, ()), "heads-chain", f"{key} was put in place of another")
            for file in (MANIFEST, *self._files[head.build]):
                name = build_key(shard, head.build, file)
                require(self.disk.is_durable(name), "head-has-build", f"head {head.seq} needs {name}")
            for partition, offset in head.next_offsets.items():
                begin = self.broker.begin[int(partition)]
                require(
                    begin <= offset, "log-reaches-back",
                    f"head {head.seq} goes on at {partition}@{offset}, the log begins at {begin}",
                )  # fmt: skip

    def _decoded(self, key: str) -> tuple[Head, int]:
        return msgspec.json.decode(self.disk.objects[key], type=Head), int(key.split("/")[-2])

    def _head(self, key: str) -> Head:
        head, shard = self._decoded(key)
        chain = self.heads.setdefault(shard, [])
        require(head.seq == len(chain) + 1, "heads-chain", f"head {head.seq} after {len(chain)} of shard {shard}")
        chain.append(head)
        raw = self.disk.objects.get(build_key(shard, head.build, MANIFEST))
        if raw is None:
            raise Violation("head-has-build", f"head {head.seq} names build {head.build}, which is not there")
        manifest = msgspec.json.decode(raw, type=Manifest)
        require(head.next_offsets == manifest.next_offsets, "heads-chain", f"head {head.seq} has offsets of its own")
        ends = self.broker.bounds.end
        require(
            all(int(offset) <= ends[int(p)] for p, offset in head.next_offsets.items()),
            "heads-chain", f"head {head.seq} is beyond the end of the log",
        )  # fmt: skip
        if head.build not in self._files:
            self._files[head.build] = tuple(manifest.files)
            self._build(f"head {head.seq} of shard {shard}", manifest)
        return head

    def _build(self, where: str, manifest: Manifest) -> None:
        store = SimStore(self.disk, Life("checker", Undisturbed()))
        try:
            loaded = generations.load(check_files(store, manifest), manifest, self.lane.space.dim)
        except FreshlensError as error:
            raise Violation("head-has-build", f"{where} does not load: {error}") from error
        expected = fold(self.prefix(manifest.positions))
        self._holdings(where, dict(held_by_generation(loaded)), expected)
        self._digests(where, {p: d.live for p, d in loaded.digests.items()}, manifest.positions, expected)

    def _holdings(self, where: str, held: dict[str, Held], expected: Fold, is_skimmed: bool = False) -> None:
        for key in held.keys() - expected.keys():
            raise Violation("no-ghost", f"{where} holds {key}, of which nothing was said")
        for key, product in expected.items():
            self._product(f"{where}: {key}", held.get(key), product, is_skimmed)

    def _product(self, where: str, held: Held | None, expected: Product, is_skimmed: bool) -> None:
        if held is None:
            is_forgotten = expected.content is None and expected.offer is None and self._is_old(expected)
            require(is_forgotten or (is_skimmed and expected.content is None), "nothing-lost", f"{where} is missing")
            return
        state = held.state
        if expected.content is None:
            require(not state.is_visible, "no-ghost", f"{where} is shown, and was deleted by {expected.deleted}")
            if is_skimmed:
                return  # what nobody sees may wait
        require(state.is_visible or expected.content is None, "nothing-lost", f"{where} is not shown")
        require(
            _content(state.content) == _content(expected.content), "view-is-fold",
            lambda: f"{where} has {_content(state.content)}, not {_content(expected.content)}",
        )  # fmt: skip
        require(
            state.offer == expected.offer, "view-is-fold", f"{where} is offered {state.offer}, not {expected.offer}"
        )
        if not (state.deleted is None and self._is_old(expected)):
            require(
                state.deleted == expected.deleted, "view-is-fold",
                f"{where} remembers deletion {state.deleted}, not {expected.deleted}",
            )  # fmt: skip
        require(
            held.vectors == tuple(expected.vectors.values()),
            "view-is-fold",
            f"{where} has other vectors than its views",
        )

    def _is_old(self, product: Product) -> bool:
        """Whether its tombstone may be forgotten."""
        return product.deleted is not None and product.deleted_at_ms < self.clock.now_us() // 1000 - TOMBSTONE_MS

    def _answers(self, where: str, view: IndexView, expected: Fold) -> None:
        tenant, picture = self.random.choice(TENANTS), self.random.choice(PICTURES)
        clause, passes = self.random.choice(_FILTERS)
        k, exact, collapse = self.random.randint(1, 6), self.random.random() < 0.5, self.random.random() < 0.3
        shown = {key: product for key, product in expected.items() if product.content is not None}
        found = search(view, tenant=tenant, query=picture, k=k, clause=clause, exact=exact, collapse=collapse)
        given = [(hit.product_id, hit.similarity) for hit in found.hits]
        wanted = best(shown, tenant, picture, k, passes, collapse)
        require(given == wanted, "answers", f"{where}: tenant {tenant}, {k} best of {clause}: {given}, not {wanted}")

    def _digests(self, where: str, live: Mapping[int, int], at: Mapping[int, int], expected: Fold) -> None:
        """Equal offsets, equal digests; and equal digests only of equal products."""
        parts: dict[int, list[object]] = {partition: [] for partition in live}
        for key, product in sorted(expected.items()):
            tenant, _, product_id = key.partition("/")
            partition = partition_of(product_key(tenant, product_id), self.lane.layout.partitions)
            parts[partition].append((key, _content(product.content), product.offer))
        for partition, digest in live.items():
            where_now = f"{where}, partition {partition} at {at[partition]}"
            known = self._live.setdefault((partition, at[partition]), digest)
            require(known == digest, "digests", f"{where_now}: {digest:032x}, elsewhere {known:032x}")
            shown = [part for part in parts[partition] if part[1:] != (None, None)]  # type: ignore[index]
            meaning = self._meaning.setdefault((partition, digest), shown)
            require(meaning == shown, "digests", f"{where_now}: two states share the digest {digest:032x}")


def check_same(where: str, view: IndexView, published: Fold, shard: int, lane: Lane) -> None:
    """What is shown is what was published, whatever order the log has it in."""
    held = dict(held_by_view(view))
    for key, product in published.items():
        tenant, _, product_id = key.partition("/")
        partition = partition_of(product_key(tenant, product_id), lane.layout.partitions)
        if partition not in lane.layout.partitions_of(shard):
            continue
        state = held[key].state if key in held else ProductState()
        is_same = _content(state.content) == _content(product.content) and state.offer == product.offer
        require(is_same, "nothing-lost", f"{where}: {key} is {state}, published was {product}")


def captured(view: IndexView) -> Captured:
    """Take what a query sees now."""
    return Captured(view, dict(held_by_view(view)), all_answers(view))


def check_captured(where: str, held: Captured) -> None:
    """A query that holds its view sees the same as at first."""
    try:
        holdings, answers = dict(held_by_view(held.view)), all_answers(held.view)
    except Exception as error:
        raise Violation("captured-view", f"{where}: it cannot be read any more: {error!r}") from error
    require(holdings == held.holdings, "captured-view", f"{where}: products changed in it")
    require(answers == held.answers, "captured-view", f"{where}: it answers {answers}, and did {held.answers}")


def all_answers(view: IndexView) -> list[Answers]:
    """To two questions for each tenant, without what the view remembers of earlier ones."""
    view._selections.clear()
    asked = [(tenant, picture) for tenant in TENANTS for picture in PICTURES[:2]]
    found = [search(view, tenant=tenant, query=picture, k=6) for tenant, picture in asked]
    return [tuple((hit.product_id, hit.similarity) for hit in each.hits) for each in found]


def held_by_view(view: IndexView) -> Iterator[tuple[str, Held]]:
    for slot in range(view.slots):
        vectors = tuple(view.vector(row).astype("<f2").tobytes() for row in view.rows(slot))
        yield view.keys.raw(slot).decode(), Held(view.state(slot), vectors)


def held_by_generation(generation: Generation) -> Iterator[tuple[str, Held]]:
    for slot in range(generation.slots):
        vectors = tuple(generation.vectors[row].astype("<f2").tobytes() for row in generation.rows_of(slot))
        yield generation.keys.raw(slot).decode(), Held(generation.state(slot), vectors)


def _content(content: object) -> object:
    """What is compared of a content group: all but the vectors, which are compared as rows."""
    if not isinstance(content, IndexedContent):
        return None
    views = tuple(dict.fromkeys(view.view_hash for view in content.views))
    return content.rank, content.title, content.description, content.attributes, views, content.dup_group


def _key(record: IndexLogRecord) -> str:
    return f"{record.tenant}/{record.product_id}"


def _rank(said: Product | IndexedOffer | None) -> tuple[int, bytes]:
    """Of an offer, or of a product's."""
    offer = said.offer if isinstance(said, Product) else said
    return (offer.rank.version, offer.rank.digest) if offer else (-1, b"")

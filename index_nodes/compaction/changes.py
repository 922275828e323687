"""What differs between two states of a catalogue: products added, removed and changed."""

from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from index_nodes.generations.generation import Generation
from index_nodes.products.product import UNKNOWN, ProductState
from index_nodes.views.view import IndexView

EXAMPLES_MAX = 20
_Pair = tuple[bytes, ProductState, ProductState]


class ProductChange(msgspec.Struct, frozen=True):
    """A product (``tenant/product_id``) and its versions on both sides, None where it cannot be found."""

    product: str
    before: int | None
    after: int | None


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """Counts, and of each kind the first by key."""

    added: int = 0
    removed: int = 0
    changed: int = 0
    added_first: tuple[ProductChange, ...] = ()
    removed_first: tuple[ProductChange, ...] = ()
    changed_first: tuple[ProductChange, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        return {"added": self.added, "removed": self.removed, "changed": self.changed}


def changes_within(view: IndexView, examples: int = EXAMPLES_MAX) -> Changes:
    """What the log behind a generation has changed."""
    return _counted(_touched(view), examples)


def changes_between(old: Generation, new: Generation, examples: int = EXAMPLES_MAX) -> Changes:
    """What one generation has that another has not."""
    return _counted(_paired(old, new), examples)


def _touched(view: IndexView) -> Iterator[_Pair]:
    overlay, main = view.overlay.overlay, view.generation
    for entry in np.flatnonzero(view.overlay.current).tolist():
        slot = int(overlay.slots[entry])
        yield view.keys.raw(slot), main.state(slot) if slot < main.slots else UNKNOWN, overlay.state(entry)


def _paired(old: Generation, new: Generation) -> Iterator[_Pair]:
    for slot in range(new.slots):
        key = new.keys.raw(slot)
        found = old.keys.find(key)
        if found is None or old.raw_state(found) != new.raw_state(slot):
            yield key, UNKNOWN if found is None else old.state(found), new.state(slot)
    for slot in np.flatnonzero(old.visible).tolist():
        key = old.keys.raw(slot)
        if new.keys.find(key) is None:
            yield key, old.state(slot), UNKNOWN  # its tombstone was forgotten


def _counted(pairs: Iterable[_Pair], examples: int) -> Changes:
    found: dict[str, list[ProductChange]] = {"added": [], "removed": [], "changed": []}
    for key, before, after in pairs:
        if kind := _kind(before, after):
            found[kind].append(ProductChange(key.decode(), _version(before), _version(after)))
    first = {f"{kind}_first": _first(changes, examples) for kind, changes in found.items()}
    counts = {kind: len(changes) for kind, changes in found.items()}
    return msgspec.convert({**counts, **first}, Changes)


def _kind(before: ProductState, after: ProductState) -> str | None:
    if before.is_visible and after.is_visible:
        return "changed" if (before.content, before.offer) != (after.content, after.offer) else None
    if after.is_visible:
        return "added"
    return "removed" if before.is_visible else None


def _first(changes: list[ProductChange], examples: int) -> tuple[ProductChange, ...]:
    return tuple(sorted(changes, key=lambda change: change.product)[:examples])


def _version(state: ProductState) -> int | None:
    return state.version if state.is_visible else None

"""The state of each build, told from what lies in the store."""

from dataclasses import replace

import pytest

from index_nodes.compaction.inventory import Inventory, build_name, made_at_us
from index_nodes.generations.heads import Head, Rejection
from index_nodes.generations.manifest import MANIFEST
from index_nodes.states import GENERATION, GenerationEvent, GenerationState, IllegalTransition, advance

NOW_US = 1_795_000_000_000_000
A, B, C = (build_name(NOW_US + 3_600_000_000 * hours, "0123456789ab") for hours in range(3))
WHOLE = frozenset({MANIFEST, "vectors.f16"})


def head(seq: int, build: str) -> Head:
    return Head(
        seq=seq,
        build=build,
        manifest_checksum="",
        next_offsets={},
        log_id="c:t",
        reason="",
        created_at_us=(made_at_us(build) or 0) + 60_000_000,
    )


def rejection(build: str) -> Rejection:
    return Rejection(build=build, parent_seq=1, manifest_checksum="", reasons=("x",), rejected_at_us=NOW_US)


PUBLISHED = Inventory(heads=(head(1, A), head(2, B)), files={A: WHOLE, B: WHOLE})
THINNED = replace(PUBLISHED, heads=PUBLISHED.heads[1:], files={**PUBLISHED.files, C: WHOLE})
"""Retention has removed head 1, and another build is on its way."""


def test_a_name_says_when() -> None:
    assert A.startswith("20261118T")
    assert made_at_us(A) == NOW_US // 1_000_000 * 1_000_000
    assert made_at_us("0123456789abcdef0123456789abcdef") is None
    assert sorted([C, A, B]) == [A, B, C]


@pytest.mark.parametrize(
    ("inventory", "build", "expected"),
    [
        (Inventory(files={A: frozenset({"vectors.f16"})}), A, GenerationState.BUILDING),
        (Inventory(files={A: WHOLE}), A, GenerationState.VERIFYING),
        (Inventory(files={A: WHOLE}, rejections={A: rejection(A)}), A, GenerationState.REJECTED),
        (Inventory(rejections={A: rejection(A)}), A, GenerationState.DELETED),
        (PUBLISHED, B, GenerationState.ACTIVE),
        (PUBLISHED, A, GenerationState.RETIRING),
        (replace(PUBLISHED, rejections={B: rejection(B)}), B, GenerationState.ACTIVE),
        (replace(PUBLISHED, heads=(*PUBLISHED.heads, head(3, A))), A, GenerationState.ACTIVE),
        (replace(PUBLISHED, heads=(*PUBLISHED.heads, head(3, A))), B, GenerationState.RETIRING),
        (replace(PUBLISHED, heads=(*PUBLISHED.heads, head(3, A), head(4, B), head(5, A))), A, GenerationState.ACTIVE),
        (replace(PUBLISHED, files={B: WHOLE}), A, GenerationState.DELETED),
        (replace(PUBLISHED, heads=PUBLISHED.heads[1:]), A, GenerationState.RETIRING),
        (
            replace(PUBLISHED, heads=PUBLISHED.heads[1:], files={**PUBLISHED.files, C: WHOLE}),
            C,
            GenerationState.VERIFYING,
        ),
    ],
)
def test_the_state_of_a_build(inventory: Inventory, build: str, expected: GenerationState) -> None:
    assert inventory.state_of(build) is expected


def test_every_build_is_listed_once_oldest_first() -> None:
    inventory = replace(PUBLISHED, rejections={C: rejection(C)}, heads=(*PUBLISHED.heads, head(3, A)))
    assert inventory.builds == [A, B, C]


def test_a_build_that_is_served_is_active_even_if_it_is_damaged() -> None:
    """Deleting what is served is no transition; that it is gone is for the checks to say when it is loaded."""
    assert replace(PUBLISHED, files={A: WHOLE}).state_of(B) is GenerationState.ACTIVE
    with pytest.raises(IllegalTransition):
        advance(GENERATION, GenerationState.ACTIVE, GenerationEvent.DELETE)

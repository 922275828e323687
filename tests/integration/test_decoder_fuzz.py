"""A few hundred mutated files through the real decoder child; ``python -m tests.fuzz`` runs as many as one likes."""

from random import Random

from processors.pictures.decode import DecodeLimits
from tests.fuzz.campaign import campaign
from tests.fuzz.mutations import MUTATIONS, mutated
from tests.fuzz.seeds import seeds

INPUTS = 400
MEMORY_BYTES_MAX = 768 * 1024**2


async def test_no_mutated_file_ends_or_hangs_a_child_or_takes_its_memory() -> None:
    """Seed 20, 400 inputs: enough that every kind and every mutation comes."""
    report = await campaign(range(INPUTS), seed=20)
    assert report.findings == []
    assert report.inputs == INPUTS == report.outcomes.total()
    assert report.outcomes["decoded"] > INPUTS // 10, "mutations so wild that no decoder gets far test little"
    assert report.outcomes["undecodable-image"] > INPUTS // 10
    assert 0 < report.memory_bytes < MEMORY_BYTES_MAX


def test_an_input_is_the_same_whenever_it_is_replayed() -> None:
    assert mutated(3, 17) == mutated(3, 17)
    assert mutated(3, 17) != mutated(3, 18)
    assert mutated(3, 17) != mutated(4, 17)
    assert {mutated(20, number)[0].name for number in range(INPUTS)} == {seed.name for seed in seeds()}


def test_every_mutation_changes_something_and_copes_with_nothing() -> None:
    raw = seeds()[0].raw
    for mutation in MUTATIONS:
        assert any(mutation(Random(number), bytearray(raw)) != raw for number in range(10))
        mutation(Random(1), bytearray())
    assert len(raw) < DecodeLimits().image_bytes_max

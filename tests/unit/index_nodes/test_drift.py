"""When a codebook is learnt anew: a pure decision."""

import numpy as np
import pytest
from msgspec.structs import replace

from index_nodes.compaction.drift import stamped, why_retrain
from index_nodes.generations import ivf
from index_nodes.generations.manifest import IndexFacts, Manifest
from index_nodes.settings import BuildPolicy
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index

NOW_US = 1_795_000_000_000_000
DAY_US = 86_400_000_000
FRESH = IndexFacts(
    nlist=512,
    nprobe=64,
    rescored=100,
    recall_at_10=0.97,
    codebook_epoch=3,
    trained_at_us=NOW_US - DAY_US,
    trained_rows=100_000,
    trained_residual=0.10,
    trained_imbalance=1.2,
    residual=0.10,
    imbalance=1.2,
)


@pytest.mark.parametrize(
    ("facts", "rows", "rejected", "reason"),
    [
        (FRESH, 100_000, 0, None),
        (FRESH, 199_999, 0, None),
        (FRESH, 200_000, 0, "200000 rows, trained for 100000"),
        (FRESH, 50_000, 0, "50000 rows, trained for 100000"),
        (replace(FRESH, imbalance=1.79), 100_000, 0, None),
        (replace(FRESH, imbalance=1.81), 100_000, 0, "list imbalance 1.81, at training 1.20"),
        (replace(FRESH, residual=0.114), 100_000, 0, None),
        (replace(FRESH, residual=0.116), 100_000, 0, "residual error 0.116, at training 0.100"),
        (replace(FRESH, trained_at_us=NOW_US - 30 * DAY_US), 100_000, 0, "30 days old"),
        (FRESH, 100_000, 1, "rejected"),
        (IndexFacts(), 1_000_000, 1, None),
    ],
)
def test_reasons(facts: IndexFacts, rows: int, rejected: int, reason: str | None) -> None:
    found = why_retrain(BuildPolicy(), facts, rows, NOW_US, rejected)
    assert found is None if reason is None else reason in str(found)


def test_a_codebook_keeps_where_it_comes_from() -> None:
    measured = IndexFacts(nlist=512, residual=0.2, imbalance=1.5)
    kept = stamped(measured, FRESH, True, 120_000, NOW_US)
    assert (kept.codebook_epoch, kept.trained_at_us, kept.trained_rows) == (3, FRESH.trained_at_us, 100_000)
    assert (kept.residual, kept.trained_residual, kept.imbalance, kept.trained_imbalance) == (0.2, 0.1, 1.5, 1.2)
    new = stamped(measured, FRESH, False, 120_000, NOW_US)
    assert (new.codebook_epoch, new.trained_at_us, new.trained_rows) == (4, NOW_US, 120_000)
    assert (new.trained_residual, new.trained_imbalance) == (0.2, 1.5)
    assert stamped(IndexFacts(), FRESH, False, 5, NOW_US) == IndexFacts()


def test_a_codebook_is_kept_until_the_rows_drift(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """And then learnt anew in the same compaction that noticed it."""
    monkeypatch.setattr(ivf, "FLAT_ROWS_MAX", 600)
    random = np.random.default_rng(1)

    def compacted(first: int, count: int, centre: float) -> Manifest:
        vectors = centre + random.standard_normal((count, 8))
        index.apply(*(records.content(f"p{first + n}", 1, [records.unit(row)]) for n, row in enumerate(vectors)))
        made = index.compact().manifest
        assert made is not None
        return made

    first = compacted(0, 1000, 0.0)
    assert (first.retrained, first.index.codebook_epoch) == ("there was none before", 1)
    second = compacted(1000, 50, 0.0)
    assert (second.retrained, second.index.codebook_epoch, second.index.trained_rows) == (None, 1, 1000)
    assert second.index.trained_at_us == first.index.trained_at_us
    third = compacted(1050, 800, 20.0)
    assert third.retrained is not None
    assert "at training" in third.retrained
    assert (third.index.codebook_epoch, third.index.trained_rows) == (2, 1850)

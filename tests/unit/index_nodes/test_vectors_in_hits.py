"""Hits carry the vector of their best row when ranking asks for it, and the version of their content."""

import numpy as np
import pytest

from index_nodes.views.search import search
from tests.unit.index_nodes import records
from tests.unit.index_nodes.conftest import Index

RED, BLUE = records.picture(1), records.picture(2)


@pytest.mark.parametrize("exact", [False, True])
def test_a_hit_has_the_vector_that_was_found(index: Index, exact: bool) -> None:
    index.apply(records.content("both", 3, [BLUE, RED]), records.content("blue", 4, [BLUE]))
    index.apply(records.offer("both", 9, 5.0))
    for _ in range(2):
        found = search(index.view, tenant="default", query=RED, k=2, exact=exact, with_vectors=True)
        vectors = {hit.product_id: np.frombuffer(hit.vector, "<f2").astype(np.float32) for hit in found.hits}
        np.testing.assert_allclose(vectors["both"], RED, atol=1e-3)
        np.testing.assert_allclose(vectors["blue"], BLUE, atol=1e-3)
        assert {hit.product_id: (hit.content_version, hit.version) for hit in found.hits} == {
            "both": (3, 9),
            "blue": (4, 4),
        }
        assert all(hit.vector == b"" for hit in index.search(RED).hits)
        index.compact_and_swap()

"""Searches that come at the same time look into the generation together, in one call of FAISS."""

import threading
from collections.abc import Callable

import numpy as np

from index_nodes.generations.generation import Generation
from index_nodes.rows.passing import Nearest
from index_nodes.views.view import IndexView
from schemas.embeddings import Vector


class Together:
    """Searches of one view, tenant, number wanted and effort, without a filter. Join all before the first looks."""

    def __init__(self, view: IndexView, tenant: str, wanted: int, effort: float) -> None:
        self._view, self._tenant, self._wanted, self._effort = view, tenant, wanted, effort
        self._queries: list[Vector] = []
        self._found: list[Nearest] | None = None
        self._looking = threading.Lock()

    def join(self, query: Vector) -> Callable[[], Nearest]:
        """Look for this (dim,) vector, too; what is returned gives the generation's nearest passing rows to it.

        Whoever asks first looks for all; where nobody asks, as all is remembered, nothing is done.
        """
        place = len(self._queries)
        self._queries.append(query)
        return lambda: self._all()[place]

    def _all(self) -> list[Nearest]:
        with self._looking:  # some of them may be in threads
            if self._found is None:
                self._found = self._look()
        return self._found

    def _look(self) -> list[Nearest]:
        ((main, passing),) = (
            each for each in self._view.select(self._tenant, None).parts if isinstance(each[0], Generation)
        )
        assert isinstance(main, Generation)
        return main.search_all(np.stack(self._queries), self._wanted, passing, self._effort)

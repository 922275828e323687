"""Methods that remember their last answers."""

import functools
import weakref
from collections.abc import Callable, Hashable
from typing import TypeVar

T = TypeVar("T")


def remembering(method: Callable[..., T], count: int) -> Callable[..., T]:
    """A method that remembers its last answers, without keeping its own object from being let go at once."""
    weak = weakref.WeakMethod(method)

    @functools.lru_cache(maxsize=count)
    def remembered(*arguments: Hashable) -> T:
        bound = weak()
        assert bound is not None  # whoever calls it holds the object
        return bound(*arguments)

    return remembered

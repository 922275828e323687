"""Methods that remember their last answers."""

import functools
import weakref
from collections.abc import Callable, Hashable
from types import MethodType
from typing import TypeVar

T = TypeVar("T")


def remembering(method: Callable[..., T], count: int) -> Callable[..., T]:
    """A method that remembers its last answers, without keeping its own object from being let go at once."""
    assert isinstance(method, MethodType)
    function, owner = method.__func__, weakref.ref(method.__self__)

    @functools.lru_cache(maxsize=count)
    def remembered(*arguments: Hashable) -> T:
        answer: T = function(owner(), *arguments)  # whoever calls it holds the object
        return answer

    return remembered

"""An event loop whose clock jumps to whatever comes next: time passes at once, and the same way each time."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now_s


class _Selector(selectors.SelectSelector):
    def __init__(self, loop: _Loop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nothing is going to happen any more"
        ready = super().select(0)
        if not ready:
            self._loop.now_s += timeout
        return ready


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """As ``asyncio.run``, for what waits for time only: not for threads, processes or the network."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)

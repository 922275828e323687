"""The life of an actor: every effect it has on log or store goes through here, and may be its last."""

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Crash(BaseException):
    """The actor is dead. Not an Exception, as nothing that runs in the actor may survive it."""


class Surroundings(Protocol):
    """What may happen while an actor is between two effects."""

    def between_effects(self, life: "Life", effect: str) -> None:
        """Let others act, or raise what a broker or a disk may raise."""
        ...

    def after_effect(self, life: "Life", effect: str) -> None:
        """Raise what a broker or a disk may raise although the effect took place."""
        ...


class Undisturbed:
    """Nothing happens between two effects."""

    def between_effects(self, life: "Life", effect: str) -> None:
        pass

    def after_effect(self, life: "Life", effect: str) -> None:
        pass


class Life:
    """From one start to one crash.

    ``effects_left`` counts down to the effect in which the actor dies: before it took place, or after it did but
    before the actor learned of it (``dies_after``). None: it lives on.
    """

    def __init__(
        self, actor: str, surroundings: Surroundings, effects_left: int | None = None, dies_after: bool = False
    ) -> None:
        self.actor, self._surroundings = actor, surroundings
        self.effects_left, self.dies_after = effects_left, dies_after
        self.is_over = False

    def effect(self, name: str, perform: Callable[[], T]) -> T:
        """Perform an effect, unless the actor dies before."""
        if not self.is_over:
            self._surroundings.between_effects(self, name)
        is_last = self._is_last()
        if self.is_over or (is_last and not self.dies_after):
            # Also for whatever a "finally" still tries: the dead have no effects.
            self.is_over = True
            raise Crash(f"before {name}")
        performed = perform()
        if is_last:
            self.is_over = True
            raise Crash(f"after {name}")
        self._surroundings.after_effect(self, name)
        return performed

    def _is_last(self) -> bool:
        if self.effects_left is None:
            return False
        self.effects_left -= 1
        return self.effects_left < 0

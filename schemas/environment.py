"""Reading settings from an environment, so that every problem is said at once."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from schemas.errors import SettingsError

T = TypeVar("T")


class Environment:
    """Reads variables and collects what is wrong with them; an empty variable is as an absent one.

    A reader that fails returns the default, so that reading can go on; :meth:`finish` raises in the end.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[str] = []

    def text(self, name: str, default: str = "") -> str:
        """The variable as it is."""
        return self._environ.get(name) or default

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number from ``least`` to ``most``."""
        text = self.text(name, str(default))
        if text.isdecimal() and least <= int(text) <= most:
            return int(text)
        self.problems.append(f"{name}={text!r} must be a whole number from {least} to {most}")
        return default

    def number(self, name: str, default: T, least: float, most: float) -> float | T:
        """A number from ``least`` to ``most``; the default where the variable is absent."""
        text = self.text(name)
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if least <= value <= most:
            return value
        self.problems.append(f"{name}={text!r} must be a number from {least:g} to {most:g}")
        return default

    def section(self, read: Callable[[Mapping[str, str]], T]) -> T | None:
        """A part of the settings with a reader of its own; None when that found problems."""
        try:
            return read(self._environ)
        except SettingsError as error:
            self.problems += error.problems
            return None

    def finish(self) -> None:
        """Raise SettingsError with every problem there was."""
        if self.problems:
            raise SettingsError(self.problems)

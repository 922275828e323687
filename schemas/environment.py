"""Reading settings from an environment, so that every problem is said at once."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
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
        if least <= (value := _number(text)) <= most:
            return value
        self.problems.append(f"{name}={text!r} must be a number from {least:g} to {most:g}")
        return default

    def seconds(self, name: str, default: float) -> float:
        """A time to wait between two looks: greater than 0 and less than a million seconds."""
        text = self.text(name, str(default))
        if 0 < (value := _number(text)) < 1e6:
            return value
        self.problems.append(f"{name}={text!r} must be seconds greater than 0 and less than 1000000")
        return default

    def data(self) -> Path:
        """The data directory, FRESHLENS_DATA, as an absolute path."""
        return Path(self.text("FRESHLENS_DATA", ".freshlens")).resolve()

    def store_url(self) -> str:
        """URL of the object store, FRESHLENS_STORE; by default it lies in the data directory."""
        return self.text("FRESHLENS_STORE") or (self.data() / "store").as_uri()

    def section(self, read: Callable[[Mapping[str, str]], T], default: T) -> T:
        """A part of the settings with a reader of its own, which raises SettingsError."""
        try:
            return read(self._environ)
        except SettingsError as error:
            self.problems += error.problems
            return default

    def finish(self) -> None:
        """Raise SettingsError with every problem there was."""
        if self.problems:
            raise SettingsError(self.problems)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan  # which lies within no bounds

"""A lane: one embedding space with its own index-log, generations and nodes (HOLES 13)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.embeddings import Space
from schemas.errors import SettingsError
from schemas.layout import Layout

DEFAULT_LANE = "main"


@dataclass(frozen=True, slots=True)
class Lane:
    """What every process of a lane agrees on."""

    name: str
    space: Space
    layout: Layout

    @staticmethod
    def from_env(environ: Mapping[str, str]) -> "Lane":
        """Read FRESHLENS_LANE, FRESHLENS_SPACE (``name:dim``), FRESHLENS_PARTITIONS and FRESHLENS_SHARDS.

        Raises:
            SettingsError: listing everything that is wrong.
        """
        problems: list[str] = []
        name = environ.get("FRESHLENS_LANE") or DEFAULT_LANE
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
            problems.append(f"FRESHLENS_LANE={name!r} must be 1 to 63 of a-z, 0-9 and '-'")
        space = Space("unknown", 1)
        try:
            space = Space.parse(environ.get("FRESHLENS_SPACE", ""))
        except ValueError as error:
            problems.append(f"FRESHLENS_SPACE: {error}")
        partitions = _count(environ, "FRESHLENS_PARTITIONS", 8, 1024, problems)
        shards = _count(environ, "FRESHLENS_SHARDS", 1, partitions, problems)
        if problems:
            raise SettingsError(problems)
        return Lane(name, space, Layout(partitions, shards))


def _count(environ: Mapping[str, str], name: str, default: int, most: int, problems: list[str]) -> int:
    text = environ.get(name, str(default))
    if text.isdecimal() and 1 <= int(text) <= most:
        return int(text)
    problems.append(f"{name}={text!r} must be a whole number from 1 to {most}")
    return default

"""A lane: one embedding space with its own index-log, generations and nodes (HOLES 13)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.embeddings import Space
from schemas.environment import Environment
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
        env = Environment(environ)
        name = env.text("FRESHLENS_LANE", DEFAULT_LANE)
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
            env.problems.append(f"FRESHLENS_LANE={name!r} must be 1 to 63 of a-z, 0-9 and '-'")
        space = UNREAD.space
        try:
            space = Space.parse(env.text("FRESHLENS_SPACE"))
        except ValueError as error:
            env.problems.append(f"FRESHLENS_SPACE: {error}")
        partitions = env.integer("FRESHLENS_PARTITIONS", 8, 1, 1024)
        shards = env.integer("FRESHLENS_SHARDS", 1, 1, partitions)
        env.finish()
        return Lane(name, space, Layout(partitions, shards))


UNREAD = Lane("", Space("unknown", 1), Layout(1024, 1024))
"""Stands for a lane whose variables are wrong while the other settings are read; any shard can be of it."""

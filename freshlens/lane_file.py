"""``lane.json``: the embedding space and layout that a data directory was made for."""

from pathlib import Path

import msgspec

from schemas.errors import LayoutChanged, SpaceChanged
from schemas.lane import Lane
from schemas.layout import Layout


class LaneFile(msgspec.Struct, frozen=True):
    """As first used; immutable from then on."""

    space: str
    partitions: int
    shards: int
    encoder: str


def read(data: Path) -> LaneFile | None:
    """What the directory was made for, or None while it is new."""
    try:
        return msgspec.json.decode((data / "lane.json").read_bytes(), type=LaneFile)
    except FileNotFoundError:
        return None


def claim(data: Path, lane: Lane, encoder: str) -> None:
    """Record the lane of a new directory, or check that it is still the same.

    Raises:
        SpaceChanged, LayoutChanged: the directory holds something else; nothing was touched.
    """
    wanted = LaneFile(str(lane.space), lane.layout.partitions, lane.layout.shards, encoder)
    found = read(data)
    if found is None:
        temporary = data / "lane.json.tmp"
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(wanted)))
        temporary.replace(data / "lane.json")
        return
    if found.space != wanted.space:
        raise SpaceChanged(
            f"{data} holds vectors of space {found.space} (encoder {found.encoder}), and {encoder} makes "
            f"{wanted.space}: set FRESHLENS_ENCODER={found.encoder}, or use another --data"
        )
    if (found.partitions, found.shards) != (wanted.partitions, wanted.shards):
        made_for = Layout(found.partitions, found.shards).layout_id
        raise LayoutChanged(f"{data} was made for layout {made_for}, not {lane.layout.layout_id}")

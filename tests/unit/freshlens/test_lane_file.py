"""A data directory belongs to one embedding space and one layout."""

from pathlib import Path

import pytest

from freshlens import lane_file
from schemas.embeddings import Space
from schemas.errors import LayoutChanged, SpaceChanged
from schemas.lane import Lane
from schemas.layout import Layout

LANE = Lane("main", Space("small", 256), Layout(8, 1))


def test_the_first_use_decides_and_the_same_lane_comes_back(tmp_path: Path) -> None:
    assert lane_file.read(tmp_path) is None
    lane_file.claim(tmp_path, LANE, "bundled")
    lane_file.claim(tmp_path, LANE, "bundled")
    found = lane_file.read(tmp_path)
    assert found is not None
    assert (found.space, found.partitions) == ("small:256", 8)


def test_another_space_is_refused_and_named_with_the_way_out(tmp_path: Path) -> None:
    lane_file.claim(tmp_path, LANE, "bundled")
    with pytest.raises(SpaceChanged, match=r"FRESHLENS_ENCODER=bundled.*another --data"):
        lane_file.claim(tmp_path, Lane("main", Space("own-384", 384), Layout(8, 1)), "none:384")
    lane_file.claim(tmp_path, LANE, "bundled")


def test_another_layout_is_refused(tmp_path: Path) -> None:
    lane_file.claim(tmp_path, LANE, "bundled")
    with pytest.raises(LayoutChanged, match="p8s1"):
        lane_file.claim(tmp_path, Lane("main", LANE.space, Layout(16, 1)), "bundled")

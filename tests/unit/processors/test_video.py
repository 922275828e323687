"""Key frames: the sharpest of each scene, upright, within limits, and from the given bytes only."""

import io
import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from processors.encoders.encoder import PictureForm
from processors.pictures.decode import THUMBNAIL_SIZES, DecodeLimits
from processors.pictures.video import FRAME_SIDE_MAX, KeyFrame, VideoLimits, key_frames
from schemas.errors import ImageTooLarge, InvalidRecord, UndecodableImage
from tests import hostile, videos

FORM = PictureForm(32, "squash")
DECODE, VIDEO = DecodeLimits(), VideoLimits()


def frames_of(
    raw: bytes, frames_max: int = 4, *, limits: DecodeLimits = DECODE, video: VideoLimits = VIDEO
) -> list[KeyFrame]:
    return key_frames(raw, FORM, limits, video, frames_max=frames_max, thumbnail_sizes=THUMBNAIL_SIZES)


def shows(frame: KeyFrame, number: int) -> bool:
    """Whether a frame looks like the (sharp) scene of this number."""
    expected = np.asarray(Image.fromarray(videos.scene(number)).resize((32, 32), Image.Resampling.BICUBIC), dtype=int)
    return float(np.abs(frame.decoded.pixels.astype(int) - expected).mean()) < 20


@pytest.mark.parametrize("container", videos.CODECS)
def test_of_each_scene_the_sharpest_frame_in_the_order_of_time(container: str) -> None:
    found = frames_of(videos.video(videos.scenes([1, 2, 3]), container))
    assert len(found) == 3
    assert all(shows(frame, number) for frame, number in zip(found, (1, 2, 3), strict=True))
    times = [frame.timestamp_ms for frame in found]
    assert times == sorted(times)
    for frame, begin_ms in zip(found, (0, 1000, 2000), strict=True):
        assert begin_ms <= frame.timestamp_ms < begin_ms + 1000


def test_a_frame_is_a_picture_with_all_that_a_picture_has() -> None:
    (frame,) = frames_of(videos.video(videos.scenes([1])))
    assert (frame.decoded.width, frame.decoded.height) == (160, 96)
    assert len(frame.decoded.phash) == 8
    assert {Image.open(io.BytesIO(raw)).size for raw in frame.decoded.thumbnails.values()} == {(96, 58), (160, 96)}
    assert Image.open(io.BytesIO(frame.jpeg)).size == (160, 96)


def test_no_more_frames_than_asked_for_and_those_of_the_longest_scenes() -> None:
    frames = [*videos.scenes([1], each=4), *videos.scenes([2], each=20), *videos.scenes([3], each=12)]
    found = frames_of(videos.video(frames), 2)
    assert [shows(found[0], 2), shows(found[1], 3)] == [True, True]


def test_a_video_of_very_many_scenes_gives_the_longest() -> None:
    short = videos.scenes(range(1, 41), each=3)
    frames = [*short[:60], *videos.scenes([99], each=20), *short[60:]]
    found = frames_of(videos.video(frames), 1)
    assert [shows(frame, 99) for frame in found] == [True]


def test_a_black_beginning_is_no_view_unless_there_is_nothing_else() -> None:
    black = [np.zeros((96, 160, 3), np.uint8)] * 15
    found = frames_of(videos.video([*black, *videos.scenes([1])]))
    assert [shows(frame, 1) for frame in found] == [True]
    (only,) = frames_of(videos.video(black))
    assert "blank" in only.decoded.quality.flags


def test_a_video_held_upright_is_turned() -> None:
    raw = bytearray(videos.video(videos.scenes([1])))
    matrix = raw.index(b"tkhd", raw.index(b"trak")) + 4 + 40
    turned = [0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30]
    raw[matrix : matrix + 36] = b"".join((number & 0xFFFFFFFF).to_bytes(4, "big") for number in turned)
    (frame,) = frames_of(bytes(raw))
    assert (frame.decoded.width, frame.decoded.height) == (96, 160)
    upright = Image.fromarray(videos.scene(1)).transpose(Image.Transpose.ROTATE_270).resize((32, 32))
    assert np.abs(frame.decoded.pixels.astype(int) - np.asarray(upright, dtype=int)).mean() < 20


def test_large_frames_are_kept_smaller() -> None:
    (frame,) = frames_of(videos.video(videos.scenes([1], each=2, width=1920, height=1088)))
    assert (frame.decoded.width, frame.decoded.height) == (1920, 1088)
    assert max(Image.open(io.BytesIO(frame.jpeg)).size) == FRAME_SIDE_MAX


def test_of_a_long_video_only_the_frames_that_stand_for_themselves_are_decoded() -> None:
    raw = videos.video(videos.scenes([1, 2], each=30), rate=1)
    found = frames_of(raw)
    assert [shows(frame, 1) or shows(frame, 2) for frame in found]
    assert all(frame.timestamp_ms < 60_000 for frame in found)


def test_a_video_that_breaks_off_gives_the_frames_before() -> None:
    raw = videos.video(videos.scenes([1, 2], each=20), "mpegts")
    found = frames_of(raw[: len(raw) // 3])
    assert [shows(frame, 1) for frame in found] == [True]


def refused(raw: bytes, video: VideoLimits = VIDEO, limits: DecodeLimits = DECODE) -> InvalidRecord:
    with pytest.raises(InvalidRecord) as error:
        frames_of(raw, limits=limits, video=video)
    return error.value


@pytest.mark.parametrize("name", hostile.NOT_VIDEOS)
def test_what_is_no_video_is_refused(name: str) -> None:
    error = refused(hostile.NOT_VIDEOS[name]())
    assert isinstance(error, UndecodableImage)
    assert error.code == "undecodable-video"


def test_limits() -> None:
    raw = videos.video(videos.scenes([1], each=30))
    assert frames_of(raw)
    for error in (
        refused(raw, limits=DecodeLimits(image_bytes_max=1000)),
        refused(raw, VideoLimits(duration_s_max=2.0)),
        refused(raw, VideoLimits(pixels_max=1000)),
        refused(raw, VideoLimits(streams_max=0)),
    ):
        assert isinstance(error, ImageTooLarge), error


def test_a_frame_that_says_it_is_huge_is_not_decoded() -> None:
    assert refused(hostile.video_of_size(20_000)).code in ("image-too-large", "undecodable-video")


@pytest.mark.parametrize("name", hostile.VIDEOS_ELSEWHERE)
def test_a_video_opens_nothing_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("processors.pictures.video._refuse", lambda url, *_: opened.append(url))
    raw = hostile.VIDEOS_ELSEWHERE[name]()
    try:
        found = frames_of(raw)
    except InvalidRecord:
        return
    assert all(shows(frame, 1) for frame in found), "the data in the file itself"
    assert opened == []


def test_a_playlist_could_have_read_a_file(tmp_path: Path) -> None:
    """What the choice of formats keeps out: with a format that FFmpeg guesses, this reads another file."""
    secret = tmp_path / "secret.ts"
    secret.write_bytes(videos.video(videos.scenes([1]), "mpegts"))
    script = f"ffconcat version 1.0\nfile '{os.path.relpath(secret, tmp_path)}'\n".encode()
    (tmp_path / "list.txt").write_bytes(script)
    with av.open(str(tmp_path / "list.txt"), format="concat") as container:
        assert next(container.decode(video=0)).width == 160
    assert refused(script).code == "undecodable-video"

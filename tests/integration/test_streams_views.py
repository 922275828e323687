"""What a view is made of, on a real Kafka: videos, the quality gate, the block list."""

import pytest
from PIL import Image

from processors.pictures.blocklist import BlockEntry, BlockListStore, hashes_of
from schemas.events import Content, Picture, ProductAdded
from schemas.index_log import IndexedView
from tests import hostile, videos
from tests.integration.stream_bench import Bench, jpeg, until
from topics.store import FileStore, original_key
from topics.thumbnails import get_thumbnail

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

PHOTO = hostile.saved(Image.fromarray(videos.scene(7, 300, 200)), "JPEG")


def product(product_id: str, *pictures: bytes, video: str = "") -> ProductAdded:
    content = Content(
        title=product_id,
        pictures=tuple(Picture(inline=raw) for raw in pictures),
        videos=(video,) if video else (),
    )
    return ProductAdded("shop", product_id, content=content)


def views_of(bench: Bench, product_id: str) -> tuple[IndexedView, ...]:
    content = bench.record(product_id).content
    assert content is not None
    return content.views


def test_videos_gate_and_block_list(bench: Bench) -> None:
    root, store = bench.data / "pictures", FileStore(bench.data / "store")
    root.mkdir(parents=True)
    (root / "clip.mp4").write_bytes(videos.video(videos.scenes([1, 2])))
    (root / "list.mp4").write_bytes(hostile.NOT_VIDEOS["hls"]())
    hashes = hashes_of(PHOTO)
    BlockListStore(store).add(BlockEntry(hashes[0], "shop", hashes, 1, "me"))
    worker = bench.start(FRESHLENS_FETCH_ROOTS=str(root), FRESHLENS_GATE_REJECT="blank", FRESHLENS_VIDEO_FRAMES_MAX="3")
    good = hostile.saved(hostile.picture(), "PNG")
    bench.add(product("clip", good, video=f"file://{root}/clip.mp4"))
    bench.add(product("only-clip", video=f"file://{root}/clip.mp4"))
    bench.add(product("playlist", good, video=f"file://{root}/list.mp4"))
    bench.add(product("blocked", PHOTO))
    bench.add(product("blank", jpeg("grey"), good))
    bench.until_indexed("clip", "only-clip", "playlist", "blank")
    expected = ["picture-blocked", "picture-rejected", "undecodable-video"]
    until(lambda: len(bench.codes()) >= len(expected), "dead letters")
    assert bench.codes() == expected

    assert [view.kind for view in views_of(bench, "clip")] == ["image", "frame", "frame"]
    frames = views_of(bench, "only-clip")
    assert [view.timestamp_ms for view in frames] == [view.timestamp_ms for view in views_of(bench, "clip")[1:]]
    assert {view.uri for view in frames} == {f"file://{root}/clip.mp4"}
    for view in frames:
        assert view.content_hash is not None
        assert store.exists(original_key(view.content_hash.hex()))
        assert get_thumbnail(store, "shop", view.content_hash.hex(), 96)
    bench.until_indexed("blocked")
    assert views_of(bench, "blocked") == (), "what was indexed before it was blocked goes"
    assert [view.kind for view in views_of(bench, "playlist")] == ["image"]
    assert len(views_of(bench, "blank")) == 1
    (letter,) = [letter for letter in bench.letters if letter.code == "picture-rejected"]
    assert "1 of 2 views" in letter.reason
    said = worker.stop()
    assert "freshlens_views_refused_total {'code': 'undecodable-video'} 1" in said

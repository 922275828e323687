"""Pictures from buckets, on a server that speaks S3."""

import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from processors.fetching.policy import Fetched, FetchPolicy
from schemas.errors import ImageRefused, ImageSourceUnavailable, ImageTooLarge, SettingsError
from schemas.hashing import content_hash
from schemas.metrics import RecordingMetrics
from streams.fetching.fetcher import PictureFetcher
from tests.integration.store.s3_server import AWS_ENVIRON, S3Server, refused
from topics.store import FileStore


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in AWS_ENVIRON.items():
            patch.setenv(name, value)
        server = S3Server()
        yield server
        server.close()


@pytest.fixture
def bucket(s3_server: S3Server) -> Iterator["Bucket"]:
    bucket = Bucket(s3_server)
    yield bucket
    bucket.client.close()


class Bucket:
    """A new bucket, and how to put pictures into it."""

    def __init__(self, server: S3Server) -> None:
        self.server, self.name = server, server.bucket()
        self.client: Any = boto3.client("s3", endpoint_url=server.endpoint)

    def put(self, key: str, raw: bytes) -> str:
        self.client.put_object(Bucket=self.name, Key=key, Body=raw)
        return f"s3://{self.name}/{key}"

    def asked(self) -> list[tuple[str, str]]:
        return [request for request in self.server.requests if request[0] == "GET" and self.name in request[1]]


@pytest.fixture
async def fetcher(bucket: Bucket, tmp_path: Path) -> AsyncIterator[PictureFetcher]:
    policy = FetchPolicy(buckets=frozenset({bucket.name}), s3_endpoint=bucket.server.endpoint, image_bytes_max=1000)
    fetcher = PictureFetcher(policy, FileStore(tmp_path), RecordingMetrics())
    yield fetcher
    await fetcher.close()


@pytest.mark.parametrize("key", ["a.jpg", "deep/er/a b.jpg", "ä+%20&=?#;.jpg", "a//b.jpg", "-"])
async def test_an_object(bucket: Bucket, fetcher: PictureFetcher, key: str) -> None:
    answer = await fetcher.fetch(bucket.put(key, key.encode()), timeout_s=20)
    assert answer.raw == key.encode()
    assert answer.validators.content_hash == content_hash(key.encode())


async def test_an_unchanged_object_is_not_sent_again(bucket: Bucket, fetcher: PictureFetcher) -> None:
    uri = bucket.put("a.jpg", b"one")
    first = await fetcher.fetch(uri, timeout_s=20)
    assert first.validators.etag is not None
    assert await fetcher.fetch(uri, timeout_s=20, known=first.validators) == Fetched(None, first.validators)
    bucket.put("a.jpg", b"two")
    assert (await fetcher.fetch(uri, timeout_s=20, known=first.validators)).raw == b"two"


async def test_what_is_not_there_is_asked_for_once(bucket: Bucket, fetcher: PictureFetcher) -> None:
    with pytest.raises(ImageSourceUnavailable) as raised:
        await fetcher.fetch(f"s3://{bucket.name}/none.jpg", timeout_s=20)
    assert raised.value.why == "http-404"
    assert len(bucket.asked()) == 1
    assert "Signature" not in raised.value.message


async def test_limits(bucket: Bucket, fetcher: PictureFetcher) -> None:
    with pytest.raises(ImageTooLarge):
        await fetcher.fetch(bucket.put("large.jpg", b"x" * 1001), timeout_s=20)
    for uri in ("s3://other-bucket/a.jpg", f"s3://{bucket.name}/../other/a.jpg", f"s3://{bucket.name}"):
        with pytest.raises(ImageRefused):
            await fetcher.fetch(uri, timeout_s=20)


async def test_a_server_that_fails_for_a_moment(bucket: Bucket, fetcher: PictureFetcher) -> None:
    uri, failed = bucket.put("a.jpg", b"one"), []

    def once(server: Any, environ: Any, start: Any) -> Any:
        failed.append(environ)
        bucket.server.fault = None
        return refused("503 Slow Down")(server, environ, start)

    with bucket.server.misbehaving(once):
        assert (await fetcher.fetch(uri, timeout_s=20)).raw == b"one"
    assert len(failed) == 1


async def test_without_credentials_nothing_is_signed(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = bucket.put("a.jpg", b"public")
    bucket.client.put_object_acl(Bucket=bucket.name, Key="a.jpg", ACL="public-read")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    policy = FetchPolicy(buckets=frozenset({bucket.name}), s3_endpoint=bucket.server.endpoint)
    fetcher = PictureFetcher(policy, FileStore(tmp_path), RecordingMetrics())
    assert (await fetcher.fetch(uri, timeout_s=20)).raw == b"public"
    await fetcher.close()
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.mark.parametrize("status", [301, 307, 400])
async def test_a_bucket_of_another_region_is_asked_there(s3_server: S3Server, tmp_path: Path, status: int) -> None:
    name, regions = f"bucket-{uuid.uuid4().hex}", []

    async def answer(request: web.Request) -> web.Response:
        region = request.query["X-Amz-Credential"].split("/")[2]
        regions.append(region)
        if region != "eu-south-2":
            headers = {"x-amz-bucket-region": "eu-south-2"} | ({"Location": "http://x/"} if status == 307 else {})
            return web.Response(status=status, headers=headers)
        return web.Response(body=b"there")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        policy = FetchPolicy(buckets=frozenset({name}), s3_endpoint=str(server.make_url("")))
        fetcher = PictureFetcher(policy, FileStore(tmp_path), RecordingMetrics())
        for _ in range(2):
            assert (await fetcher.fetch(f"s3://{name}/a.jpg", timeout_s=20)).raw == b"there"
        await fetcher.close()
    assert regions == ["us-east-1", "eu-south-2", "eu-south-2"]


async def test_buckets_need_boto3_and_say_so_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "streams.fetching.s3", None)
    policy = FetchPolicy(buckets=frozenset({"shop-pictures"}))
    with pytest.raises(SettingsError, match=r"freshlens\[s3\]"):
        PictureFetcher(policy, FileStore(tmp_path), RecordingMetrics())

"""Pictures from allowed buckets of S3: boto3 signs the address, and the web's own way fetches it, limits and all."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import boto3  # type: ignore[import-untyped]
from botocore import UNSIGNED  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, NoCredentialsError  # type: ignore[import-untyped]
from yarl import URL

from processors.fetching.policy import Fetched, ObjectPlace, WebPlace
from schemas.errors import ImageSourceUnavailable
from streams.fetching.web import Wanted, WebPictures

_SIGNED_FOR_S = 3600
_THREADS = 4
"""Signing asks nobody, but credentials may have to be fetched first."""


class S3Pictures:
    """Region and credentials are found as usual: ``AWS_*``, profiles, roles; without any, nothing is signed."""

    def __init__(self, web: WebPictures, endpoint: str | None) -> None:
        self._web, self._endpoint = web, endpoint
        self._threads = ThreadPoolExecutor(_THREADS, "s3")
        self._lock = threading.Lock()
        self._clients: dict[tuple[str | None, bool], Any] = {}
        self._regions: dict[str, str] = {}

    async def fetch(self, place: ObjectPlace, wanted: Wanted) -> Fetched:
        """As ``PictureSource.fetch``."""
        wanted = replace(wanted, key=f"s3://{place.bucket}/{place.key}".encode())
        for _ in range(2):
            answer = await self._web.answer(await self._signed(place, wanted), wanted)
            if isinstance(answer, Fetched):
                return answer
            if answer.region is None:
                break
            self._regions[place.bucket] = answer.region
        raise ImageSourceUnavailable(f"{wanted.name[:200]}: the bucket answers from elsewhere", why="redirected")

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for client in self._clients.values():
            client.close()

    async def _signed(self, place: ObjectPlace, wanted: Wanted) -> WebPlace:
        try:
            async with asyncio.timeout_at(wanted.deadline):
                url = await asyncio.get_running_loop().run_in_executor(self._threads, self._sign, place)
        except (BotoCoreError, TimeoutError, ValueError) as error:
            raise ImageSourceUnavailable(
                f"{wanted.name[:200]}: cannot be signed: {type(error).__name__}: {error}", why="credentials"
            ) from error
        return WebPlace(URL(url, encoded=True), is_trusted=True)

    def _sign(self, place: ObjectPlace) -> str:
        region = self._regions.get(place.bucket)
        parameters = {"Bucket": place.bucket, "Key": place.key}
        try:
            client = self._client(region, is_signed=True)
            url: str = client.generate_presigned_url("get_object", parameters, ExpiresIn=_SIGNED_FOR_S)
        except NoCredentialsError:
            url = self._client(region, is_signed=False).generate_presigned_url("get_object", parameters)
        return url

    def _client(self, region: str | None, *, is_signed: bool) -> Any:
        with self._lock:
            if (region, is_signed) not in self._clients:
                config = Config(
                    signature_version="s3v4" if is_signed else UNSIGNED,
                    # Servers other than AWS's are known by address.
                    s3={"addressing_style": "path" if self._endpoint else "auto"},
                )
                self._clients[region, is_signed] = boto3.client(
                    "s3", region_name=region, endpoint_url=self._endpoint, config=config
                )
            return self._clients[region, is_signed]

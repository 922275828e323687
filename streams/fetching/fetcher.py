"""Fetching the bytes of pictures: from the web, from S3, from local files, from our own store."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from processors.fetching.policy import (
    Fetched,
    FetchPolicy,
    FilePlace,
    HasRoom,
    NoRoom,
    ObjectPlace,
    Place,
    StoredPlace,
    Validators,
    WebPlace,
    always,
    check_size,
    place_of,
)
from schemas.errors import FreshlensError, ImageSourceUnavailable, SettingsError
from schemas.hashing import content_hash
from schemas.metrics import Metrics
from streams.fetching.files import read_file
from streams.fetching.web import Wanted, WebPictures
from topics.store import ObjectStore, original_key

if TYPE_CHECKING:
    from streams.fetching.s3 import S3Pictures

_FILE_THREADS = 8
"""Of their own: a network file system that hangs must hold up nothing else."""


class PictureFetcher:
    """A PictureSource. Build and close it within the event loop that uses it.

    Raises:
        SettingsError: buckets are named, and boto3 is not installed.
    """

    def __init__(self, policy: FetchPolicy, store: ObjectStore, metrics: Metrics) -> None:
        from_s3 = _s3_pictures(policy)
        self._policy, self._store, self._metrics = policy, store, metrics
        self._threads = ThreadPoolExecutor(_FILE_THREADS, "files")
        self._web = WebPictures(policy, metrics)
        self._s3 = from_s3(self._web, policy.s3_endpoint) if from_s3 is not None else None

    async def fetch(
        self, uri: str, *, timeout_s: float, known: Validators | None = None, has_room: HasRoom = always
    ) -> Fetched:
        started = asyncio.get_running_loop().time()
        scheme = "none"
        try:
            place = place_of(uri, self._policy)
            scheme = _scheme(place)
            fetched = await self._from(place, Wanted(uri, known, timeout_s, started + timeout_s, has_room))
            count = len(fetched.raw or b"")
            if not has_room(count):
                raise NoRoom(count)
        except FreshlensError as error:
            result = error.why if isinstance(error, ImageSourceUnavailable) else error.code
            self._metrics.count("freshlens_fetches_total", scheme=scheme, result=result)
            raise
        finally:
            self._metrics.observe("freshlens_fetch_seconds", asyncio.get_running_loop().time() - started, scheme=scheme)
        result = "not-modified" if fetched.raw is None else "fetched"
        self._metrics.count("freshlens_fetches_total", scheme=scheme, result=result)
        self._metrics.count("freshlens_fetched_bytes_total", count, scheme=scheme)
        return fetched

    async def close(self) -> None:
        await self._web.close()
        if self._s3 is not None:
            self._s3.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _from(self, place: Place, wanted: Wanted) -> Fetched:
        if isinstance(place, WebPlace):
            return await self._web.fetch(place, wanted)
        if isinstance(place, ObjectPlace):
            assert self._s3 is not None, "an allowed bucket needs boto3, which was checked at the start"
            return await self._s3.fetch(place, wanted)
        if isinstance(place, FilePlace):
            path = place.path
            return await self._in_thread(wanted, lambda: read_file(path, self._policy, wanted.known, time.time_ns()))
        stored = place
        return await self._in_thread(wanted, lambda: self._original(stored, wanted))

    async def _in_thread(self, wanted: Wanted, read: Callable[[], Fetched]) -> Fetched:
        try:
            async with asyncio.timeout_at(wanted.deadline):
                return await asyncio.get_running_loop().run_in_executor(self._threads, read)
        except TimeoutError:
            raise ImageSourceUnavailable(
                f"{wanted.name[:200]}: no picture within {wanted.timeout_s} s", why="timeout"
            ) from None
        except OSError as error:
            why = "absent" if isinstance(error, FileNotFoundError) else "unreadable"
            raise ImageSourceUnavailable(f"{wanted.name[:200]!r} cannot be read: {error}", why=why) from error

    def _original(self, place: StoredPlace, wanted: Wanted) -> Fetched:
        if wanted.known is not None and wanted.known.content_hash.hex() == place.content_hash:
            return Fetched(None, wanted.known)
        raw = self._store.get(original_key(place.content_hash))
        check_size(len(raw), self._policy)
        return Fetched(raw, Validators(content_hash(raw)))


def _scheme(place: Place) -> str:
    """One of few words, whatever was asked for."""
    if isinstance(place, WebPlace):
        return place.url.scheme
    return {FilePlace: "file", StoredPlace: "store", ObjectPlace: "s3"}[type(place)]


def _s3_pictures(policy: FetchPolicy) -> "type[S3Pictures] | None":
    if not policy.buckets:
        return None
    try:
        from streams.fetching.s3 import S3Pictures  # an extra, and half a second of imports
    except ImportError as error:
        raise SettingsError(f"FRESHLENS_FETCH_BUCKETS: pip install 'freshlens[s3]' ({error})") from error
    return S3Pictures

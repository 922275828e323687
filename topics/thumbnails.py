"""The thumbnails of a picture: one object for all sizes, since what a store takes time for is objects, not bytes."""

from collections.abc import Mapping

import msgspec

from topics.store import ObjectStore, thumbnails_key


def put_thumbnails(store: ObjectStore, tenant: str, content_hash: str, jpegs: Mapping[int, bytes]) -> None:
    """Write or replace a picture's thumbnails, JPEGs by longest side in pixels. Raises what the store raises."""
    store.put(thumbnails_key(tenant, content_hash), msgspec.msgpack.encode(jpegs))


def get_thumbnail(store: ObjectStore, tenant: str, content_hash: str, size: int) -> bytes:
    """One thumbnail of a picture.

    Raises:
        FileNotFoundError: this tenant has no such picture, or none of this size.
        ValueError: ``content_hash`` is no hash in hexadecimal.
    """
    jpegs = msgspec.msgpack.decode(store.get(thumbnails_key(tenant, content_hash)), type=dict[int, bytes])
    if size not in jpegs:
        raise FileNotFoundError(f"{content_hash} has no thumbnail of {size} pixels")
    return jpegs[size]

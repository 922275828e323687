"""Hashes that are agreements: of pictures, views and groups (DESIGN 14)."""

from hashlib import blake2b

import msgspec

HASH_BYTES = 16


def content_hash(raw: bytes) -> bytes:
    """BLAKE2b-128 of a picture's bytes: names its original and its thumbnails in the store."""
    return blake2b(raw, digest_size=HASH_BYTES).digest()


def view_hash(kind: str, content: bytes, *, frame: int = 0, decode_version: int, epoch: int) -> bytes:
    """The identity of a view within its product.

    Args:
        kind: ``image``, ``frame``, ``text`` or ``vector``.
        content: content hash of the picture or video, UTF-8 of the text, or fp16 bytes of the vector.
        frame: which key frame of the video, else 0.
        decode_version: raised when decoding changes what the encoder sees.
        epoch: the processing epoch; raising it makes re-encoded views new rows.
    """
    hasher = blake2b(digest_size=HASH_BYTES)
    hasher.update(msgspec.msgpack.encode((kind, content, frame, decode_version, epoch)))
    return hasher.digest()


def group_digest(fields: object) -> bytes:
    """BLAKE2b-128 of a group's source fields (without rank and vectors), canonically encoded with sorted keys."""
    encoded = msgspec.msgpack.encode(msgspec.to_builtins(fields, builtin_types=(bytes,), order="sorted"))
    return blake2b(encoded, digest_size=HASH_BYTES).digest()


def key_hash(key: bytes) -> int:
    """64-bit look-up hash of a product key. Never an identity: verify against the key (HOLES 22)."""
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")

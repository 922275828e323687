"""What routes may refuse with: the code, and as an example what a caller then reads."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from query_api.problems import error_of, problem_of
from schemas.answers import Problem


class Refusal(NamedTuple):
    """One code that a route answers, with an example of its detail; ``status``: where it is not that of the code."""

    code: str
    detail: str
    status: int | None = None

    def problem(self) -> Problem:
        """The problem that the caller is told."""
        problem = problem_of(error_of(self.code, self.detail))
        return problem if self.status is None else msgspec.structs.replace(problem, status=self.status)


_INVALID_QUERY = Refusal("invalid-query", "Expected `int` <= 1000 - at `$.k`")
_UNKNOWN_FIELD = Refusal("unknown-field", "Object contains unknown field `txet`; there are: image, text, product_id")
_INVALID_ID = Refusal("invalid-product-id", "product_id has 1 to 512 bytes of UTF-8 without control characters")
_NO_PRODUCT = Refusal("not-found", "there is no product 'mug-1' in tenant 'default'")
_NO_SHARD = Refusal("shard-unavailable", "a node did not answer: TimeoutError")
_NO_TIME = Refusal("deadline-exceeded", "no time is left of timeout_ms=20 to ask another node")
_OTHER_LOG = Refusal("token-unknown-log", "the token is of another log: the topic was created anew")
_TOO_LARGE = Refusal("image-too-large", "the picture has 200000000 pixels, at most 100000000 are allowed")
_STORE = Refusal("store-unavailable", "the object store did not answer: TimeoutError")
_VECTOR = (
    Refusal("invalid-vector", "a vector of 3 numbers; space test:16 has 16 dimensions"),
    Refusal("space-mismatch", "the vector is of space 'other', this lane's is 'test'"),
)

OPEN = (
    Refusal("host-refused", "only localhost is served while no API key exists, and Host is 'shop.example'"),
    Refusal("internal", ""),
)
"""Of every route."""
GUARDED = (
    *OPEN,
    Refusal("invalid-tenant", "a tenant is 1 to 63 of a-z, 0-9 and '-', not 'Shop'"),
    Refusal("unauthorized", "this needs a key: Authorization: Bearer KEY"),
    Refusal("scope-missing", "this needs a key with scope 'publish'"),
    Refusal("tenant-refused", "this key is for tenant 'shop'"),
    Refusal("rate-limited", "this key may send 50 requests a second"),
    Refusal("quota-used", "this key may send 500000 requests a day"),
    Refusal("overloaded", "256 requests are in hand; come again in a moment"),
    _UNKNOWN_FIELD,
)
"""Of every route that asks for a key where there are any."""
PARAMETERS = (*GUARDED, _INVALID_QUERY)
BODY = (
    *PARAMETERS,
    Refusal("invalid-query", "the body did not arrive within 60 s", 408),
    Refusal("upload-too-large", "Maximum request body size 10485760 exceeded"),
    Refusal("unsupported-media-type", "send Content-Type: application/json; this is 'text/plain'"),
)
PICTURE = (
    Refusal("undecodable-image", "the picture is broken: image file is truncated"),
    Refusal("decoder-crashed", "the decoder ended while it read the picture"),
    Refusal("decoder-timeout", "the picture took longer than 10 s to decode"),
    _TOO_LARGE,
    Refusal("encoder-unavailable", "the encoder did not answer: TimeoutError"),
)
FILTER = (Refusal("filter-type", "'price' is a number, and the filter compares it with something else"),)
SHARDS = (_NO_SHARD, _NO_TIME)
QUERY = (
    *FILTER,
    *PICTURE,
    *SHARDS,
    _INVALID_ID,
    *_VECTOR,
    Refusal("encoder-failed", "the model failed on this picture"),
    Refusal("picture-rejected", "the picture is blurred"),
    Refusal("picture-blocked", "the picture looks like one on the block list"),
    Refusal("query-abstained", "this installation has no answer to such a query"),
    _NO_PRODUCT,
)
FRESHNESS = (
    _OTHER_LOG,
    Refusal("freshness-unmet", "the index has not reached min_offset; wait longer with wait_ms, or do not require it"),
)
SEARCH = (*QUERY, *FRESHNESS, *BODY)
SIMILAR = (*QUERY, *PARAMETERS)
REGIONS = (*PICTURE, *BODY, _NO_TIME)
FEEDBACK = (*BODY, _INVALID_ID)
LIST = (*FILTER, *SHARDS, *PARAMETERS)
PRODUCT = (*GUARDED, *SHARDS, _INVALID_ID, _NO_PRODUCT)
LOOKUP = (*BODY, *SHARDS, _INVALID_ID, _OTHER_LOG)
THUMBNAIL = (*PARAMETERS, _STORE, Refusal("not-found", "there is no thumbnail '0101' in tenant 'default'"))
EVENTS = (*GUARDED, Refusal("backpressure", "too many event streams are open; poll /v1/status instead"))
_VERSION = (
    _INVALID_ID,
    Refusal("version-out-of-range", "version 1790000000000 is before 2000: send microseconds since 1970"),
    Refusal("version-missing", "tenant 'shop' declared sequence versions, and this event has none"),
    Refusal("broker-unavailable", "no broker answered within 10 s"),
    _STORE,
)
DELETE = (*PARAMETERS, *_VERSION)
PUBLISH = (
    *BODY,
    *_VERSION,
    _TOO_LARGE,
    Refusal("invalid-product", "price must be a number of 0 or more, not -1"),
    Refusal("content-without-view", 'send a picture, or "images": [] to say that there is none'),
    Refusal("empty-event", "default/mug-1: neither content nor offer: nothing would change"),
    Refusal("invalid-attribute", "attribute 'size' must be a boolean, a 64-bit integer, a number, a string or a list"),
    Refusal("image-refused", "'file:///etc/passwd': a picture is an http(s):// address or inline base64 here"),
    *_VECTOR,
)


def by_status(refusals: Sequence[Refusal]) -> dict[int, list[Problem]]:
    """The problems of a route by their status, each code once."""
    found: dict[int, dict[str, Problem]] = {}
    for refusal in refusals:
        problem = refusal.problem()
        found.setdefault(problem.status, {}).setdefault(problem.code, problem)
    return {status: list(found[status].values()) for status in sorted(found)}

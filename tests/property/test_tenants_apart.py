"""Nothing that a key of tenant A can ask tells it anything of tenant B.

Said as non-interference: the same requests of A are answered the same, to the byte, in a world where B has products,
pictures, declarations and users, and in one where B never was. That covers products, thumbnails, counts, explanations
and error messages alike, also those that nobody thought of. What the answers do share with all tenants, by contract, is
how far the log is applied; both worlds have the same.
"""

import asyncio
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from hypothesis import example, given, settings
from hypothesis import strategies as st

from query_api.access.api_keys import KeyStore, NewKey, new_key
from query_api.access.key_ring import KeyRing
from query_api.routes.table import ROUTES
from schemas.events import ProductAdded
from schemas.feedback import Click, Search, SearchQuality
from schemas.tenants import TenantDeclaration
from schemas.versions import VersionKind
from tests.unit.query_api.doubles import DIM, JPEG, Api, running_api, shard_product, status_of_node, vector_of
from topics.store import FileStore
from topics.thumbnails import put_thumbnails

A, B = "tenant-a", "tenant-b"
HASHES = {A: "aa" * 16, B: "bb" * 16, "both": "cc" * 16, "nobody": "dd" * 16}
IDS = ["only-a", "only-b", "in-both", "gone-a", "gone-b", "nobody"]
ALL_SCOPES = ("search", "feedback", "publish", "admin")

ids = st.sampled_from(IDS)
filters = st.sampled_from(
    [None, {"color": "red"}, {"secret": "of-b"}, {"in_stock": True}, {"price": {"gte": 1}}, {"not": {"color": "red"}}]
)
vectors = st.sampled_from([vector_of(name).tolist() for name in IDS]) | st.just([1.0] + [0.0] * (DIM - 1))
tokens = st.sampled_from(
    [
        {"topic": "product-added", "partition": 0, "offset": 3},
        {"topic": "index-log", "partition": 0, "offset": 5},
        {"topic": "index-log", "partition": 0, "offset": 500},
    ]
)


@dataclass(frozen=True)
class Ask:
    """One request. ``who`` is the tenant whose key it carries."""

    who: str
    method: str
    path: str
    body: Any = None
    is_picture: bool = False


def searches() -> st.SearchStrategy[dict[str, Any]]:
    """Bodies of a search; some are refused, which has to be said the same in both worlds, too."""
    ways = st.one_of(
        st.fixed_dictionaries({"text": st.sampled_from(IDS)}),
        st.fixed_dictionaries({"product_id": ids}),
        st.fixed_dictionaries({"vector": vectors}),
        st.fixed_dictionaries({"filter": filters.filter(bool)}),
    )
    more = st.fixed_dictionaries(
        {},
        optional={
            "filter": filters.filter(bool),
            "k": st.integers(1, 50),
            "min_offset": tokens,
            "session": st.sampled_from(["s", "t"]),
            "exact": st.booleans(),
            "collapse": st.booleans(),
            "diversity": st.just(0.3),
            "prefer": filters.filter(bool),
            "explain": st.booleans(),
            "require": st.booleans(),
            "facets": st.sampled_from([["color"], ["nobody-has-it", "price"]]),
            "limited_matches": st.booleans(),
            "minus": st.sampled_from(IDS),
            "parts": st.lists(st.fixed_dictionaries({"product_id": ids}), max_size=2),
        },
    )
    return st.builds(lambda way, rest: {**rest, **way}, ways, more)


BODIES: dict[str, st.SearchStrategy[Any]] = {
    "/v1/search": searches(),
    "/v1/search/batch": st.fixed_dictionaries({"searches": st.lists(searches(), min_size=1, max_size=3)}),
    "/v1/regions": st.just({"image": {"base64": "aGk="}}),
    "/v1/explain": st.builds(lambda body, name: {**body, "product_id": name}, searches(), ids),
    "/v1/why-not": st.builds(lambda body, name: {**body, "product_id": name}, searches(), ids),
    "/v1/products/lookup": st.fixed_dictionaries({"product_ids": st.lists(ids, min_size=1, max_size=6)}),
    "/v1/products": st.fixed_dictionaries(
        {
            "product_id": ids,
            "tenant": st.just(B),
            "images": st.sampled_from([[], [f"store://originals/{HASHES[B]}"], ["https://b.example/x.jpg"]]),
        }
    )
    | st.fixed_dictionaries({"product_id": ids, "version": st.sampled_from([1, 1_795_000_000_000_000])})
    | st.fixed_dictionaries({"product_id": ids, "images": st.just([]), "badge": st.just("new")}),
    "/v1/feedback": st.fixed_dictionaries(
        {
            "query_id": st.sampled_from(["q", "query-of-b"]),
            "product_id": ids,
            "position": st.just(1),
            "kind": st.just("click"),
        }
    ),
}
TENANTS = st.sampled_from(
    ["", "", "", f"tenant={A}", f"tenant={B}", "tenant=default", "tenant=*", f"tenant={A}/../{B}"]
)
PARAMETERS = {
    "/v1/products": st.sampled_from(
        ["", "limit=2", "limit=200&offset=1", "facets=secret,color", 'filter={"secret":"of-b"}']
    ),
    "/v1/thumbnails/{content_hash}": st.sampled_from(["", "size=96", "size=256"]),
    "/v1/products/{product_id}/similar": st.sampled_from(["", "k=50", 'filter={"secret":"of-b"}']),
}


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    """A request to any route but the event stream, which ends never and has a test of its own."""
    route = draw(st.sampled_from([route for route in ROUTES if not route.is_stream]))
    path = route.path.replace("{product_id}", draw(ids)).replace(
        "{content_hash}", draw(st.sampled_from([*HASHES.values()]))
    )
    is_posted = route.method == "POST"
    query = [draw(TENANTS), "" if is_posted else draw(PARAMETERS.get(route.path, st.just("")))]
    return Ask(
        who=draw(st.sampled_from([A, A, A, B])),
        method=route.method,
        path=f"{path}?{'&'.join(filter(None, query))}",
        body=draw(BODIES[route.path]) if is_posted else None,
        is_picture=route.takes_picture and draw(st.booleans()),
    )


def everything_of_b() -> list[Ask]:
    """Every route once for what is B's, once with B's name besides."""
    found = []
    for route in (route for route in ROUTES if not route.is_stream):
        path = route.path.replace("{product_id}", "only-b").replace("{content_hash}", HASHES[B])
        body = {
            "/v1/search": {"product_id": "only-b"},
            "/v1/regions": {"image": {"base64": "aGk="}},
            "/v1/explain": {"product_id": "in-both", "text": "only-b"},
            "/v1/why-not": {"product_id": "only-b", "filter": {"secret": "of-b"}},
            "/v1/products/lookup": {"product_ids": IDS},
            "/v1/products": {"product_id": "p", "images": [f"store://originals/{HASHES[B]}"]},
            "/v1/feedback": {"query_id": "query-of-b", "product_id": "only-b", "position": 1, "kind": "click"},
        }.get(route.path)
        body = body if route.method == "POST" else None
        found += [Ask(A, route.method, path, body), Ask(A, route.method, f"{path}?tenant={B}", body)]
    return found


class Windows:
    """Search quality of A, and of B where it is."""

    def __init__(self, *, with_b: bool) -> None:
        self._searches = {A: 3, **({B: 555} if with_b else {})}

    def windows(self, tenant: str, limit: int = 60) -> list[SearchQuality]:
        if tenant not in self._searches:
            return []
        return [SearchQuality(tenant, "main", 0, 60_000_000, 1, self._searches[tenant], 0, 0, 0, 0, 0, ())]


def populate(api: Api, *, with_b: bool) -> None:
    """A's products and pictures; and B's, which look the same and more."""
    api.shard.put(
        shard_product("only-a", attributes={"color": "red"}, price=5.0, content_hash=bytes.fromhex(HASHES[A])),
        shard_product("in-both", version=2, dup_group=b"same", content_hash=bytes.fromhex(HASHES["both"])),
        shard_product("gone-a", version=3, deleted=9),
        tenant=A,
    )
    for name in (A, "both"):
        put_thumbnails(api.store, A, HASHES[name], {256: b"picture of a"})
    api.cluster.learn(statuses=[status_of_node(products=3 + 41 * with_b, delta_rows=44 * with_b)])
    if not with_b:
        return
    api.shard.put(
        shard_product("only-b", attributes={"secret": "of-b"}, price=7.0, content_hash=bytes.fromhex(HASHES[B])),
        shard_product("in-both", version=8, title="b's own", dup_group=b"same", attributes={"secret": "of-b"}),
        shard_product("gone-b", version=3, deleted=9),
        *(shard_product(f"b-{number}", vector=vector_of("only-a")) for number in range(38)),
        tenant=B,
    )
    for name in (B, "both"):
        put_thumbnails(api.store, B, HASHES[name], {256: b"picture of b", 96: b"picture of b"})
    api.tenants.declared[B] = TenantDeclaration(B, VersionKind.SEQUENCE, volatile=("badge",))


async def answers_of(keys: dict[str, NewKey], asked: list[Ask], *, with_b: bool) -> tuple[list[Any], list[Any]]:
    """What A is answered, and what left for Kafka with A's requests; B asks only in the world where it is."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = KeyStore(FileStore(folder / "store"))
        for made in keys.values():
            store.create(made)
        ring = KeyRing(store)
        ring.refresh()
        async with running_api(folder, keys=ring, quality=Windows(with_b=with_b)) as api:
            populate(api, with_b=with_b)
            told, left = [], []
            for ask in asked:
                if ask.who == B and not with_b:
                    continue
                api.publisher.events.clear()
                api.records()
                answer = await _answer(api, keys[ask.who], ask)
                if ask.who == A:
                    told.append(answer)
                    left += [*api.publisher.events, *(record for _, record in api.records())]
            return told, left


async def _answer(api: Api, key: NewKey, ask: Ask) -> Any:
    headers = {"Authorization": f"Bearer {key.text}"}
    content: Any = None
    if ask.method == "POST":
        headers["Content-Type"] = "image/jpeg" if ask.is_picture else "application/json"
        content = JPEG if ask.is_picture else json.dumps(ask.body)
    response: aiohttp.ClientResponse = await api.client.request(ask.method, ask.path, data=content, headers=headers)
    raw = await response.read()
    # What is drawn by chance, or measured, says nothing of anybody.
    for name in (rb'"query_id":"\w+"', rb'"timings_ms":\{[^}]*\}'):
        raw = re.sub(name, b"", raw)
    return ask, response.status, response.headers.get("Content-Type"), response.headers.get("ETag"), raw


@settings(max_examples=60, deadline=None)
@example(asked=everything_of_b())
@given(asked=st.lists(asks(), min_size=1, max_size=12))
def test_answers_to_a_do_not_depend_on_b(asked: list[Ask]) -> None:
    keys = {name: new_key(name, tenant=name, scopes=ALL_SCOPES, created_at_us=1) for name in (A, B)}
    with_b, left_with_b = asyncio.run(answers_of(keys, asked, with_b=True))
    without_b, left_without_b = asyncio.run(answers_of(keys, asked, with_b=False))
    assert with_b == without_b
    assert [_kind(record) for record in left_with_b] == [_kind(record) for record in left_without_b]
    for record in left_with_b:
        assert record.tenant == A
        # Originals are kept by their content alone: a worker would make the picture of B one of A's.
        assert not _names_originals(record)


def test_the_two_worlds_differ_where_it_is_allowed() -> None:
    """The property could not fail if B's products could not be seen by anybody."""
    keys = {name: new_key(name, tenant="*", scopes=ALL_SCOPES, created_at_us=1) for name in (A, B)}
    paths = [
        "/v1/status",
        f"/v1/products?tenant={B}",
        f"/v1/products/only-b?tenant={B}",
        f"/v1/thumbnails/{HASHES[B]}?tenant={B}",
        f"/v1/search-quality?tenant={B}",
    ]
    asked = [Ask(A, "GET", path) for path in paths]
    asked.append(Ask(A, "POST", f"/v1/search?tenant={B}", {"product_id": "only-b"}))
    with_b, _ = asyncio.run(answers_of(keys, asked, with_b=True))
    without_b, _ = asyncio.run(answers_of(keys, asked, with_b=False))
    assert all(one != other for one, other in zip(with_b, without_b, strict=True))
    assert all(status == 200 for _, status, *_ in with_b)


def _names_originals(record: Any) -> bool:
    if not isinstance(record, ProductAdded) or record.content is None:
        return False
    return any((picture.uri or "").startswith("store:") for picture in record.content.pictures)


def _kind(record: Any) -> Any:
    if isinstance(record, Search):
        return "search", record.tenant, tuple((shown.product_id, shown.position) for shown in record.shown)
    if isinstance(record, Click):
        return "click", record.tenant, record.product_id
    return type(record).__name__, record.tenant, record.product_id

"""The Python client, both flavours of it, against a real server on loopback that answers as a test says."""

import asyncio
import inspect
import subprocess
import sys
import typing
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from freshlens.client import ApiError, AsyncClient, Client, clients
from freshlens.client.calls import Part, Search
from query_api.query.parts import PartBody
from query_api.query.request import SearchBody
from schemas.answers import DeleteAnswer, FeedbackAnswer

ACCEPTED = web.json_response({"accepted": True}, status=202).body
FOUND: dict[str, Any] = {
    "query_id": "q-1", "results": [], "no_match": True, "total_candidates": 0, "freshness_met": True, "read_token": "t",
    "freshness": [], "shards": {"answered": 1, "total": 1}, "timings_ms": {"total": 1.0}, "warnings": [],
}  # fmt: skip
Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]
Ask = Callable[..., Awaitable[Any]]


def json_reply(value: Any, status: int = 200, **headers: str) -> Reply:
    async def reply(_: web.Request) -> web.Response:
        return web.json_response(value, status=status, headers=headers)

    return reply


def problem(status: int, code: str, **headers: str) -> Reply:
    body = {"type": f"/docs#{code}", "title": "No", "status": status, "code": code, "detail": f"because of {code}"}
    return json_reply(body, status, **headers)


def text_reply(text: str, status: int = 200, **headers: str) -> Reply:
    async def reply(_: web.Request) -> web.Response:
        return web.Response(text=text, status=status, headers=headers)

    return reply


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def cut_short(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"query_id": ')
    assert request.transport is not None
    request.transport.close()
    return response


async def never(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


class Server:
    """Answers with its replies in turn, the last of them for ever."""

    def __init__(self) -> None:
        self.replies: list[Reply] = [json_reply(FOUND)]
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.peers: set[Any] = set()
        self.authorization: list[str | None] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        assert request.transport is not None
        self.peers.add(request.transport.get_extra_info("peername"))
        self.authorization.append(request.headers.get("Authorization"))
        body = msgspec.json.decode(raw) if raw else None
        self.asked.append((request.method, request.rel_url.raw_path, dict(request.query), body))
        return await self.replies[min(len(self.asked), len(self.replies)) - 1](request)


@pytest_asyncio.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    monkeypatch.delenv("FRESHLENS_API_KEY", raising=False)
    served, app = Server(), web.Application()
    app.router.add_route("*", "/{tail:.*}", served.answer)
    async with TestServer(app) as running:
        served.url = str(running.make_url("/"))
        yield served


@pytest.fixture(params=["async", "sync"])
def ask(request: pytest.FixtureRequest, server: Server) -> Ask:
    """Calls one method of a client of either flavour."""

    async def awaited(method: str, *args: Any, options: Any = None, **fields: Any) -> Any:
        async with AsyncClient(server.url, **(options or {})) as client:
            return await getattr(client, method)(*args, **fields)

    def waited_for(method: str, args: Any, options: Any, fields: Any) -> Any:
        with Client(server.url, **(options or {})) as client:
            return getattr(client, method)(*args, **fields)

    async def in_a_thread(method: str, *args: Any, options: Any = None, **fields: Any) -> Any:
        return await asyncio.to_thread(waited_for, method, args, options, fields)

    return awaited if request.param == "async" else in_a_thread


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited between attempts, in seconds; no test waits for it."""
    waited: list[float] = []
    real = clients._wait_s

    def remembered(state: Any) -> float:
        waited.append(real(state))
        return 0.0

    monkeypatch.setattr(clients, "_wait_s", remembered)
    return waited


async def refused(call: Awaitable[Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value


async def test_a_search_is_sent_and_its_answer_typed(ask: Ask, server: Server, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"jpeg")
    vector = np.array([0.5, 1.0], np.float32)
    parts: list[Part] = [{"image": b"part", "weight": -0.5}, {"vector": {"values": vector, "space": "s:2"}}]
    answer = await ask(
        "search", image=tmp_path / "photo.jpg", images=[b"other"], text="red", vector=vector, parts=parts, k=3,
        filter={"price": {"lt": 5}}, session=None, options={"tenant": "shop"},
    )  # fmt: skip
    assert (answer.query_id, answer.results, answer.shards.total) == ("q-1", [], 1)
    method, path, query, body = server.asked[0]
    assert (method, path, query) == ("POST", "/v1/search", {"tenant": "shop"})
    assert body == {
        "image": {"base64": "anBlZw=="}, "images": [{"base64": "b3RoZXI="}], "text": "red", "k": 3,
        "vector": [0.5, 1.0],
        "parts": [
            {"image": {"base64": "cGFydA=="}, "weight": -0.5}, {"vector": {"values": [0.5, 1.0], "space": "s:2"}}
        ],
        "filter": {"price": {"lt": 5}},
    }  # fmt: skip


async def test_every_method_asks_its_route(ask: Ask, server: Server) -> None:
    server.replies = [json_reply({})]
    calls: list[tuple[str, list[Any], dict[str, Any], tuple[str, str, dict[str, str], Any]]] = [
        ("search_batch", [[{"text": "a"}, {"image": b"x"}]], {},
         ("POST", "/v1/search/batch", {}, {"searches": [{"text": "a"}, {"image": {"base64": "eA=="}}]})),
        ("similar", ["a/b"], {"k": 3, "filter": {"x": 1}},
         ("GET", "/v1/products/a%2Fb/similar", {"k": "3", "filter": '{"x":1}'}, None)),
        ("regions", [b"x"], {}, ("POST", "/v1/regions", {}, {"image": {"base64": "eA=="}})),
        ("explain", ["p"], {"text": "a"}, ("POST", "/v1/explain", {}, {"text": "a", "product_id": "p"})),
        ("why_not", ["p"], {"image": b"x"},
         ("POST", "/v1/why-not", {}, {"image": {"base64": "eA=="}, "product_id": "p"})),
        ("feedback", ["q", "p", 1], {"dwell_ms": 5},
         ("POST", "/v1/feedback", {},
          {"query_id": "q", "product_id": "p", "position": 1, "kind": "click", "dwell_ms": 5})),
        ("publish", [{"product_id": "p", "image": b"x", "images": ["https://a/b.jpg"]}], {"hot": True},
         ("POST", "/v1/products", {"hot": "true"},
          [{"product_id": "p", "image": {"base64": "eA=="}, "images": ["https://a/b.jpg"]}])),
        ("publish", [{"product_id": "p", "vector": np.ones(2), "vectors": [np.zeros(1), {"values": np.ones(1)}]}], {},
         ("POST", "/v1/products", {},
          [{"product_id": "p", "vector": [1.0, 1.0], "vectors": [[0.0], {"values": [1.0]}]}])),
        ("delete", ["p"], {"version": 7}, ("DELETE", "/v1/products/p", {"version": "7"}, None)),
        ("product", ["p q"], {}, ("GET", "/v1/products/p%20q", {}, None)),
        ("products", [], {"limit": 2, "facets": ["color", "size"]},
         ("GET", "/v1/products", {"limit": "2", "offset": "0", "facets": "color,size"}, None)),
        ("lookup", [["p"]], {"min_offset": "t", "wait_ms": 5},
         ("POST", "/v1/products/lookup", {}, {"product_ids": ["p"], "min_offset": "t", "wait_ms": 5})),
        ("thumbnail", ["/v1/thumbnails/01?tenant=shop&size=96"], {},
         ("GET", "/v1/thumbnails/01", {"tenant": "shop", "size": "96"}, None)),
        ("status", [], {}, ("GET", "/v1/status", {}, None)),
        ("search_quality", [], {"windows": 5}, ("GET", "/v1/search-quality", {"windows": "5"}, None)),
    ]  # fmt: skip
    for number, (method, args, fields, expected) in enumerate(calls):
        if method == "thumbnail":
            assert await ask(method, *args, **fields) == b"{}"
        else:
            assert (await refused(ask(method, *args, **fields))).code == "answer-unreadable"
        assert server.asked[number] == expected
    assert {method for method, *_ in calls} | {"search"} == methods(Client)


def methods(kind: type) -> set[str]:
    """What can be asked: the public methods that are not of the client itself."""
    return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if name[0] != "_"} - {"close", "send"}


def test_both_flavours_have_the_same_methods_and_say_what_they_answer() -> None:
    assert methods(Client) == methods(AsyncClient)
    for name in methods(Client):
        signature = inspect.signature(getattr(Client, name))
        assert signature == inspect.signature(getattr(AsyncClient, name))
        assert "Call" not in str(signature.return_annotation)
    assert inspect.signature(Client.delete).return_annotation is DeleteAnswer


@pytest.mark.parametrize(("fields", "body"), [(Search, SearchBody), (Part, PartBody)])
def test_the_fields_are_those_of_the_api(fields: type, body: type[msgspec.Struct]) -> None:
    assert set(typing.get_type_hints(fields)) == set(body.__struct_fields__)


async def test_connections_are_kept(server: Server) -> None:
    async with AsyncClient(server.url) as client:
        for _ in range(3):
            await client.search(text="a")
    assert len(server.peers) == 1

    def three() -> None:
        with Client(server.url) as client:
            for _ in range(3):
                client.search(text="a")

    await asyncio.to_thread(three)
    assert len(server.peers) == 2


async def test_a_problem_is_an_error_with_all_it_says(ask: Ask, server: Server) -> None:
    server.replies = [problem(404, "not-found")]
    error = await refused(ask("product", "p"))
    assert (error.code, error.status, error.detail) == ("not-found", 404, "because of not-found")
    assert (str(error), error.retry_after_s, error.items) == ("because of not-found", None, None)
    assert len(server.asked) == 1, "what is wrong stays wrong"


async def test_a_code_from_the_future_is_told_as_it_is(ask: Ask, server: Server) -> None:
    server.replies = [problem(418, "from-the-future")]
    assert (await refused(ask("status"))).code == "from-the-future"


@pytest.mark.parametrize("status", [429, 503])
async def test_who_shall_come_again_does(ask: Ask, server: Server, waits: list[float], status: int) -> None:
    again = problem(status, "overloaded", **{"Retry-After": "3"})
    server.replies = [again, again, json_reply({"accepted": True}, 202)]
    assert await ask("feedback", "q", "p", 1) == FeedbackAnswer(accepted=True)
    assert len(server.asked) == 3
    assert all(3 <= wait <= 3 + 0.2 * 2**number for number, wait in enumerate(waits)), waits
    assert len(set(waits)) == 2, "they do not come all at once"


async def test_the_last_refusal_is_told(ask: Ask, server: Server, waits: list[float]) -> None:
    server.replies = [problem(503, "shard-unavailable", **{"Retry-After": "1"})]
    error = await refused(ask("search", text="a", options={"retries": 1}))
    assert (error.code, error.status, error.retry_after_s) == ("shard-unavailable", 503, 1.0)
    assert len(server.asked) == 2


async def test_nobody_waits_for_longer_than_there_is_time(ask: Ask, server: Server) -> None:
    server.replies = [problem(429, "quota-used", **{"Retry-After": "40000"})]
    error = await refused(ask("search", text="a"))
    assert (error.code, error.retry_after_s) == ("quota-used", 40_000.0)
    assert len(server.asked) == 1


@pytest.mark.parametrize("broken", [hang_up, cut_short])
async def test_a_broken_connection_is_tried_again_where_twice_is_as_good(
    ask: Ask, server: Server, waits: list[float], broken: Reply
) -> None:
    server.replies = [broken, json_reply(FOUND)]
    assert (await ask("search", text="a")).query_id == "q-1"

    for method, arguments in (("feedback", ["q", "p", 1]), ("publish", [{"product_id": "p"}]), ("delete", ["p"])):
        server.asked.clear()
        server.replies = [broken, json_reply({"accepted": True}, 202)]
        error = await refused(ask(method, *arguments))
        assert (error.code, error.status) == ("api-unreachable", None)
        assert len(server.asked) == 1


async def test_a_version_makes_publishing_repeatable(ask: Ask, server: Server, waits: list[float]) -> None:
    server.replies = [hang_up, json_reply({"accepted": 1, "rejected": 0, "read_token": "t", "items": []}, 202)]
    assert (await ask("publish", [{"product_id": "p", "version": 7, "price": 1}])).accepted == 1


async def test_closing_ends_the_calls_of_other_threads(server: Server) -> None:
    server.replies = [never]
    client = Client(server.url)
    call = asyncio.create_task(asyncio.to_thread(client.search, text="a"))
    while not server.asked:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(client.close)
    async with asyncio.timeout(10):
        error = await refused(call)
    assert (error.code, error.status) == ("client-closed", None)


async def test_nothing_listens(ask: Ask, server: Server, waits: list[float]) -> None:
    server.url = "http://127.0.0.1:1"
    error = await refused(ask("status"))
    assert (error.code, error.status) == ("api-unreachable", None)
    assert "127.0.0.1:1" in error.detail
    assert len(waits) >= 2, "it may be restarting"


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/", "http://"])
async def test_an_address_that_is_none(ask: Ask, server: Server, waits: list[float], url: str) -> None:
    server.url = url
    assert (await refused(ask("status"))).code == "api-unreachable"


async def test_time_runs_out(ask: Ask, server: Server) -> None:
    server.replies = [never]
    error = await refused(ask("search", text="a", options={"timeout_s": 0.2}))
    assert (error.code, error.status) == ("deadline-exceeded", None)
    assert "0.2 s" in error.detail


@pytest.mark.parametrize(
    "reply",
    [
        text_reply("<html>not an API</html>"),
        text_reply(""),
        text_reply("[1, 2]"),
        text_reply('{"query_id": 5}'),
        text_reply("\ud800".encode("utf-8", "surrogatepass").decode("latin-1")),
        text_reply("<html>gateway</html>", 502),
        text_reply('{"code": "only"}', 400),
        text_reply("", 302, Location="/elsewhere"),
    ],
)
async def test_garbage_is_an_error_and_no_traceback(ask: Ask, server: Server, reply: Reply) -> None:
    server.replies = [reply]
    error = await refused(ask("search", text="a"))
    assert error.code == "answer-unreadable"
    assert error.status
    assert len(error.detail) < 600
    assert len(server.asked) == 1


async def test_a_proxys_page_is_tried_again_where_it_asks_for_it(ask: Ask, server: Server, waits: list[float]) -> None:
    server.replies = [text_reply("<html>busy</html>", 503, **{"Retry-After": "2"}), json_reply(FOUND)]
    assert (await ask("search", text="a")).query_id == "q-1"
    assert waits[0] >= 2


async def test_what_does_not_speak_http() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        writer.close()

    other = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    async with other, AsyncClient(f"http://127.0.0.1:{port}") as client:
        assert (await refused(client.status())).code == "answer-unreadable"


async def test_the_key_is_sent_and_taken_from_the_environment(
    ask: Ask, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask("search", text="a")
    await ask("search", text="a", options={"api_key": "fl_one"})
    monkeypatch.setenv("FRESHLENS_API_KEY", "fl_two")
    await ask("search", text="a")
    await ask("search", text="a", options={"api_key": "fl_one"})
    assert server.authorization == [None, "Bearer fl_one", "Bearer fl_two", "Bearer fl_one"]


@pytest.mark.parametrize("key", ["fl_a\nb", "fl_a\r\nX-Evil: 1", "fl_a\x00", "fl_ä", "fl_a\n"])
@pytest.mark.parametrize("flavour", [Client, AsyncClient])
def test_a_key_with_a_line_break_is_refused_at_once(flavour: type, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for options, environment in (({"api_key": key}, ""), ({}, key if "\x00" not in key else "fl_a\nb")):
        monkeypatch.setenv("FRESHLENS_API_KEY", environment)
        with pytest.raises(ApiError, match="FRESHLENS_API_KEY") as caught:
            flavour("http://127.0.0.1:1", **options)
        assert (caught.value.code, caught.value.status) == ("unauthorized", None)
        assert key.strip() not in str(caught.value), "an error is logged"


def test_a_key_does_not_show() -> None:
    assert "secret" not in repr(AsyncClient(api_key="fl_secret"))


async def test_threads_share_a_client(server: Server) -> None:
    with Client(server.url) as client:
        found = await asyncio.gather(*(asyncio.to_thread(client.search, text=str(n)) for n in range(20)))
        assert {answer.query_id for answer in found} == {"q-1"}
    client.close()  # twice does no harm


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = [
        "torch",
        "faiss",
        "open_clip",
        "aiohttp.web",
        "confluent_kafka",
        "numpy",
        "query_api",
        "streams",
        "index_nodes",
    ]
    code = f"import sys, freshlens.client; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

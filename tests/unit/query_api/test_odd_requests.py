"""What nobody sends who means well is refused as theirs, not ours."""

import asyncio
import re
from urllib.parse import urlsplit

import pytest

from query_api.routes.table import ROUTES, Route
from tests.unit.query_api.doubles import Api


async def test_a_page_whose_name_no_file_can_have(api: Api) -> None:
    assert (await api.client.get("/page/" + 300 * "a")).status == 404


async def test_an_origin_that_is_no_address(api: Api) -> None:
    response = await api.client.post("/v1/search", json={"text": "a"}, headers={"Origin": "http://["})
    assert response.status == 403


async def test_a_body_that_is_not_packed_as_it_says(api: Api) -> None:
    url = urlsplit(str(api.client.make_url("/v1/search")))
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    head = "Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n"
    writer.write(f"POST /v1/search HTTP/1.1\r\nHost: {url.netloc}\r\n{head}".encode())
    await writer.drain()
    await asyncio.sleep(0.1)  # the body comes after the headers
    writer.write(b"not gzip!")
    assert b" 400 " in await reader.readline()
    writer.close()


@pytest.mark.parametrize("route", [route for route in ROUTES if route.scope], ids=lambda r: f"{r.method} {r.path}")
async def test_a_misspelt_parameter_passes_nowhere_for_none(api: Api, route: Route) -> None:
    path = re.sub(r"{\w+}", "a", route.path)
    body = {"json": {"text": "a"}} if route.body else {}
    for parameters in ({"fliter": "1"}, {"tenant": "default", "fliter": "{}"}):
        response = await api.client.request(route.method, path, params=parameters, **body)  # type: ignore[arg-type]
        assert (response.status, (await response.json())["code"]) == (400, "unknown-field")
        assert not api.publisher.events


async def test_a_filter_beside_a_body_of_json_does_not_pass_for_none(api: Api) -> None:
    response = await api.client.post("/v1/search", params={"filter": '{"color": "red"}'}, json={"text": "a"})
    assert (response.status, (await response.json())["code"]) == (400, "unknown-field")
    assert not api.shard.asked

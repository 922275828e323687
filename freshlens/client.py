"""The Python client of the query API.

async with Client("http://127.0.0.1:8080") as client:
    answer = await client.search(image=Path("photo.jpg").read_bytes(), text="in blue")
    for result in answer["results"]: ...
"""

import base64
import os
from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import msgspec

from schemas.errors import FreshlensError, ShardUnavailable

Json = dict[str, Any]


class ApiProblem(FreshlensError):
    """The API refused: ``code``, ``status`` and message are those of its problem document (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or f"HTTP {status}"))
        self.code = str(problem.get("code") or "internal")
        self.status = status


class Client:
    """Speaks to one query API for one tenant; use it with ``async with``.

    The key is ``api_key``, or else the environment's FRESHLENS_API_KEY. A key of one tenant needs no ``tenant``.
    Every call raises ApiProblem when the API refuses, and ShardUnavailable when it cannot be reached.
    """

    def __init__(self, url: str, *, tenant: str = "default", api_key: str | None = None, timeout_s: float = 60) -> None:
        self._url = url.rstrip("/")
        self._tenant = tenant
        key = api_key or os.environ.get("FRESHLENS_API_KEY")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def search(self, *, image: bytes | None = None, **body: Any) -> Json:
        """``POST /v1/search``: a picture's bytes and any field of the body (text, filter, k, min_offset, …)."""
        if image is not None:
            body["image"] = {"base64": base64.b64encode(image).decode()}
        return await self.call("POST", "/v1/search", body)

    async def publish(self, products: Sequence[Mapping[str, Any]], *, hot: bool = False) -> Json:
        """``POST /v1/products``: products in their JSON form; the answer has the read token.

        ``hot``: ahead of everything that is queued, for a few products that cannot wait.
        """
        return await self.call("POST", "/v1/products", list(products), query={"hot": "true"} if hot else None)

    async def delete(self, product_id: str, version: int | None = None) -> Json:
        """``DELETE /v1/products/{id}``."""
        query = {} if version is None else {"version": str(version)}
        return await self.call("DELETE", f"/v1/products/{quote(product_id, safe='')}", query=query)

    async def product(self, product_id: str) -> Json:
        """``GET /v1/products/{id}``."""
        return await self.call("GET", f"/v1/products/{quote(product_id, safe='')}")

    async def feedback(self, query_id: str, product_id: str, position: int, kind: str = "click") -> Json:
        """``POST /v1/feedback``."""
        body = {"query_id": query_id, "product_id": product_id, "position": position, "kind": kind}
        return await self.call("POST", "/v1/feedback", body)

    async def call(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> Json:
        """Any route of the API; the answer's JSON."""
        assert self._session is not None, "use the client with `async with`"
        query = {**(query or {}), **({} if self._tenant == "default" else {"tenant": self._tenant})}
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            async with self._session.request(
                method, self._url + path, data=content, headers=headers, params=query
            ) as response:
                raw = await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ShardUnavailable(f"{self._url} does not answer: {error or type(error).__name__}") from error
        answer = _decoded(raw)
        if status >= 400:
            raise ApiProblem(status, answer)
        return answer


def _decoded(raw: bytes) -> Json:
    try:
        answer = msgspec.json.decode(raw) if raw else {}
    except msgspec.DecodeError:
        return {"detail": raw[:300].decode(errors="replace")}
    return answer if isinstance(answer, dict) else {"answer": answer}

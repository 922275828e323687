"""The Python client of the query API, without and with asyncio.

with Client("http://127.0.0.1:8080") as client:
    answer = client.search(image=Path("photo.jpg"), text="in blue", k=5)
    for result in answer.results: ...

``AsyncClient`` has the same methods, to be awaited. :mod:`freshlens.client.calls` says what each of them takes.
"""

from freshlens.client.clients import AsyncClient, Client
from freshlens.client.errors import ApiError
from schemas.answers import (
    BatchAnswer,
    Explanation,
    LookupAnswer,
    ProductAnswer,
    ProductPage,
    PublishAnswer,
    Result,
    SearchAnswer,
    StatusAnswer,
)

__all__ = [
    "ApiError",
    "AsyncClient",
    "BatchAnswer",
    "Client",
    "Explanation",
    "LookupAnswer",
    "ProductAnswer",
    "ProductPage",
    "PublishAnswer",
    "Result",
    "SearchAnswer",
    "StatusAnswer",
]

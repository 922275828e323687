"""The search page and the analysts' page: static files of ``page/``, served as they are."""

from pathlib import Path

from aiohttp import web

from query_api.openapi.page import stylesheet
from schemas.errors import NotFound

FOLDER = Path(__file__).parent / "page"
# Asked for again each time, and answered with 304 while nothing changed.
_HEADERS = {"Cache-Control": "no-cache"}
_NAME_MAX = 100


def add_pages(app: web.Application, folder: Path = FOLDER) -> None:
    """Serve ``/``, ``/analytics`` and ``/page/NAME``."""

    async def index(_: web.Request) -> web.StreamResponse:
        return _file(folder, "index.html")

    async def analytics(_: web.Request) -> web.StreamResponse:
        return _file(folder, "analytics.html")

    async def named(request: web.Request) -> web.StreamResponse:
        return _file(folder, request.match_info["name"])

    app.router.add_get("/", index)
    app.router.add_get("/analytics", analytics)
    app.router.add_get("/page/{name}", named)
    app.router.add_get("/docs/docs.css", stylesheet)


def _file(folder: Path, name: str) -> web.FileResponse:
    # A name is one plain segment: nothing outside the folder can be named.
    is_plain = Path(name).name == name and not name.startswith(".") and len(name) <= _NAME_MAX
    if not is_plain or not (folder / name).is_file():
        raise NotFound(f"there is no {name[:100]!r} here")
    return web.FileResponse(folder / name, headers=_HEADERS)

"""The search page and the analysts' page: static files of ``page/``, served as they are."""

from pathlib import Path

from aiohttp import web

from query_api.docs_page import stylesheet
from schemas.errors import NotFound

FOLDER = Path(__file__).parent / "page"


def add_pages(app: web.Application, folder: Path = FOLDER) -> None:
    """Serve ``/``, ``/analytics`` and ``/page/*``."""
    app.router.add_get("/", _page(folder / "index.html"))
    app.router.add_get("/analytics", _page(folder / "analytics.html"))
    app.router.add_get("/docs/docs.css", stylesheet)
    if folder.is_dir():
        app.router.add_static("/page", folder)


def _page(file: Path):  # type: ignore[no-untyped-def]
    async def handler(_: web.Request) -> web.StreamResponse:
        if not file.is_file():  # noqa: ASYNC240 - one stat of a local file
            raise NotFound(f"this installation has no {file.name}")
        # Asked for again each time, and answered with 304 while nothing changed.
        return web.FileResponse(file, headers={"Cache-Control": "no-cache"})

    return handler

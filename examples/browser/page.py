"""Serves the page: its own files, and graphql-ws as npm installs it."""

from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

HERE: Final = Path(__file__).parent
GRAPHQL_WS: Final = HERE / "node_modules" / "graphql-ws" / "dist"
INSTALL: Final = "npm ci --prefix examples/browser --ignore-scripts"


class MissingError(Exception):
    """npm has not installed graphql-ws; the message says how to do that."""


def add_page(app: web.Application) -> None:
    """Serve the page at `/`, for a schema at `/graphql`.

    Raises:
        MissingError: graphql-ws is not installed.

    """
    if not GRAPHQL_WS.is_dir():
        raise MissingError(f"graphql-ws is not installed. Install it with: {INSTALL}")
    app.router.add_get("/", _file("index.html"))
    app.router.add_get("/page.js", _file("page.js"))
    app.router.add_static("/graphql-ws", GRAPHQL_WS)


def _file(name: str) -> Handler:
    async def serve(_request: web.Request) -> web.StreamResponse:
        return web.FileResponse(HERE / name)

    return serve

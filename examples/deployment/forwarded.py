"""Believes the proxy, and nobody else, who the client is."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

PROXIES: Final = frozenset({"127.0.0.1"})
"""From where the proxy connects. From elsewhere the headers are a stranger's."""


@web.middleware
async def forwarded(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Serve the request as that of the client which the proxy forwards."""
    if request.remote in PROXIES:
        request = request.clone(
            remote=request.headers.get("X-Forwarded-For", request.remote),
            scheme=request.headers.get("X-Forwarded-Proto", request.scheme),
        )
    return await handler(request)

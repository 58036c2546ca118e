"""Takes the client's address from the proxy, and from nobody else."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

PROXIES: Final = frozenset({"127.0.0.1"})
"""The proxy's addresses. From any other address, the headers are untrusted."""


@web.middleware
async def forwarded(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Serve the request as one of the client that the proxy names."""
    if request.remote in PROXIES:
        request = request.clone(
            remote=request.headers.get("X-Forwarded-For", request.remote),
            scheme=request.headers.get("X-Forwarded-Proto", request.scheme),
        )
    return await handler(request)

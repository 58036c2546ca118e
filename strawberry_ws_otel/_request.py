"""The request that a view serves: what it tells the extension."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from strawberry_ws_otel._current import current
from strawberry_ws_otel._telemetry import Telemetry

_NO_HEADERS: Final = MappingProxyType[str, str]({})


class Request:
    """Where the request is recorded, and the headers that may bring a remote context."""

    __slots__ = ("__weakref__", "headers", "telemetry")

    def __init__(self, telemetry: Telemetry, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        self.telemetry = telemetry
        self.headers = headers


def current_request() -> Request | None:
    """Return the request of the view that the running code serves."""
    request = current().request
    return request if isinstance(request, Request) else None

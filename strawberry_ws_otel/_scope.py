"""What a view tells the extension about the request that the running code serves."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from opentelemetry.context import Context, create_key, get_value, set_value

from strawberry_ws_otel._telemetry import Telemetry

_KEY: Final = create_key("strawberry_ws_otel.scope")
_NO_HEADERS: Final = MappingProxyType[str, str]({})


class Scope:
    """Where the request is recorded, and the headers that may bring a remote context."""

    __slots__ = ("headers", "telemetry")

    def __init__(self, telemetry: Telemetry, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        self.telemetry = telemetry
        self.headers = headers

    def within(self, context: Context) -> Context:
        """Return `context` with this scope in it."""
        return set_value(_KEY, self, context)


def current_scope(context: Context | None = None) -> Scope | None:
    """Return the scope of the view that the running code, or that in `context`, is called by."""
    scope = get_value(_KEY, context)
    return scope if isinstance(scope, Scope) else None

"""OpenTelemetry for every Strawberry GraphQL WebSocket on aiohttp, and how it closed."""

from typing import TYPE_CHECKING, Any

from strawberry_ws_otel._config import OTelConfig
from strawberry_ws_otel._connection import connection_attributes, connection_span
from strawberry_ws_otel._open import OpenConnection, OpenOperation, open_connections
from strawberry_ws_otel._semconv import __version__
from strawberry_ws_otel._strawberry.extension import OTelExtension

if TYPE_CHECKING:
    from strawberry_ws_otel._aiohttp.view import OTelViewMixin

__all__ = [
    "OTelConfig",
    "OTelExtension",
    "OTelViewMixin",
    "OpenConnection",
    "OpenOperation",
    "__version__",
    "connection_attributes",
    "connection_span",
    "open_connections",
]


# Type checkers must not see these: they would take any misspelt name for one of ours.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:  # noqa: ANN401  # as Python has it
        """Import the mixin where it is asked for: the extension works without aiohttp."""
        if name != "OTelViewMixin":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            from strawberry_ws_otel._aiohttp.view import OTelViewMixin  # noqa: PLC0415  # see above
        except ModuleNotFoundError as error:
            if error.name != "aiohttp":
                raise
            raise ImportError("OTelViewMixin needs aiohttp: pip install aiohttp") from error
        return OTelViewMixin

    def __dir__() -> list[str]:
        """List the public names that can be had here."""
        from importlib.util import find_spec  # noqa: PLC0415  # nobody else needs it

        has_aiohttp = find_spec("aiohttp") is not None
        return [name for name in __all__ if name != "OTelViewMixin" or has_aiohttp]

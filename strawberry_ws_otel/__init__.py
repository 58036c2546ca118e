"""OpenTelemetry for every Strawberry GraphQL WebSocket on aiohttp, and how it closed."""

from strawberry_ws_otel._config import OTelConfig
from strawberry_ws_otel._connection import connection_span
from strawberry_ws_otel._extension import OTelExtension
from strawberry_ws_otel._version import __version__
from strawberry_ws_otel._view import OTelViewMixin

__all__ = ["OTelConfig", "OTelExtension", "OTelViewMixin", "__version__", "connection_span"]

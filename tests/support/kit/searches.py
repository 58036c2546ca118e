"""The saved searches of Jaeger's menu that `live.py` answers."""

from typing import Final

from strawberry_ws_otel import _semconv

OF_WHAT_IS_OPEN: Final = {
    "Open connections": _semconv.CONNECTION_ID,
    "Open subscriptions": _semconv.SUBSCRIPTION_ID,
}
"""By what the segments belong together that each search finds."""

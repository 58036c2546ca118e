"""Conversations on the terminal: what happened on each WebSocket, drawn when it closes.

For code, `show()` is one line. Where the SDK configures itself, `OTEL_TRACES_EXPORTER=graphql_ws`
does the same.
"""

try:
    from strawberry_ws_otel.console._conversation import Conversation, Operation
    from strawberry_ws_otel.console._exporter import ConversationExporter
    from strawberry_ws_otel.console._picture import OperationLine, Picture
    from strawberry_ws_otel.console._show import show
except ModuleNotFoundError as error:
    if error.name is None or not f"{error.name}.".startswith(("rich.", "opentelemetry.sdk.")):
        raise
    raise ImportError(
        "strawberry_ws_otel.console needs rich and the OpenTelemetry SDK:"
        ' pip install "strawberry-ws-otel[console]"'
    ) from error

__all__ = [
    "Conversation",
    "ConversationExporter",
    "Operation",
    "OperationLine",
    "Picture",
    "show",
]

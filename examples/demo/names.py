"""Names that the examples read back from telemetry; docs/reference/telemetry.md explains them."""

from typing import Final

SCOPE: Final = "strawberry_ws_otel"

SPAN_CONNECTION: Final = "GraphQL WebSocket Connection"

CLIENT_ADDRESS: Final = "client.address"
CONNECTION_ID: Final = "websocket.connection.id"
DURATION: Final = "graphql.ws.duration"
ERROR_TYPE: Final = "error.type"
OPERATION_NAME: Final = "graphql.operation.name"
SEND_BLOCKED_TIME: Final = "graphql.ws.send_blocked_time"
USER_AGENT: Final = "user_agent.original"
USER_ID: Final = "user.id"

SEGMENT_CONTINUED: Final = "graphql.ws.segment.continued"
SEGMENT_NUMBER: Final = "graphql.ws.segment.number"

CLOSE_CODE: Final = "websocket.close.code"
CLOSE_INITIATOR: Final = "websocket.close.initiator"
CLOSE_OUTCOME: Final = "websocket.close.outcome"

METRIC_CLOSES: Final = "websocket.server.closes"

"""Names that the demo reads back from its telemetry; docs/reference/telemetry.md explains them."""

from typing import Final

SCOPE: Final = "strawberry_ws_otel"

SPAN_CONNECTION: Final = "GraphQL WebSocket Connection"
SPAN_CONNECTION_INIT: Final = "GraphQL WebSocket Connection Init"

CONNECTION_ID: Final = "websocket.connection.id"
SUBPROTOCOL: Final = "websocket.subprotocol"
HTTP_STATUS: Final = "http.response.status_code"
USER_AGENT: Final = "user_agent.original"
USER_ID: Final = "user.id"

CLOSE_CODE: Final = "websocket.close.code"
CLOSE_REASON: Final = "websocket.close.reason"
CLOSE_INITIATOR: Final = "websocket.close.initiator"
CLOSE_CLEAN: Final = "websocket.close.clean"
CLOSE_OUTCOME: Final = "websocket.close.outcome"
CLOSE_FAULT: Final = "websocket.close.fault"

RECEIVED: Final = "graphql.ws.messages.received"
SENT: Final = "graphql.ws.messages.sent"
OPERATIONS: Final = "graphql.ws.operation.count"
INTERRUPTED: Final = "graphql.ws.operation.interrupted_count"
RECEIVE_IDLE_TIME: Final = "graphql.ws.receive_idle_time"

OPERATION_NAME: Final = "graphql.operation.name"
END_REASON: Final = "graphql.ws.operation.end_reason"
ERROR_TYPE: Final = "error.type"

EVENT_MESSAGE_PREFIX: Final = "graphql.ws."
EVENT_CLOSE: Final = "websocket.close"
EVENT_WEBSOCKET_ERROR: Final = "websocket.error"
EVENT_GRAPHQL_ERROR: Final = "graphql.error"
DIRECTION: Final = "network.io.direction"
SEQUENCE: Final = "graphql.ws.message.sequence"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
GRAPHQL_ERROR_MESSAGE: Final = "graphql.error.message"
GRAPHQL_ERROR_PATH: Final = "graphql.error.path"

METRIC_CLOSES: Final = "websocket.server.closes"

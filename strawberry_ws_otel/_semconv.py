"""Every span, event, attribute and metric name, each in one constant.

The README's tables say what each name means. The comment above a group of names says where they
come from, the first of three sources that has one:

* **OTel**: the OpenTelemetry semantic conventions (network, HTTP, URL, error, exception, GraphQL);
* **draft**: the draft of the GraphQL OTel working group (semantic-conventions PR 3515);
* **own**: neither has one; our names start with `websocket.` or `graphql.ws.`.
"""

from typing import Final

__version__ = "0.2.0.dev0"
"""Version of the package, also that of the instrumentation scope."""

SCOPE: Final = "strawberry_ws_otel"
"""Name of the instrumentation scope, and of the logger."""

# OTel: the value that stands for every value outside a bounded set.
OTHER: Final = "_OTHER"

# --- Span names ------------------------------------------------------------------------------
# own
SPAN_CONNECTION: Final = "GraphQL WebSocket Connection"
SPAN_CONNECTION_INIT: Final = "GraphQL WebSocket Connection Init"

# draft
SPAN_OPERATION: Final = "GraphQL Operation"  # whose type is not known (yet)
SPAN_PARSING: Final = "GraphQL Document Parsing"
SPAN_VALIDATION: Final = "GraphQL Document Validation"
SPAN_EXECUTION: Final = "GraphQL Operation Execution"

# --- Span events -----------------------------------------------------------------------------
# OTel
EVENT_EXCEPTION: Final = "exception"

# own
EVENT_MESSAGE_PREFIX: Final = "graphql.ws."  # and the message type, also of the message's own span
EVENT_WEBSOCKET_ERROR: Final = "websocket.error"
EVENT_WEBSOCKET_CLOSE: Final = "websocket.close"
EVENT_WEBSOCKET_REDUNDANT_CLOSE: Final = "websocket.redundant_close"

# draft
EVENT_GRAPHQL_ERROR: Final = "graphql.error"

# --- Attributes of the connection ------------------------------------------------------------
# own
CONNECTION_ID: Final = "websocket.connection.id"
SUBPROTOCOL: Final = "websocket.subprotocol"  # RFC 6455 1.9
CLOSE_CODE: Final = "websocket.close.code"  # RFC 6455 7.1.5
CLOSE_REASON: Final = "websocket.close.reason"  # RFC 6455 7.1.6
CLOSE_INITIATOR: Final = "websocket.close.initiator"
CLOSE_CLEAN: Final = "websocket.close.clean"  # RFC 6455 7.1.4
CLOSE_OUTCOME: Final = "websocket.close.outcome"
CLOSE_FAULT: Final = "websocket.close.fault"
CLOSE_SENT_CODE: Final = "websocket.close.sent_code"
CLOSE_RECEIVED_CODE: Final = "websocket.close.received_code"
MESSAGES_RECEIVED: Final = "graphql.ws.messages.received"
MESSAGES_SENT: Final = "graphql.ws.messages.sent"
OPERATION_COUNT: Final = "graphql.ws.operation.count"
OPERATION_INTERRUPTED_COUNT: Final = "graphql.ws.operation.interrupted_count"
ACKNOWLEDGED: Final = "graphql.ws.acknowledged"
RECEIVE_IDLE_TIME: Final = "graphql.ws.receive_idle_time"
SEND_IDLE_TIME: Final = "graphql.ws.send_idle_time"
SEND_BLOCKED_TIME: Final = "graphql.ws.send_blocked_time"  # also of an operation

# own, also of an operation
SEGMENT_NUMBER: Final = "graphql.ws.segment.number"
SEGMENT_CONTINUED: Final = "graphql.ws.segment.continued"
DURATION: Final = "graphql.ws.duration"

# OTel, of the handshake
PROTOCOL_NAME: Final = "network.protocol.name"
URL_PATH: Final = "url.path"
HTTP_ROUTE: Final = "http.route"
HTTP_STATUS_CODE: Final = "http.response.status_code"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
CLIENT_ADDRESS: Final = "client.address"
USER_AGENT: Final = "user_agent.original"

# --- Attributes of an operation --------------------------------------------------------------
# OTel
OPERATION_TYPE: Final = "graphql.operation.type"
OPERATION_NAME: Final = "graphql.operation.name"
DOCUMENT: Final = "graphql.document"

# draft
DOCUMENT_HASH: Final = "graphql.document.hash"
SUBSCRIPTION_ID: Final = "graphql.subscription.id"
ERROR_COUNT: Final = "graphql.error.count"

# own
OPERATION_ID: Final = "graphql.ws.operation.id"
END_REASON: Final = "graphql.ws.operation.end_reason"
RESULTS: Final = "graphql.ws.results"
TIME_TO_FIRST_RESULT: Final = "graphql.ws.time_to_first_result"

# --- Attributes of links ---------------------------------------------------------------------
# own: what it leads to
LINK: Final = "graphql.ws.link"

# --- Attributes of events and metrics --------------------------------------------------------
# OTel
IO_DIRECTION: Final = "network.io.direction"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
ERROR_TYPE: Final = "error.type"

# draft
ERROR_MESSAGE: Final = "graphql.error.message"
ERROR_PATH: Final = "graphql.error.path"
ERROR_LOCATIONS: Final = "graphql.error.locations"
ERROR_CODE: Final = "graphql.error.code"

# own
MESSAGE_SEQUENCE: Final = "graphql.ws.message.sequence"
MESSAGE_TYPE: Final = "graphql.ws.message.type"

# --- Fields of log records -------------------------------------------------------------------
# own: how many closes of the same outcome were not logged since the record before
LOG_LEFT_OUT: Final = "websocket.close.left_out"

# --- Metrics ---------------------------------------------------------------------------------
# own
METRIC_ACTIVE_CONNECTIONS: Final = "websocket.server.active_connections"
METRIC_CONNECTION_DURATION: Final = "websocket.server.connection.duration"
METRIC_CLOSES: Final = "websocket.server.closes"
METRIC_MESSAGES: Final = "websocket.server.messages"
METRIC_IO: Final = "websocket.server.io"
METRIC_ERRORS: Final = "websocket.server.errors"
METRIC_SEND_BLOCKED: Final = "websocket.server.send.blocked"
METRIC_SEND_BLOCKED_TIME: Final = "websocket.server.send.blocked_time"
METRIC_INIT_DURATION: Final = "graphql.ws.connection_init.duration"
METRIC_OPERATION_DURATION: Final = "graphql.ws.operation.duration"
METRIC_TIME_TO_FIRST_RESULT: Final = TIME_TO_FIRST_RESULT  # the attribute, over all operations

# draft
METRIC_REQUEST_DURATION: Final = "graphql.server.request.duration"
METRIC_SUBSCRIPTIONS_ACTIVE: Final = "graphql.server.subscription.active"
METRIC_SUBSCRIPTION_EVENTS: Final = "graphql.server.subscription.event_count"


def names() -> frozenset[str]:
    """Return every name of the library's telemetry."""
    return frozenset(value for constant, value in globals().items() if constant.isupper())

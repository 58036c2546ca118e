"""Every span, event, attribute and metric name, each in one documented constant.

Each name comes from the first of three sources that has one, named at its section:

* **OTel**: the OpenTelemetry semantic conventions (network, HTTP, URL, error, exception, GraphQL);
* **draft**: the draft of the GraphQL OTel working group (semantic-conventions PR 3515);
* **own**: neither has one; our names start with `websocket.` or `graphql.ws.`.
"""

from typing import Final

__version__ = "0.2.0.dev0"
"""Version of the package, also that of the instrumentation scope."""

SCOPE: Final = "strawberry_ws_otel"
"""Name of the instrumentation scope, and of the logger."""

OTHER: Final = "_OTHER"
"""OTel: the value that stands for every value outside a bounded set."""

# --- Span names ------------------------------------------------------------------------------

SPAN_CONNECTION: Final = "GraphQL WebSocket Connection"
"""own: the whole life of one connection, from the handshake to the close."""

SPAN_CONNECTION_INIT: Final = "GraphQL WebSocket Connection Init"
"""own: from the first `connection_init` to its ack or refusal."""

SPAN_OPERATION: Final = "GraphQL Operation"
"""draft: an operation whose type is not known (yet)."""

SPAN_PARSING: Final = "GraphQL Document Parsing"
"""draft: the parsing phase of an operation."""

SPAN_VALIDATION: Final = "GraphQL Document Validation"
"""draft: the validation phase of an operation."""

SPAN_EXECUTION: Final = "GraphQL Operation Execution"
"""draft: the execution phase of a query or mutation."""

# --- Span events -----------------------------------------------------------------------------

EVENT_MESSAGE_PREFIX: Final = "graphql.ws."
"""own: followed by the message type: `graphql.ws.subscribe`, `graphql.ws.next`, ..."""

EVENT_WEBSOCKET_ERROR: Final = "websocket.error"
"""own: aiohttp handed over an ERROR frame."""

EVENT_WEBSOCKET_CLOSE: Final = "websocket.close"
"""own: the moment at which the close was decided; once per connection."""

EVENT_WEBSOCKET_REDUNDANT_CLOSE: Final = "websocket.redundant_close"
"""own: somebody closed a socket that was closed already."""

EVENT_GRAPHQL_ERROR: Final = "graphql.error"
"""draft: one GraphQL error of the operation."""

# --- Attributes of the connection ------------------------------------------------------------

CONNECTION_ID: Final = "websocket.connection.id"
"""own: 16 hex digits; on the connection, its init and each of its operations."""

SUBPROTOCOL: Final = "websocket.subprotocol"
"""own: the negotiated subprotocol (RFC 6455 1.9)."""

CLOSE_CODE: Final = "websocket.close.code"
"""own: code of the first close frame (RFC 6455 7.1.5), else 1006; metrics have named codes only."""

CLOSE_REASON: Final = "websocket.close.reason"
"""own: reason of the first close frame (RFC 6455 7.1.6)."""

CLOSE_INITIATOR: Final = "websocket.close.initiator"
"""own: whose close frame came first: `client`, `server` or `none`; `unknown` if nobody watched."""

CLOSE_CLEAN: Final = "websocket.close.clean"
"""own: whether both close frames were exchanged (RFC 6455 7.1.4)."""

CLOSE_OUTCOME: Final = "websocket.close.outcome"
"""own: the verdict, one of `_close.Outcome`."""

CLOSE_FAULT: Final = "websocket.close.fault"
"""own: `client`, `server`, `network`, `unknown` or `none`."""

CLOSE_SENT_CODE: Final = "websocket.close.sent_code"
"""own: code of the close frame that the server sent."""

CLOSE_RECEIVED_CODE: Final = "websocket.close.received_code"
"""own: code of the close frame that the client sent; 1005 for a frame without one."""

MESSAGES_RECEIVED: Final = "graphql.ws.messages.received"
"""own: data messages received on the connection."""

MESSAGES_SENT: Final = "graphql.ws.messages.sent"
"""own: data messages sent on the connection."""

OPERATION_COUNT: Final = "graphql.ws.operation.count"
"""own: operations begun on the connection."""

OPERATION_INTERRUPTED_COUNT: Final = "graphql.ws.operation.interrupted_count"
"""own: operations that were alive when the connection died."""

ACKNOWLEDGED: Final = "graphql.ws.acknowledged"
"""own: whether a `connection_ack` was sent."""

RECEIVE_IDLE_TIME: Final = "graphql.ws.receive_idle_time"
"""own: seconds from the client's last data message to the end of the connection."""

PROTOCOL_NAME: Final = "network.protocol.name"
"""OTel: `websocket`."""

URL_PATH: Final = "url.path"
"""OTel: path of the handshake request."""

HTTP_ROUTE: Final = "http.route"
"""OTel: the route that matched the handshake request."""

HTTP_STATUS_CODE: Final = "http.response.status_code"
"""OTel: status of a refused handshake."""

SERVER_ADDRESS: Final = "server.address"
"""OTel: host the client asked for."""

SERVER_PORT: Final = "server.port"
"""OTel: port the client asked for."""

CLIENT_ADDRESS: Final = "client.address"
"""OTel: address of the peer."""

USER_AGENT: Final = "user_agent.original"
"""OTel: the `User-Agent` header of the handshake."""

# --- Attributes of an operation --------------------------------------------------------------

OPERATION_TYPE: Final = "graphql.operation.type"
"""OTel: `query`, `mutation` or `subscription`."""

OPERATION_NAME: Final = "graphql.operation.name"
"""OTel: name of the operation."""

DOCUMENT: Final = "graphql.document"
"""OTel: the document, opt-in."""

DOCUMENT_HASH: Final = "graphql.document.hash"
"""draft: `sha256:` and the hex digest of the document."""

OPERATION_ID: Final = "graphql.ws.operation.id"
"""own: the id that the client gave the operation."""

SUBSCRIPTION_ID: Final = "graphql.subscription.id"
"""draft: unique in the server: connection id, `-`, the client's id."""

END_REASON: Final = "graphql.ws.operation.end_reason"
"""own: why the operation ended, one of `_operation.EndReason`."""

RESULTS: Final = "graphql.ws.results"
"""own: results (`next`, `data`) sent."""

TIME_TO_FIRST_RESULT: Final = "graphql.ws.time_to_first_result"
"""own: seconds from the first message of the operation to its first result."""

ERROR_COUNT: Final = "graphql.error.count"
"""draft: GraphQL errors of the operation."""

# --- Attributes of events --------------------------------------------------------------------

IO_DIRECTION: Final = "network.io.direction"
"""OTel: `receive` or `transmit`; also an attribute of metrics."""

MESSAGE_SEQUENCE: Final = "graphql.ws.message.sequence"
"""own: ordinal, from 1, of that message type and direction on that span."""

ERROR_MESSAGE: Final = "graphql.error.message"
"""draft: message of a GraphQL error, by `OTelConfig.error_messages`."""

ERROR_PATH: Final = "graphql.error.path"
"""draft: path of a GraphQL error, `a[0].b`."""

ERROR_LOCATIONS: Final = "graphql.error.locations"
"""draft: `line:column`, several joined by `,`."""

ERROR_CODE: Final = "graphql.error.code"
"""draft: `extensions.code` of a GraphQL error."""

EXCEPTION_TYPE: Final = "exception.type"
"""OTel: class of the exception, with its module unless it is a builtin."""

EXCEPTION_MESSAGE: Final = "exception.message"
"""OTel: message of the exception."""

ERROR_TYPE: Final = "error.type"
"""OTel: low-cardinality class of the failure; also an attribute of metrics."""

MESSAGE_TYPE: Final = "graphql.ws.message.type"
"""own: message type of the subprotocol, or `_OTHER`; an attribute of metrics."""

# --- Fields of log records -------------------------------------------------------------------

LOG_LEFT_OUT: Final = "websocket.close.left_out"
"""own: closes of the same outcome that were left out of the log since the record before."""

# --- Metrics ---------------------------------------------------------------------------------

METRIC_ACTIVE_CONNECTIONS: Final = "websocket.server.active_connections"
"""own: `{connection}`, open connections."""

METRIC_CONNECTION_DURATION: Final = "websocket.server.connection.duration"
"""own: `s`, life of a connection."""

METRIC_CLOSES: Final = "websocket.server.closes"
"""own: `{close}`, ended connections by outcome and fault."""

METRIC_MESSAGES: Final = "websocket.server.messages"
"""own: `{message}`, data messages by type and direction."""

METRIC_IO: Final = "websocket.server.io"
"""own: `By`, payload of data messages before compression."""

METRIC_ERRORS: Final = "websocket.server.errors"
"""own: `{error}`, ERROR frames."""

METRIC_INIT_DURATION: Final = "graphql.ws.connection_init.duration"
"""own: `s`, from the first `connection_init` to its ack or refusal."""

METRIC_REQUEST_DURATION: Final = "graphql.server.request.duration"
"""draft: `s`, queries and mutations on every transport, and over HTTP what has no type."""

METRIC_SUBSCRIPTIONS_ACTIVE: Final = "graphql.server.subscription.active"
"""draft: `{subscription}`, live subscriptions."""

METRIC_SUBSCRIPTION_EVENTS: Final = "graphql.server.subscription.event_count"
"""draft: `{event}`, subscription events."""

METRIC_OPERATION_DURATION: Final = "graphql.ws.operation.duration"
"""own: `s`, life of an operation over a WebSocket."""

"""The instruments that users are promised."""

LONG = [0.01, 0.1, 1, 10, 60, 300, 900, 3600, 14400, 43200, 86400]

SHORT = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2, 2.5, 5, 7.5, 10]

ACTIVE = "websocket.server.active_connections"

LIFE = "websocket.server.connection.duration"

CLOSES = "websocket.server.closes"

MESSAGES = "websocket.server.messages"

IO = "websocket.server.io"

ERRORS = "websocket.server.errors"

INITS = "graphql.ws.connection_init.duration"

REQUESTS = "graphql.server.request.duration"

SUBSCRIPTIONS = "graphql.server.subscription.active"

BLOCKED = "websocket.server.send.blocked"

BLOCKED_TIME = "websocket.server.send.blocked_time"

EVENTS = "graphql.server.subscription.event_count"

OPERATIONS = "graphql.ws.operation.duration"

FIRST_RESULTS = "graphql.ws.time_to_first_result"

INSTRUMENTS: dict[str, tuple[str, str, list[float] | None]] = {
    ACTIVE: ("observable_up_down_counter", "{connection}", None),
    LIFE: ("histogram", "s", LONG),
    CLOSES: ("observable_counter", "{close}", None),
    MESSAGES: ("observable_counter", "{message}", None),
    IO: ("observable_counter", "By", None),
    ERRORS: ("observable_counter", "{error}", None),
    INITS: ("histogram", "s", SHORT),
    REQUESTS: ("histogram", "s", SHORT),
    SUBSCRIPTIONS: ("observable_up_down_counter", "{subscription}", None),
    EVENTS: ("observable_counter", "{event}", None),
    OPERATIONS: ("histogram", "s", LONG),
    BLOCKED: ("observable_up_down_counter", "{connection}", None),
    BLOCKED_TIME: ("observable_counter", "s", None),
    FIRST_RESULTS: ("histogram", "s", SHORT),
}

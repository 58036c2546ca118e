"""What the dashboard shows: a table of graphs, each with its queries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

JOB: Final = 'job=~"$job"'
CLOSES: Final = "websocket_server_closes_total"
MESSAGES: Final = "websocket_server_messages_total"
INITS: Final = "graphql_ws_connection_init_duration_seconds"
OPERATIONS: Final = "graphql_ws_operation_duration_seconds"
FIRST_RESULTS: Final = "graphql_ws_time_to_first_result_seconds"

OUTCOME: Final = "websocket_close_outcome"
FAULT: Final = "websocket_close_fault"
NO_DEPLOYMENT: Final = f'{OUTCOME}!="server_shutdown"'
TYPE: Final = "graphql_operation_type"
END_REASON: Final = "graphql_ws_operation_end_reason"

QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
COMMON: Final = {"p50": 0.5, "p95": 0.95}


def now(gauge: str, *by: str) -> str:
    """Write the query for a gauge, summed by some of its labels."""
    return f"sum by ({', '.join(by)}) ({gauge}{{{JOB}}})"


def rate(counter: str, *by: str, where: str = "") -> str:
    """Write the query for a counter's rate per second, summed by some of its labels."""
    selector = ", ".join(filter(None, (JOB, where)))
    return f"sum by ({', '.join(by)}) (rate({counter}{{{selector}}}[$__rate_interval]))"


def quantiles(histogram: str, *by: str, which: Mapping[str, float] = QUANTILES) -> dict[str, str]:
    """Write a query for each quantile of a histogram. Without data it has no value, and not NaN."""
    buckets = rate(f"{histogram}_bucket", *by, "le")
    return {
        " ".join((name, *map(label, by))): f"histogram_quantile({quantile}, {buckets}) >= 0"
        for name, quantile in which.items()
    }


def label(name: str) -> str:
    """Write a label's value as legends do."""
    return f"{{{{{name}}}}}"


def search(attribute: str, name: str) -> str:
    """Write a search in Jaeger for a label's value: the parameters after the service."""
    return f"&tags=%7B%22{attribute}%22%3A%22${{__field.labels.{name}}}%22%7D"


@dataclass(frozen=True)
class Panel:
    """One graph."""

    title: str
    meaning: str
    unit: str
    queries: Mapping[str, str]
    """The queries, by the legend of their lines."""
    stacked: bool = False
    exemplars: bool = False
    search: str = ""
    """The search in Jaeger that a click on a line opens."""


ROWS: Final = {
    "Connections": (
        Panel(
            "Connections now",
            "Open WebSockets.",
            "short",
            {
                "{{job}} {{websocket_subprotocol}}": now(
                    "websocket_server_active_connections", "job", "websocket_subprotocol"
                )
            },
            stacked=True,
        ),
        Panel(
            "Opens",
            "Connections that sent connection_init, per second.",
            "cps",
            {
                label("job"): rate(
                    MESSAGES, "job", where='graphql_ws_message_type="connection_init"'
                )
            },
            stacked=True,
        ),
        Panel(
            "Closes by outcome",
            "Ended WebSockets and refused handshakes per second. A click searches Jaeger for them.",
            "cps",
            {label(OUTCOME): rate(CLOSES, OUTCOME)},
            stacked=True,
            search="&operation=GraphQL%20WebSocket%20Connection"
            + search("websocket.close.outcome", OUTCOME),
        ),
        Panel(
            "Closes by code",
            "Ended WebSockets within 5 minutes, with the close code if it has a name.",
            "short",
            {
                f"{label(OUTCOME)} {label('code')}": "sum by "
                f"({OUTCOME}, code) (job_outcome_code:websocket_server_closes:increase5m{{{JOB}}})"
            },
            stacked=True,
            search="&operation=GraphQL%20WebSocket%20Connection"
            + search("websocket.close.outcome", OUTCOME),
        ),
        Panel(
            "Abnormal closes by fault",
            "Their share of all closes, without deployments.",
            "percentunit",
            {
                label(FAULT): rate(CLOSES, FAULT, where=f'{FAULT}!="none"')
                + " / on () group_left () "
                + f"({rate(CLOSES, where=NO_DEPLOYMENT)} > 0)"
            },
            stacked=True,
        ),
        Panel(
            "Life of a connection",
            "From the handshake to the close.",
            "s",
            quantiles("websocket_server_connection_duration_seconds"),
            exemplars=True,
        ),
        Panel(
            "ERROR messages",
            "Frames that aiohttp could not read, and heartbeats that it missed, per second.",
            "cps",
            {label("error_type"): rate("websocket_server_errors_total", "error_type")},
        ),
    ),
    "Connection init": (
        Panel(
            "Init latency",
            "From connection_init to its answer. on_ws_connect runs in that time.",
            "s",
            quantiles(INITS),
            exemplars=True,
        ),
        Panel(
            "Inits by result",
            "Per second. Those with an error were refused.",
            "cps",
            {label("error_type"): rate(f"{INITS}_count", "error_type")},
        ),
    ),
    "Messages": (
        Panel(
            "Messages by type",
            "Per second, from and to the clients.",
            "cps",
            {
                "{{network_io_direction}} {{graphql_ws_message_type}}": rate(
                    MESSAGES, "network_io_direction", "graphql_ws_message_type"
                )
            },
        ),
        Panel(
            "Bytes",
            "Payload of data messages per second, before compression.",
            "Bps",
            {
                label("network_io_direction"): rate(
                    "websocket_server_io_bytes_total", "network_io_direction"
                )
            },
        ),
        Panel(
            "Sends that wait now",
            "Connections with a send that waits, because the client does not read.",
            "short",
            {label("job"): now("websocket_server_send_blocked", "job")},
            stacked=True,
        ),
        Panel(
            "Sends that waited",
            "The same on average: it misses no wait between two scrapes.",
            "short",
            {label("job"): rate("websocket_server_send_blocked_time_seconds_total", "job")},
            stacked=True,
        ),
    ),
    "Operations": (
        Panel(
            "Subscriptions now",
            "Live subscriptions.",
            "short",
            {label("job"): now("graphql_server_subscription_active", "job")},
            stacked=True,
        ),
        Panel(
            "Subscription events",
            "Per second. Those with a name had that error.",
            "cps",
            {
                label("error_type"): rate(
                    "graphql_server_subscription_event_count_total", "error_type"
                )
            },
        ),
        Panel(
            "Operations by end reason",
            "Per second. A click searches Jaeger for them.",
            "cps",
            {f"{label(TYPE)} {label(END_REASON)}": rate(f"{OPERATIONS}_count", TYPE, END_REASON)},
            search=search("graphql.ws.operation.end_reason", END_REASON),
        ),
        Panel(
            "Interrupted operations",
            "Per second, by type: their connection closed first. A click searches Jaeger for them.",
            "cps",
            {
                label(TYPE): rate(
                    f"{OPERATIONS}_count", TYPE, where=f'{END_REASON}="connection_closed"'
                )
            },
            stacked=True,
            search=f"&operation=${{__field.labels.{TYPE}}}"
            "&tags=%7B%22graphql.ws.operation.end_reason%22%3A%22connection_closed%22%7D",
        ),
        Panel(
            "Time to first result",
            "From an operation's first message to its first result, over a WebSocket.",
            "s",
            quantiles(FIRST_RESULTS, TYPE, which=COMMON),
            exemplars=True,
        ),
        Panel(
            "Life of an operation",
            "From its first message to its end.",
            "s",
            quantiles(OPERATIONS, TYPE),
            exemplars=True,
        ),
        Panel(
            "Queries and mutations",
            "How long they took, on every transport.",
            "s",
            quantiles("graphql_server_request_duration_seconds", TYPE),
            exemplars=True,
        ),
    ),
}
"""The rows of the page."""

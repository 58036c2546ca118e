"""What the dashboard shows: its variables, its annotations, and rows of panels with their queries.

Every query selects by the variables. A variable with all of its values also selects what does not
have its label: many services have no `cluster`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

VARIABLES: Final = {
    "cluster": "Cluster",
    "namespace": "Namespace",
    "job": "Service",
    "instance": "Process",
}
"""The label that each variable chooses by, and its title. Each depends on those before it."""


def chosen(*labels: str) -> str:
    """Write a selector by some of the variables."""
    return ", ".join(f'{label}=~"${label}"' for label in labels)


CLUSTER: Final = chosen("cluster")
SERVICE: Final = chosen("cluster", "namespace", "job")
PROCESS: Final = chosen(*VARIABLES)

CLOSES: Final = "websocket_server_closes_total"
CONNECTIONS: Final = "websocket_server_active_connections"
SUBSCRIPTIONS: Final = "graphql_server_subscription_active"
BLOCKED: Final = "websocket_server_send_blocked"
MESSAGES: Final = "websocket_server_messages_total"
INITS: Final = "graphql_ws_connection_init_duration_seconds"
OPERATIONS: Final = "graphql_ws_operation_duration_seconds"
FIRST_RESULTS: Final = "graphql_ws_time_to_first_result_seconds"
INFO: Final = "target_info"
COLLECTOR_QUEUE: Final = "otelcol_exporter_queue"

OUTCOME: Final = "websocket_close_outcome"
FAULT: Final = "websocket_close_fault"
ABNORMAL: Final = f'{FAULT}!="none"'
NO_DEPLOYMENT: Final = f'{OUTCOME}!="server_shutdown"'
TYPE: Final = "graphql_operation_type"
END_REASON: Final = "graphql_ws_operation_end_reason"
ERROR: Final = "error_type"
VERSION: Final = "service_version"
HOST: Final = "host_name"

QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
COMMON: Final = {"p50": 0.5, "p95": 0.95}


def now(gauge: str, *by: str) -> str:
    """Write the query for a gauge, summed by some of its labels."""
    return f"sum by ({', '.join(by)}) ({gauge}{{{PROCESS}}})"


def rate(counter: str, *by: str, where: str = "") -> str:
    """Write the query for a counter's rate per second, summed by some of its labels."""
    selector = ", ".join(filter(None, (PROCESS, where)))
    return f"sum by ({', '.join(by)}) (rate({counter}{{{selector}}}[$__rate_interval]))"


def ours(query: str) -> str:
    """Restrict a query for metrics that every service has to processes that serve WebSockets."""
    return f"{query} and on ({', '.join(VARIABLES)}) {CONNECTIONS}{{{PROCESS}}}"


def collector_rate(counter: str, *by: str) -> str:
    """Write the query for the rate of a Collector's own counter; its releases write two names."""
    selector = f'{{__name__=~"{counter}(_total)?", {CLUSTER}}}'
    return f"sum by ({', '.join(by)}) (rate({selector}[$__rate_interval]))"


def of_each(gauge: str) -> str:
    """Write the query for a gauge of the SDK, of each process that serves WebSockets."""
    return f"sum by (job, instance) ({ours(f'{gauge}{{{PROCESS}}}')})"


def failed(counter: str) -> str:
    """Write the query for the rate of failures that a counter of the SDK counts."""
    return f'rate({counter}{{{PROCESS}, {ERROR}!=""}}[$__rate_interval])'


def or_none(query: str, name: str) -> str:
    """Write a query that is 0 for the label value `none` where a service has nothing to count."""
    return f'{query} or on () label_replace(0 * {now(CONNECTIONS)}, "{name}", "none", "", "")'


def of_service(query: str) -> str:
    """Add the label `service`: what Jaeger calls a `job`, which has no namespace there."""
    return f'label_replace({query}, "service", "$1", "job", "(?:.*/)?(.+)")'


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
    """The search in Jaeger that a click on a line opens. The line has the label `service`."""


@dataclass(frozen=True)
class Column:
    """One number in each row of a table."""

    query: str
    unit: str = "short"


@dataclass(frozen=True)
class Table:
    """A table with a row for each combination of the labels that its queries have in common."""

    title: str
    meaning: str
    columns: Mapping[str, Column]
    """The columns with numbers, by their titles."""
    labels: Mapping[str, str]
    """The titles of the columns with labels."""
    info: str
    """A query for more labels of the same rows. Its value is not shown."""


@dataclass(frozen=True)
class Annotation:
    """Marks in every graph: at the times at which a query has a value."""

    name: str
    query: str
    title: str
    color: str


SENT: Final = collector_rate("otelcol_exporter_sent_spans", "exporter")
EACH_PROCESS: Final = tuple(VARIABLES)
INFOS: Final = ours(f"{INFO}{{{PROCESS}}}")
CLOSED: Final = f"({rate(CLOSES, *EACH_PROCESS, where=NO_DEPLOYMENT)} > 0)"
PROCESSES: Final = Table(
    "Processes",
    "Each process now, with its version and host if its resource has service.version and"
    " host.name. The abnormal share is that of its closes, without deployments, and is empty where"
    " nothing has closed.",
    {
        "Connections": Column(now(CONNECTIONS, *EACH_PROCESS)),
        "Subscriptions": Column(now(SUBSCRIPTIONS, *EACH_PROCESS)),
        "Sends that wait": Column(now(BLOCKED, *EACH_PROCESS)),
        "Closes": Column(rate(CLOSES, *EACH_PROCESS), "cps"),
        "Abnormal share": Column(
            f"({rate(CLOSES, *EACH_PROCESS, where=ABNORMAL)} or 0 * {CLOSED}) / {CLOSED}",
            "percentunit",
        ),
    },
    {**VARIABLES, VERSION: "Version", HOST: "Host"},
    f"group by ({', '.join((*EACH_PROCESS, VERSION, HOST))}) ({INFOS})",
)

VERSIONS: Final = ours(f'{INFO}{{{PROCESS}, {VERSION}!=""}}')
BY_VERSION: Final = f"group by (cluster, namespace, job, {VERSION})"
EARLIER: Final = "[1h:1m] offset 5m"
"""The hour until five minutes ago: what was out of sight for a few minutes is not new."""

ANNOTATIONS: Final = (
    Annotation(
        "Alerts",
        # Most alerts are of no single process.
        f'ALERTS{{alertstate="firing", alertname=~"WebSocket.+", {SERVICE},'
        ' instance=~"$instance|"}',
        "{{alertname}} {{job}} {{instance}}",
        "red",
    ),
    # A version that no process had before.
    Annotation(
        "Deploys",
        f"{BY_VERSION} ({VERSIONS}) unless {BY_VERSION} (last_over_time(({VERSIONS}){EARLIER}))",
        f"{label('job')} {label(VERSION)}",
        "blue",
    ),
    # Deploys of a service without a version, crashes, and more of them for more load.
    Annotation(
        "New processes",
        f"count by (cluster, namespace, job) ({INFOS}"
        f" unless on ({', '.join(EACH_PROCESS)}) last_over_time(({INFOS}){EARLIER}))",
        label("job"),
        "purple",
    ),
)


ROWS: Final[Mapping[str, tuple[Panel | Table, ...]]] = {
    "Processes": (PROCESSES,),
    "Connections": (
        Panel(
            "Connections now",
            "Open WebSockets.",
            "short",
            {"{{job}} {{websocket_subprotocol}}": now(CONNECTIONS, "job", "websocket_subprotocol")},
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
            {f"{label('job')} {label(OUTCOME)}": of_service(rate(CLOSES, "job", OUTCOME))},
            stacked=True,
            search="&operation=GraphQL%20WebSocket%20Connection"
            + search("websocket.close.outcome", OUTCOME),
        ),
        Panel(
            "Closes by code",
            "Ended WebSockets of all processes within 5 minutes, with the close code if it has a"
            " name. A click searches Jaeger for them.",
            "short",
            {
                f"{label('job')} {label(OUTCOME)} {label('code')}": of_service(
                    f"sum by (job, {OUTCOME}, code)"
                    f" (job_outcome_code:websocket_server_closes:increase5m{{{SERVICE}}})"
                )
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
                label(FAULT): f"{rate(CLOSES, FAULT, where=ABNORMAL)} / on () group_left () "
                f"({rate(CLOSES, where=NO_DEPLOYMENT)} > 0)"
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
            "Frames that aiohttp could not read, and heartbeats that it missed, per second. It is 0"
            " for `none` if there are none.",
            "cps",
            {label(ERROR): or_none(rate("websocket_server_errors_total", ERROR), ERROR)},
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
            {label(ERROR): rate(f"{INITS}_count", ERROR)},
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
            {label("job"): now(BLOCKED, "job")},
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
            {label("job"): now(SUBSCRIPTIONS, "job")},
            stacked=True,
        ),
        Panel(
            "Subscription events",
            "Per second. Those with a name had that error.",
            "cps",
            {label(ERROR): rate("graphql_server_subscription_event_count_total", ERROR)},
        ),
        Panel(
            "Operations by end reason",
            "Per second. A click searches Jaeger for them.",
            "cps",
            {
                f"{label('job')} {label(TYPE)} {label(END_REASON)}": of_service(
                    rate(f"{OPERATIONS}_count", "job", TYPE, END_REASON)
                )
            },
            search=search("graphql.ws.operation.end_reason", END_REASON),
        ),
        Panel(
            "Interrupted operations",
            "Per second, by type: their connection closed first. A click searches Jaeger for them.",
            "cps",
            {
                f"{label('job')} {label(TYPE)}": of_service(
                    rate(
                        f"{OPERATIONS}_count",
                        "job",
                        TYPE,
                        where=f'{END_REASON}="connection_closed"',
                    )
                )
            },
            stacked=True,
            search=f"&tags=%7B%22graphql.operation.type%22%3A%22${{__field.labels.{TYPE}}}"
            "%22%2C%22graphql.ws.operation.end_reason%22%3A%22connection_closed%22%7D",
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
    "Health of the telemetry": (
        Panel(
            "Queues of spans",
            "Spans that wait for the exporter in each process, and how many have room. The others"
            " are lost. The panel needs OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED.",
            "short",
            {
                "{{job}} {{instance}}": of_each("otel_sdk_processor_span_queue_size"),
                "{{job}} {{instance}} at most": of_each("otel_sdk_processor_span_queue_capacity"),
            },
        ),
        Panel(
            "Lost spans",
            "Per second, by the error: those that did not fit into the queue, and those that the"
            " exporter gave up. It is 0 for `none` if there are none.",
            "cps",
            {
                f"{title} {label(ERROR)}": or_none(
                    f"sum by ({ERROR}) ({ours(failed(counter))})", ERROR
                )
                for title, counter in {
                    "not queued:": "otel_sdk_processor_span_processed_total",
                    "not exported:": "otel_sdk_exporter_span_exported_total",
                }.items()
            },
        ),
        Panel(
            "Collector seen",
            "1 if Prometheus could read the Collector's metrics. At 0, this page shows nothing new"
            " of any service that exports to it.",
            "short",
            {label("instance"): f'up{{job="collector", {CLUSTER}}}'},
        ),
        Panel(
            "Queue of the Collector",
            "How full the queue of each exporter is. The panel is empty if Prometheus does not"
            " scrape the Collector's own metrics.",
            "percentunit",
            {
                "{{instance}} {{exporter}}": "max by (instance, exporter)"
                f" ({COLLECTOR_QUEUE}_size{{{CLUSTER}}}"
                f" / ({COLLECTOR_QUEUE}_capacity{{{CLUSTER}}} > 0))"
            },
        ),
        Panel(
            "Spans through the Collector",
            "Per second: received, refused, sent on, and lost because nobody took them.",
            "cps",
            {
                "received by {{receiver}}": collector_rate(
                    "otelcol_receiver_accepted_spans", "receiver"
                ),
                "refused by {{receiver}}": collector_rate(
                    "otelcol_receiver_refused_spans", "receiver"
                ),
                "sent by {{exporter}}": SENT,
                # This counter begins with the first loss.
                "not queued by {{exporter}}": collector_rate(
                    "otelcol_exporter_enqueue_failed_spans", "exporter"
                )
                + f" or 0 * {SENT}",
                "not sent by {{exporter}}": collector_rate(
                    "otelcol_exporter_send_failed_spans", "exporter"
                ),
            },
        ),
    ),
}
"""The rows of the page."""

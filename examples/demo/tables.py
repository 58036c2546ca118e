"""Two tables: how every connection closed, and what the metrics counted."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
)
from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from examples.demo import names
from examples.demo.scenarios import Numbered, Scenario, verdict_of
from strawberry_ws_otel.console import Conversation, Picture

WIDTH: Final = 95
"""Cells of a terminal in which all columns fit."""

AS_EXPECTED, UNEXPECTED = Text("✓", "bold green"), Text("✗", "bold red")

Point: TypeAlias = NumberDataPoint | HistogramDataPoint


def new_table(title: str, *columns: str) -> Table:
    """Begin a table in the demo's look."""
    table = Table(
        title=title,
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
        expand=True,
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def is_expected(scenario: Scenario, conversation: Conversation | None) -> bool:
    """Return whether the telemetry of a visit is as expected."""
    return conversation is not None and verdict_of(conversation) == scenario.expected


def closes(
    scenarios: Sequence[Numbered], conversations: Mapping[str, Conversation], width: int
) -> Table:
    """Show how each connection ended, and whether that is as expected; who began, if it fits."""
    columns = ["", "client", "outcome", "code", "initiator", "fault", "its operations", ""]
    if width < WIDTH:
        columns.remove("initiator")
    table = new_table("Closes", *columns)
    for column in table.columns:
        column.no_wrap = column.header != "client"
    for number, scenario in scenarios:
        conversation = conversations.get(scenario.user_agent)
        if conversation is None:
            missing = ["no span at all", *[""] * (len(columns) - 4)]
            table.add_row(str(number), scenario.title, *missing, UNEXPECTED)
            continue
        verdict = verdict_of(conversation)
        table.add_row(
            str(number),
            scenario.title,
            Text(verdict.outcome, Picture(conversation).style),
            str(verdict.code or "-"),
            *([verdict.initiator] if "initiator" in columns else []),
            conversation.fault,
            "\n".join((*verdict.end_reasons, *waits(conversation))) or "-",
            AS_EXPECTED if is_expected(scenario, conversation) else UNEXPECTED,
        )
    return table


def waits(conversation: Conversation) -> Iterator[str]:
    """Write for how long sends waited for the client to read, if any did."""
    seconds = conversation.get(names.SEND_BLOCKED_TIME)
    if isinstance(seconds, float):
        yield f"sends waited {seconds:.1f} s"


def value_of(point: Point) -> str:
    """Write the value of one series; all histograms are of durations in seconds."""
    if isinstance(point, NumberDataPoint):
        return f"{point.value:,}"
    mean, most = (f"{seconds * 1000:,.1f} ms" for seconds in (point.sum / point.count, point.max))
    return f"{point.count} x {mean}" + (f", at most {most}" * (point.count > 1))


def label_of(point: Point) -> str:
    """Write the attributes of one series, their values only: the names would not fit."""
    attributes: Mapping[str, object] = point.attributes or {}
    return " · ".join(str(attributes[key]) for key in sorted(attributes)) or "-"


def series(metric: Metric) -> Iterator[tuple[str, str]]:
    """Yield the label and the value of each series; of the closes, those that happened."""
    points = [
        point
        for point in metric.data.data_points
        if isinstance(point, NumberDataPoint | HistogramDataPoint)
    ]
    shown = [
        point
        for point in points
        if metric.name != names.METRIC_CLOSES or getattr(point, "value", False)
    ]
    for point in sorted(shown, key=label_of):
        yield label_of(point), value_of(point)
    if len(shown) < len(points):
        yield f"({len(points) - len(shown)} other outcomes)", "0"


def metrics(data: MetricsData | None) -> Table:
    """Show every series that the library reported."""
    table = new_table("Metrics", "instrument, and below it its series", "value")
    for resource in data.resource_metrics if data else []:
        for scope in resource.scope_metrics:
            for metric in scope.metrics if scope.scope.name == names.SCOPE else []:
                table.add_row(Text(f"{metric.name}  {metric.unit}", "bold"))
                for label, value in series(metric):
                    table.add_row(Padding(label, (0, 0, 0, 4)), value)
    return table

"""Draws one conversation: a timeline of its linked traces, their events, and the verdict."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from opentelemetry.trace import StatusCode
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from examples.demo import names
from examples.demo.conversation import Conversation, attributes_of, end_of, start_of
from examples.demo.events import SECOND, duration, lay_out
from examples.demo.timeline import Timeline

WIDTH: Final = 100
WIDTH_INSIDE: Final = WIDTH - 4

NORMAL, ABNORMAL, ALARMING = "green", "yellow", "red"


def style_of_outcome(conversation: Conversation) -> str:
    """Red for what is worth a page, yellow for every other abnormal close."""
    if conversation.get(names.CLOSE_FAULT) == "none":
        return NORMAL
    return ALARMING if conversation.get(names.CLOSE_FAULT) == "server" else ABNORMAL


def rows(conversation: Conversation) -> Iterator[RenderableType]:
    """Draw the connection, then each linked trace with its spans."""
    connection = conversation.connection
    line = Timeline(start_of(connection), end_of(connection) - start_of(connection))
    yield line.row(connection.name, connection, "bold blue")
    yield from line.events(connection, WIDTH_INSIDE)
    for trace in conversation.traces:
        failed = trace.root.status.status_code is StatusCode.ERROR
        attributes = attributes_of(trace.root)
        label = f"↳ {trace.root.name} {attributes.get(names.OPERATION_NAME, '')}".rstrip()
        note = str(attributes.get(names.END_REASON, attributes.get(names.ERROR_TYPE, "")))
        note = note.rpartition(".")[2]
        yield line.row(label, trace.root, "red" if failed else "green", note)
        yield from line.events(trace.root, WIDTH_INSIDE)
        for depth, span in trace.inner:
            yield line.row(span.name, span, "bright_black", depth=depth)


def facts(conversation: Conversation) -> Text:
    """Write who the client was, and the id that finds the whole conversation."""
    get = conversation.get
    parts = [
        str(get(names.SUBPROTOCOL) or f"HTTP {get(names.HTTP_STATUS)}, no upgrade"),
        f"{names.CONNECTION_ID}={get(names.CONNECTION_ID)}",
        f"user {user}" if (user := get(names.USER_ID)) else "nobody logged in",
    ]
    return Text(" · ".join(parts), "dim")


def counts(conversation: Conversation) -> Text:
    """Write how many messages there were, and what was still live at the end."""
    get = conversation.get
    idle = get(names.RECEIVE_IDLE_TIME)
    parts = [
        f"received {get(names.RECEIVED) or 0}",
        f"sent {get(names.SENT) or 0}",
        f"operations {get(names.OPERATIONS) or 0}",
        f"interrupted {get(names.INTERRUPTED) or 0}",
    ]
    if isinstance(idle, int | float):
        parts.append(f"client silent for the last {duration(int(idle * SECOND))}")
    return Text(" · ".join(parts), "dim")


def verdict(conversation: Conversation) -> Iterator[Text]:
    """Write how it closed, with the values of the span's attributes."""
    get = conversation.get
    style = f"bold {style_of_outcome(conversation)}"
    outcome, error = get(names.CLOSE_OUTCOME), get(names.ERROR_TYPE)
    pairs = {
        "outcome": outcome,
        "fault": get(names.CLOSE_FAULT),
        "code": get(names.CLOSE_CODE),
        "initiator": get(names.CLOSE_INITIATOR),
        "clean": {True: "yes", False: "no"}.get(bool(get(names.CLOSE_CLEAN))),
        names.ERROR_TYPE: None if error == outcome else error,
    }
    parts = [
        Text.assemble((f"{key} ", "dim"), (str(value), style))
        for key, value in pairs.items()
        if value is not None
    ]
    return lay_out(parts, WIDTH_INSIDE)


def picture(
    conversation: Conversation, title: str, log: Mapping[int, str] = MappingProxyType({})
) -> Panel:
    """Draw the whole conversation, with the log record of its trace if there is one."""
    outcome, style = conversation.get(names.CLOSE_OUTCOME), style_of_outcome(conversation)
    parts: list[RenderableType] = [facts(conversation), Text(), *rows(conversation), Text()]
    parts += [counts(conversation), *verdict(conversation)]
    context = conversation.connection.context
    if context and context.trace_id in log:
        parts.append(Text(f"log {log[context.trace_id]}", "dim"))
    return Panel(
        Group(*parts),
        title=Text.assemble(
            (title, "bold"), " ", ("·", "dim"), " ", (str(outcome), f"bold {style}")
        ),
        title_align="left",
        border_style=style,
        width=WIDTH,
    )

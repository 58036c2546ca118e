"""Describes the events of a span: when, in which direction, what."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.text import Text

from strawberry_ws_otel import _semconv
from strawberry_ws_otel.console._snapshot import EventSnapshot, SpanSnapshot

FROM_CLIENT: Final = "→"
TO_CLIENT: Final = "←"
TROUBLE: Final = "✗"
CLOSE: Final = "■"
PLAIN: Final = "·"
STYLES: Final = {FROM_CLIENT: "cyan", TO_CLIENT: "green", TROUBLE: "red", CLOSE: "yellow"}
GAP: Final = "   "

MILLISECOND: Final = 1_000_000
SECOND: Final = 1_000_000_000
FEW: Final = 10

_EXCEPTIONS: Final = frozenset({_semconv.EVENT_EXCEPTION, _semconv.EVENT_WEBSOCKET_ERROR})
_TROUBLES: Final = _EXCEPTIONS | {_semconv.EVENT_GRAPHQL_ERROR}


def duration(nanoseconds: int) -> str:
    """Write a duration, a short one with two or three significant digits."""
    if nanoseconds < SECOND:
        milliseconds = nanoseconds / MILLISECOND
        return f"{milliseconds:.{1 if milliseconds < FEW else 0}f} ms"
    seconds = nanoseconds // SECOND
    if seconds < 60:  # noqa: PLR2004  # a minute
        exact = nanoseconds / SECOND
        return f"{exact:.{2 if exact < FEW else 0}f} s"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} m" if hours else f"{minutes} m {seconds} s"


def symbol(event: EventSnapshot) -> str:
    """Return the symbol for an event, here and on the timeline."""
    if event.name in _TROUBLES:
        return TROUBLE
    if event.name == _semconv.EVENT_WEBSOCKET_CLOSE:
        return CLOSE
    direction = event.attributes.get(_semconv.IO_DIRECTION)
    return {"receive": FROM_CLIENT, "transmit": TO_CLIENT}.get(str(direction), PLAIN)


def words(event: EventSnapshot) -> str:
    """Say what happened."""
    get = event.attributes.get
    if event.name == _semconv.EVENT_WEBSOCKET_CLOSE:
        code, reason = get(_semconv.CLOSE_CODE), get(_semconv.CLOSE_REASON)
        return " ".join(str(part) for part in (event.name, code, reason) if part)
    if event.name in _EXCEPTIONS:
        message = get(_semconv.EXCEPTION_MESSAGE)
        return f"{event.name} {get(_semconv.EXCEPTION_TYPE)}" + (f": {message}" if message else "")
    if event.name == _semconv.EVENT_GRAPHQL_ERROR:
        message = get(_semconv.ERROR_MESSAGE) or "(message not recorded)"
        path = get(_semconv.ERROR_PATH)
        return f"{event.name} {message}" + (f" at {path}" if path else "")
    return event.name.removeprefix(_semconv.EVENT_MESSAGE_PREFIX)


@dataclass(frozen=True)
class Step:
    """One event, or a run of messages of one type and direction."""

    events: tuple[EventSnapshot, ...]

    def continues_with(self, event: EventSnapshot) -> bool:
        """Return whether an event is one more message of the same run."""
        last = self.events[-1]
        is_message = _semconv.MESSAGE_SEQUENCE in event.attributes
        return is_message and (event.name, symbol(event)) == (last.name, symbol(last))

    def text(self, origin: int) -> Text:
        """Write the step, with its time since the origin."""
        first, last = self.events[0], self.events[-1]
        sign, what = symbol(first), words(first)
        if first is not last:
            ordinals = [each.attributes.get(_semconv.MESSAGE_SEQUENCE) for each in (first, last)]
            what += f" {ordinals[0]}…{ordinals[1]}"
        return Text.assemble(
            (f"{duration(max(first.time - origin, 0))} ", "dim"),
            (f"{sign} {what}", STYLES.get(sign, "")),
        )


def steps(events: Sequence[EventSnapshot]) -> Iterator[Step]:
    """Gather runs of equal messages, such as a stream of `next`."""
    run: Step | None = None
    for event in events:
        if run and run.continues_with(event):
            run = Step((*run.events, event))
            continue
        if run:
            yield run
        run = Step((event,))
    if run:
        yield run


def texts(span: SpanSnapshot, origin: int) -> Iterator[Text]:
    """Write the events of a span, and how many were left out between them."""
    if span.events_left_out:
        yield from (step.text(origin) for step in steps(span.first_events))
        yield Text(f"… {span.events_left_out:,} more events …", "dim")
        yield from (step.text(origin) for step in steps(span.last_events))
    else:
        events = (*span.first_events, *span.last_events)
        yield from (step.text(origin) for step in steps(events))


def lay_out(parts: Iterable[Text], width: int, gap: str = GAP) -> Iterator[Text]:
    """Join parts to lines, each as long as the width allows, unless it is one long part."""
    line = Text()
    for part in parts:
        if line and line.cell_len + len(gap) + part.cell_len > width:
            yield line
            line = Text()
        line = Text.assemble(line, (gap, "dim"), part) if line else part
    if line:
        yield line

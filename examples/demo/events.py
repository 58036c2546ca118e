"""Describes the events of a span: when, in which direction, what."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.sdk.trace import Event
from rich.text import Text

from examples.demo import names
from examples.demo.conversation import attributes_of

FROM_CLIENT, TO_CLIENT, TROUBLE, CLOSE, PLAIN = "→", "←", "✗", "■", "·"
STYLES: Final = {FROM_CLIENT: "cyan", TO_CLIENT: "green", TROUBLE: "red", CLOSE: "yellow"}
GAP: Final = "   "

MILLISECOND, SECOND = 1_000_000, 1_000_000_000
FEW: Final = 10


def duration(nanoseconds: int) -> str:
    """Write a duration with two or three significant digits."""
    if nanoseconds < SECOND:
        milliseconds = nanoseconds / MILLISECOND
        return f"{milliseconds:.{1 if milliseconds < FEW else 0}f} ms"
    seconds = nanoseconds / SECOND
    return f"{seconds:.{2 if seconds < FEW else 0}f} s"


def symbol(event: Event) -> str:
    """Return the symbol for an event, here and on the timeline."""
    if event.name in {names.EVENT_WEBSOCKET_ERROR, names.EVENT_GRAPHQL_ERROR}:
        return TROUBLE
    if event.name == names.EVENT_CLOSE:
        return CLOSE
    direction = attributes_of(event).get(names.DIRECTION)
    return {"receive": FROM_CLIENT, "transmit": TO_CLIENT}.get(str(direction), PLAIN)


def words(event: Event) -> str:
    """Say what happened."""
    get = attributes_of(event).get
    if event.name == names.EVENT_CLOSE:
        return f"{event.name} {get(names.CLOSE_CODE)} {get(names.CLOSE_REASON) or ''}".rstrip()
    if event.name == names.EVENT_WEBSOCKET_ERROR:
        message = get(names.EXCEPTION_MESSAGE)
        return f"{event.name} {get(names.EXCEPTION_TYPE)}" + (f": {message}" if message else "")
    if event.name == names.EVENT_GRAPHQL_ERROR:
        message = get(names.GRAPHQL_ERROR_MESSAGE) or "(message not recorded)"
        path = get(names.GRAPHQL_ERROR_PATH)
        return f"{event.name} {message}" + (f" at {path}" if path else "")
    return event.name.removeprefix(names.EVENT_MESSAGE_PREFIX)


@dataclass(frozen=True)
class Step:
    """One event, or a run of messages of one type and direction."""

    events: tuple[Event, ...]

    def continues_with(self, event: Event) -> bool:
        """Return whether an event is one more message of the same run."""
        last = self.events[-1]
        return event.name == last.name and names.SEQUENCE in attributes_of(event)

    def text(self, origin: int) -> Text:
        """Write the step, with its time since the origin."""
        first, last = self.events[0], self.events[-1]
        sign, what = symbol(first), words(first)
        if first is not last:
            ordinals = [attributes_of(event).get(names.SEQUENCE) for event in (first, last)]
            what += f" {ordinals[0]}…{ordinals[1]}"
        return Text.assemble(
            (f"{duration(first.timestamp - origin)} ", "dim"),
            (f"{sign} {what}", STYLES.get(sign, "")),
        )


def steps(events: Sequence[Event]) -> Iterator[Step]:
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


def lay_out(parts: Iterable[Text], width: int) -> Iterator[Text]:
    """Join parts to lines, each as long as the width allows."""
    line = Text()
    for part in parts:
        if line and line.cell_len + len(GAP) + part.cell_len > width:
            yield line
            line = Text()
        line = Text.assemble(line, GAP, part) if line else part
    if line:
        yield line

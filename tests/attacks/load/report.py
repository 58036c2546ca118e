"""Whether anything is lost: what clients did, beside what spans and metrics say."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from strawberry_ws_otel import _semconv as name
from tests.support.scenarios.model import CLOSED, FAULTS

SPARE: Final = 1_000
"""Objects or blocks by which the server may have grown: one in many connections would be more."""

FRAGMENTED: Final = 4
"""The part of the resident memory's peak, a fourth, that the allocator may keep as fragments."""

Memory = Mapping[str, int]


class Row(NamedTuple):
    """A number that several have to say alike; None stands for who does not say it."""

    what: str
    clients: int
    spans: int | None
    metrics: int | None

    @property
    def sound(self) -> bool:
        """Whether they do."""
        return {self.clients, self.spans, self.metrics} - {None} == {self.clients}


class Level(NamedTuple):
    """Something of the server that has to return to its level, except for so much of it."""

    what: str
    level: int
    peak: int | None
    after: int
    spare: int

    @property
    def sound(self) -> bool:
        """Whether it has."""
        return self.after - self.level <= self.spare


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a load showed.

    Attributes:
        passed: how many connected and vanished.
        rows: what clients, spans and metrics say of the same.
        remains: what there should be none of in the end.
        levels: of the server, after a first load and at the end.
    """

    passed: int
    rows: Sequence[Row]
    remains: Mapping[str, int]
    levels: Sequence[Level]

    @property
    def sound(self) -> bool:
        """Whether nothing is lost, and nothing is left."""
        sound = [each.sound for each in self.rows] + [each.sound for each in self.levels]
        return all(sound) and not any(self.remains.values())

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "sound": self.sound,
            "passed": self.passed,
            "rows": [row._asdict() | {"sound": row.sound} for row in self.rows],
            "remains": dict(self.remains),
            "levels": [level._asdict() | {"sound": level.sound} for level in self.levels],
        }


class Points:
    """The metrics as the server reports them."""

    def __init__(self, metrics: Mapping[str, Sequence[Sequence[Any]]]) -> None:
        self._metrics = metrics

    def total(self, metric: str, **attributes: object) -> int:
        """The sum over the points with these attributes, by the name of their constants."""
        wanted = {getattr(name, key): value for key, value in attributes.items()}
        return sum(
            int(value)
            for carried, value in self._metrics.get(metric, ())
            if wanted.items() <= carried.items()
        )


def levels(level: Memory, peak: int, after: Memory) -> list[Level]:
    """What the server had of each after a first load, at most and at the end."""
    return [
        Level("resident bytes", level["resident"], peak, after["resident"], peak // FRAGMENTED),
        Level("allocated blocks", level["blocks"], None, after["blocks"], SPARE),
        Level("objects", level["objects"], None, after["objects"], SPARE),
        Level("tasks", level["tasks"], None, after["tasks"], 0),
    ]


def remains(did: Mapping[str, Counter[str]], recorded: Mapping[str, Any]) -> dict[str, int]:
    """What there should be none of, now that everybody has gone."""
    total = Points(recorded["metrics"]).total
    return {
        "clients that failed": did["failed"].total(),
        "connections open": total(name.METRIC_ACTIVE_CONNECTIONS),
        "subscriptions alive": total(name.METRIC_SUBSCRIPTIONS_ACTIVE),
        "failures of the library": len(recorded["internal"]),
    }


def rows(did: Mapping[str, Counter[str]], recorded: Mapping[str, Any]) -> Iterator[Row]:
    """What clients did, beside what the server's telemetry says."""
    spans, total = recorded["spans"], Points(recorded["metrics"]).total
    outcomes, said, heard = did["outcomes"], did["said"], did["heard"]
    opened, begun = outcomes.total(), said["subscribe"]
    yield Row("connections opened", opened, spans["connections"], total(name.METRIC_CLOSES))
    yield Row("connections with a duration", opened, None, total(name.METRIC_CONNECTION_DURATION))
    yield Row("connections with an id of their own", opened, spans["distinct"], None)
    for outcome in FAULTS:
        counted = total(name.METRIC_CLOSES, CLOSE_OUTCOME=outcome)
        row = Row(
            f"closed: {outcome}", outcomes[outcome], spans["outcomes"].get(outcome, 0), counted
        )
        if any(row[1:]):
            yield row
    yield Row(
        "inits acknowledged",
        heard["connection_ack"],
        spans["inits"],
        total(name.METRIC_INIT_DURATION),
    )
    yield Row("operations begun", begun, spans.get("operations", 0), None)
    ended = total(name.METRIC_OPERATION_DURATION, END_REASON=CLOSED)
    yield Row(f"operations ended: {CLOSED}", begun, spans["ends"].get(CLOSED, 0), ended)
    ends = sum(spans["ends"].values())
    yield Row("operations ended", begun, ends, total(name.METRIC_OPERATION_DURATION))
    results = total(name.METRIC_SUBSCRIPTION_EVENTS)
    yield Row("results", heard["next"], spans.get("results", 0), results)
    for direction, types, key in (("receive", said, "received"), ("transmit", heard, "sent")):
        counted = total(name.METRIC_MESSAGES, IO_DIRECTION=direction)
        yield Row(f"messages {key}", types.total(), spans.get(key, 0), counted)
        for type_ in types:
            counted = total(name.METRIC_MESSAGES, IO_DIRECTION=direction, MESSAGE_TYPE=type_)
            yield Row(f"messages {key}: {type_}", types[type_], None, counted)
        size = total(name.METRIC_IO, IO_DIRECTION=direction)
        yield Row(f"bytes {key}", did["bytes"][key], None, size)

"""Whether anything is lost: what clients did, beside what spans and metrics say."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from strawberry_ws_otel import _semconv as name
from tests.scenarios.model import CLOSED, FAULTS

MIB: Final = 1 << 20
SPARE_OBJECTS: Final = 1_000
"""Objects by which the server may have grown: one in many connections would be more."""

SPARE_MEMORY: Final = 16 * MIB
"""Bytes by which its resident memory may have, since the allocator keeps what is fragmented."""


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


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The server's memory, and its tasks, after a first crowd, at most, and at the end."""

    level: Mapping[str, int | None]
    peak: int
    after: Mapping[str, int | None]

    @property
    def sound(self) -> bool:
        """Whether it has returned to its level."""
        return (
            self.grown("objects") <= SPARE_OBJECTS
            and self.grown("resident") <= SPARE_MEMORY
            and self.grown("tasks") <= 0
        )

    def grown(self, key: str) -> int:
        """By how much there is more of it."""
        return (self.after[key] or 0) - (self.level[key] or 0)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a load showed; `reached` is the rate of those that connected and vanished."""

    reached: float
    memory: Memory
    rows: Sequence[Row]

    @property
    def sound(self) -> bool:
        """Whether nothing is lost, and nothing is left."""
        return self.memory.sound and all(row.sound for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "sound": self.sound,
            "reached": self.reached,
            "memory": vars(self.memory) | {"sound": self.memory.sound},
            "rows": [row._asdict() | {"sound": row.sound} for row in self.rows],
        }


class Points:
    """The metrics as the server tells them."""

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


def compare(did: Mapping[str, Counter[str]], told: Mapping[str, Any]) -> list[Row]:
    """What clients did, beside what the server's telemetry tells of it."""
    return list(_rows(did, told["spans"], Points(told["metrics"]), len(told["internal"])))


def _rows(
    did: Mapping[str, Counter[str]], spans: Mapping[str, Any], metrics: Points, internal: int
) -> Iterator[Row]:
    outcomes, said, heard, total = did["outcomes"], did["said"], did["heard"], metrics.total
    opened, begun = outcomes.total(), said["subscribe"]
    yield Row("connections opened", opened, spans["connections"], total(name.METRIC_CLOSES))
    yield Row("connections with a duration", opened, None, total(name.METRIC_CONNECTION_DURATION))
    yield Row("connections with an id of their own", opened, spans["distinct"], None)
    yield Row("clients that failed", 0, did["failed"].total(), None)
    for outcome in FAULTS:
        told = spans["outcomes"].get(outcome, 0)
        counted = total(name.METRIC_CLOSES, CLOSE_OUTCOME=outcome)
        if outcomes[outcome] or told or counted:
            yield Row(f"closed: {outcome}", outcomes[outcome], told, counted)
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
        yield Row(f"messages {key}", types.total(), spans[key], counted)
        for type_ in types:
            counted = total(name.METRIC_MESSAGES, IO_DIRECTION=direction, MESSAGE_TYPE=type_)
            yield Row(f"messages {key}: {type_}", types[type_], None, counted)
        size = total(name.METRIC_IO, IO_DIRECTION=direction)
        yield Row(f"bytes {key}", did["bytes"][key], None, size)
    yield Row("connections open at the end", 0, None, total(name.METRIC_ACTIVE_CONNECTIONS))
    yield Row("subscriptions alive at the end", 0, None, total(name.METRIC_SUBSCRIPTIONS_ACTIVE))
    yield Row("failures of the library", 0, internal, None)

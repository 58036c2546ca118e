"""What the prices of several processes say about each arm, beside its baseline and its budget."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from operator import sub, truediv
from statistics import median
from typing import Any, Final

from tests.benchmarks.arms import ARMS, STRAWBERRYS, Arm, baseline, find
from tests.benchmarks.budgets import Budget, budget
from tests.benchmarks.pipes import Tracing


class Comparison(Enum):
    """How a price is compared with that of the baseline."""

    RATIO = "x"
    EXTRA = "+"

    @property
    def compute(self) -> Callable[[float, float], float]:
        """The comparison of a price with that of the baseline."""
        return truediv if self is Comparison.RATIO else sub

    @property
    def neutral(self) -> float:
        """What it says of two equal prices."""
        return 1.0 if self is Comparison.RATIO else 0.0


@dataclass(frozen=True, slots=True)
class Measure:
    """One of the things that are measured.

    Attributes:
        key: how results and budgets call it.
        title: how tables call it.
        unit: that of a price.
        comparison: how a price is compared.
        prices: the key of its prices, if that is another one.
        beside: the subject that sampled arms with our mixin are compared with, and no others. By
            default, each arm is compared with its baseline.
    """

    key: str
    title: str
    unit: str
    comparison: Comparison
    prices: str = ""
    beside: str = ""

    def prices_in(self, prices: "Prices") -> Mapping[str, float]:
        """What each arm costs."""
        return prices.get(self.prices or self.key, {})

    def against(self, arm: Arm) -> Arm | None:
        """The arm that another one is compared with, if there is one."""
        if not self.beside:
            return baseline(arm)
        is_ours = arm.subject.mixin and arm.tracing is Tracing.SAMPLED
        return find(self.beside, Tracing.SAMPLED) if is_ours else None

    def is_about(self, arm: Arm) -> bool:
        """Whether there is a figure of that arm."""
        return not self.beside or self.against(arm) is not None


_SEGMENTS: Final = {0: "idle connections", 1: "connections with a subscription"}

MEASURES: Final = (
    Measure("next", "Server CPU per `next` message", "µs", Comparison.RATIO),
    Measure("subscription", "Server CPU per subscription of one message", "µs", Comparison.RATIO),
    Measure(
        "subscription_own",
        "Server CPU per subscription, beside Strawberry's own extension",
        "µs",
        Comparison.RATIO,
        prices="subscription",
        beside=STRAWBERRYS,
    ),
    Measure("query", "Server CPU per query over the socket", "µs", Comparison.RATIO),
    Measure("connection", "Server CPU per connect, init, close", "µs", Comparison.EXTRA),
    Measure("idle", "Memory per idle connection, without the SDK's spans", "KiB", Comparison.EXTRA),
    Measure("idle_sdk", "Memory of the SDK per idle connection", "KiB", Comparison.EXTRA),
    Measure(
        "live", "Memory per live subscription, without the SDK's span", "KiB", Comparison.EXTRA
    ),
    Measure("live_sdk", "Memory of the SDK per live subscription", "KiB", Comparison.EXTRA),
    Measure("growth", "Growth of a long subscription, without the SDK", "KiB", Comparison.EXTRA),
    Measure("growth_sdk", "Growth of the SDK's spans in it", "KiB", Comparison.EXTRA),
    Measure("collection", "CPU of one metrics collection", "ms", Comparison.EXTRA),
    Measure("open", "CPU of 1,000 snapshots of open connections", "ms", Comparison.EXTRA),
    Measure("delay_median", "Event-loop delay, median", "ms", Comparison.EXTRA),
    Measure("delay_p99", "Event-loop delay, 99th percentile", "ms", Comparison.EXTRA),
    Measure("cpu", "Server CPU under that load", "%", Comparison.EXTRA),
    *(
        Measure(
            f"segments_{subscriptions}_{key}",
            f"Segments of {of}: {title}",
            unit,
            Comparison.EXTRA,
        )
        for subscriptions, of in _SEGMENTS.items()
        for key, title, unit in (
            ("cpu", "CPU of a rotation", "µs"),
            ("most", "most rotations in a step", "segments"),
            ("median", "CPU of a step, median", "ms"),
            ("longest", "CPU of a step, longest", "ms"),
            ("queue", "most spans in the queue", "spans"),
            ("exported", "spans exported", "spans"),
            ("took", "time until all have rotated", "s"),
        )
    ),
)

Prices = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Figure:
    """What an arm costs by one measure.

    Attributes:
        measure: what was measured.
        arm: whose figure it is.
        prices: one for each process, in the unit of the measure.
        compared: each of them beside the price of the baseline in the same process; empty for an
            arm that has none there.
    """

    measure: Measure
    arm: Arm
    prices: tuple[float, ...]
    compared: tuple[float, ...]

    @property
    def price(self) -> float:
        """The median over the processes."""
        return median(self.prices)

    @property
    def against(self) -> Arm | None:
        """The arm that it is compared with, if it is."""
        return self.measure.against(self.arm) if self.compared else None

    @property
    def value(self) -> float | None:
        """The median of the comparisons: what a budget is about."""
        return median(self.compared) if self.compared else None

    @property
    def budget(self) -> Budget | None:
        """What it may be."""
        return budget(self.measure.key, self.arm)

    @property
    def verdict(self) -> str | None:
        """How it stands to its budget, if it has one."""
        if self.budget is None or self.value is None:
            return None
        if self.value > self.budget.ceiling:
            return "over the ceiling"
        return "within the aim" if self.value <= self.budget.aim else "below the ceiling"

    @property
    def broken(self) -> bool:
        """Whether it breaks a ceiling."""
        return self.verdict == "over the ceiling"

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "measure": self.measure.key,
            "title": self.measure.title,
            "unit": self.measure.unit,
            "arm": self.arm.name,
            "prices": self.prices,
            "price": self.price,
            "baseline": None if self.against is None else self.against.name,
            "comparison": self.measure.comparison.name.lower(),
            "compared": self.compared,
            "value": self.value,
            "ceiling": None if self.budget is None else self.budget.ceiling,
            "aim": None if self.budget is None else self.budget.aim,
            "verdict": self.verdict,
        }


def figures(processes: Iterable[Prices]) -> list[Figure]:
    """Sum up the prices of several processes, in the order of the measures and the arms."""
    processes = list(processes)
    return [
        Figure(measure, arm, prices, tuple(_compared(processes, measure, arm)))
        for measure in MEASURES
        for arm in ARMS
        if measure.is_about(arm) and (prices := tuple(_prices(processes, measure, arm)))
    ]


def exit_status(of: Iterable[Figure], *, check: bool) -> int:
    """Return the exit status: 1 if a ceiling is broken, and that is to be checked."""
    return int(check and any(figure.broken for figure in of))


def _prices(processes: Iterable[Prices], measure: Measure, arm: Arm) -> Iterator[float]:
    for prices in processes:
        if arm.name in (of_measure := measure.prices_in(prices)):
            yield of_measure[arm.name]


def _compared(processes: Iterable[Prices], measure: Measure, arm: Arm) -> Iterator[float]:
    against = measure.against(arm)
    for prices in processes:
        of_measure = measure.prices_in(prices)
        if against is not None and {arm.name, against.name} <= set(of_measure):
            yield measure.comparison.compute(of_measure[arm.name], of_measure[against.name])

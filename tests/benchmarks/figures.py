"""What the prices of several processes say about each arm, beside its baseline and its budget."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from operator import sub, truediv
from statistics import median
from typing import Any, Final

from tests.benchmarks.arms import ARMS, Arm, baseline
from tests.benchmarks.budgets import Budget, budget


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
    """One of the things that are measured; `unit` is that of a price."""

    key: str
    title: str
    unit: str
    comparison: Comparison


MEASURES: Final = tuple(
    Measure(*row)
    for row in (
        ("next", "Server CPU per `next` message", "µs", Comparison.RATIO),
        ("subscription", "Server CPU per subscription of one message", "µs", Comparison.RATIO),
        ("query", "Server CPU per query over the socket", "µs", Comparison.RATIO),
        ("connection", "Server CPU per connect, init, close", "µs", Comparison.EXTRA),
        ("idle", "Memory per idle connection, without the SDK's spans", "KiB", Comparison.EXTRA),
        ("idle_sdk", "Memory of the SDK per idle connection", "KiB", Comparison.EXTRA),
        ("live", "Memory per live subscription, without the SDK's span", "KiB", Comparison.EXTRA),
        ("live_sdk", "Memory of the SDK per live subscription", "KiB", Comparison.EXTRA),
        ("growth", "Growth of a long subscription, without the SDK", "KiB", Comparison.EXTRA),
        ("growth_sdk", "Growth of the SDK's spans in it", "KiB", Comparison.EXTRA),
        ("collection", "CPU of one metrics collection", "ms", Comparison.EXTRA),
        ("open", "CPU of 1,000 snapshots of open connections", "ms", Comparison.EXTRA),
        ("delay_median", "Event-loop delay, median", "ms", Comparison.EXTRA),
        ("delay_p99", "Event-loop delay, 99th percentile", "ms", Comparison.EXTRA),
        ("cpu", "Server CPU under that load", "%", Comparison.EXTRA),
    )
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
        against = baseline(self.arm) if self.compared else None
        return {
            "measure": self.measure.key,
            "title": self.measure.title,
            "unit": self.measure.unit,
            "arm": self.arm.name,
            "prices": self.prices,
            "price": self.price,
            "baseline": None if against is None else against.name,
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
        if (prices := tuple(_prices(processes, measure, arm)))
    ]


def exit_status(of: Iterable[Figure], *, check: bool) -> int:
    """Return the exit status: 1 if a ceiling is broken, and that is to be checked."""
    return int(check and any(figure.broken for figure in of))


def _prices(processes: Iterable[Prices], measure: Measure, arm: Arm) -> Iterator[float]:
    for prices in processes:
        if arm.name in prices.get(measure.key, {}):
            yield prices[measure.key][arm.name]


def _compared(processes: Iterable[Prices], measure: Measure, arm: Arm) -> Iterator[float]:
    against = baseline(arm)
    for prices in processes:
        of_measure = prices.get(measure.key, {})
        if against is not None and {arm.name, against.name} <= set(of_measure):
            yield measure.comparison.compute(of_measure[arm.name], of_measure[against.name])

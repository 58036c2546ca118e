"""The prices as a picture: a bar for each arm, its spread, and a line where its budget ends."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tests.benchmarks.arms import STRAWBERRYS, Arm
from tests.benchmarks.figures import Comparison, Figure, Measure

SHOWN: Final = ("next", "subscription", "query", "connection")

OURS, OTHERS, OVER, INK = "#5cb595", "#c3c9d0", "#e8705f", "#111111"

TITLE: Final = "What it costs to have the library, beside the same server without it"
CAPTION: Final = (
    "Baselines: an extension that does nothing for whatever has our extension (mixin + extension,"
    " both), bare Strawberry for everything else. Longer bars are cut."
)

ROOM: Final = 1.5
"""How much wider than the largest budget, or figure of ours, an axis is; longer bars are cut."""


def plot(figures: Sequence[Figure], file: Path) -> None:
    """Draw the figures of CPU time into a PNG file."""
    picture = Picture(figsize=(16, 13), layout="constrained")
    panels = picture.subplots(2, 2, sharey=True).flat
    for axes, key in zip(panels, SHOWN, strict=True):
        rows = [each for each in figures if each.measure.key == key and each.compared]
        if rows:
            _panel(axes, rows)
    processes = max(len(each.compared) for each in figures if _is_ours(each.arm))
    picture.suptitle(TITLE, fontsize=17, fontweight="bold")
    picture.legend(
        handles=_legend(processes),
        loc="outside lower center",
        ncols=5,
        frameon=False,
        title=CAPTION,
        title_fontsize=11,
    )
    picture.savefig(file, dpi=110)


def _panel(axes: Axes, rows: Sequence[Figure]) -> None:
    measure = rows[0].measure
    limit = _limit(rows)
    for place, figure in enumerate(rows):
        _bar(axes, place, figure, limit)
    axes.set_yticks(range(len(rows)), [figure.arm.name for figure in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(min(0.0, *(_shown(measure, low) for low in _lows(rows))), limit)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_title(measure.title, fontsize=13, loc="left")
    unit = "%" if measure.comparison is Comparison.RATIO else measure.unit
    axes.set_xlabel(f"more than the baseline, in {unit}")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _bar(axes: Axes, place: int, figure: Figure, limit: float) -> None:
    measure, color = figure.measure, _color(figure)
    low, middle, high = (
        _shown(measure, value)
        for value in (min(figure.compared), figure.value or 0.0, max(figure.compared))
    )
    axes.barh(place, min(middle, limit), color=color, height=0.62)
    text = (
        f"{middle:+.1f} %"
        if measure.comparison is Comparison.RATIO
        else f"{middle:+.0f} {measure.unit}"
    )
    if middle > limit:
        axes.text(limit * 0.985, place, f"{text}  ▶", va="center", ha="right", fontsize=9)
        return
    axes.plot([low, min(high, limit)], [place, place], color=INK, linewidth=1.4)
    ends = [max(high, 0.0)]
    if figure.budget is not None:
        ceiling = _shown(measure, figure.budget.ceiling)
        axes.plot([ceiling] * 2, [place - 0.45, place + 0.45], color=INK, linewidth=3)
        ends += [ceiling] if abs(ceiling - high) < limit * 0.17 or ceiling < high else []
    axes.text(max(ends) + limit * 0.012, place, text, va="center", fontsize=9)


def _limit(rows: Sequence[Figure]) -> float:
    """Where the axis ends: our own bars are whole, longer ones of others are cut."""
    measure = rows[0].measure
    ours = [max(figure.compared) for figure in rows if _is_ours(figure.arm)]
    ceilings = [figure.budget.ceiling for figure in rows if figure.budget is not None]
    return ROOM * max(_shown(measure, value) for value in ours + ceilings)


def _lows(rows: Sequence[Figure]) -> list[float]:
    return [min(figure.compared) for figure in rows]


def _shown(measure: Measure, value: float) -> float:
    """A comparison as it is drawn: a ratio in percent above 1."""
    if measure.comparison is Comparison.RATIO:
        return (value - measure.comparison.neutral) * 100
    return value


def _is_ours(arm: Arm) -> bool:
    return arm.subject.mixin


def _color(figure: Figure) -> str:
    if figure.broken:
        return OVER
    return OURS if _is_ours(figure.arm) else OTHERS


def _legend(processes: int) -> list[Patch | Line2D]:
    return [
        Patch(color=OURS, label=f"with the library (median of {processes} processes)"),
        Patch(color=OVER, label="the same, over its ceiling"),
        Patch(color=OTHERS, label=f"without it: empty extension, {STRAWBERRYS}, aiohttp-server"),
        Line2D([], [], color=INK, linewidth=1.4, label="spread over the processes"),
        Line2D(
            [],
            [],
            color=INK,
            linewidth=3,
            marker="|",
            linestyle="",
            markersize=14,
            markeredgewidth=3,
            label="ceiling of the budget",
        ),
    ]

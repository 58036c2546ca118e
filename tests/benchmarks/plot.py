"""The prices as a picture: what a user pays, beside the same server without telemetry."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from tests.benchmarks.arms import BARE, BOTH, MIXIN, STRAWBERRYS
from tests.benchmarks.figures import Figure
from tests.benchmarks.pipes import Tracing

MEASURES: Final = ("next", "subscription", "query", "connection")
SUBJECTS: Final = {BARE: "#8b949e", MIXIN: "#5cb595", BOTH: "#2f8f6b", STRAWBERRYS: "#c3c9d0"}
"""Who is drawn, and in which colour."""

TITLE: Final = (
    "What it costs: bare Strawberry, with the library, and with Strawberry's own extension"
)


def plot(figures: Sequence[Figure], file: Path) -> None:
    """Draw the prices in CPU time, those of what is traced where it is sampled, as a PNG file."""
    picture = Picture(figsize=(12, 6), layout="constrained")
    panels = picture.subplots(2, 2, sharey=True).flat
    for axes, key in zip(panels, MEASURES, strict=True):
        rows = [each for each in figures if each.measure.key == key and _is_drawn(each)]
        if rows:
            _panel(axes, rows)
    picture.suptitle(TITLE, fontsize=14, fontweight="bold")
    picture.savefig(file, dpi=110)


def _is_drawn(figure: Figure) -> bool:
    arm = figure.arm
    return arm.subject.name in SUBJECTS and arm.tracing in {None, Tracing.SAMPLED}


def _panel(axes: Axes, rows: Sequence[Figure]) -> None:
    measure, bare = rows[0].measure, rows[0].price
    names = [figure.arm.subject.name for figure in rows]
    bars = axes.barh(
        range(len(rows)),
        [figure.price for figure in rows],
        color=[SUBJECTS[name] for name in names],
    )
    more = [f"{figure.price / bare - 1:+z.0%}" for figure in rows[1:]]
    axes.bar_label(bars, [f"{bare:.3g} {measure.unit}", *more], padding=4)
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.12)
    axes.set_title(measure.title, loc="left")
    axes.set_xlabel(measure.unit)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)

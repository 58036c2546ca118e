"""What the benchmark says on the terminal: how far it is, and a table for each measure."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tests.benchmarks.figures import MEASURES, Comparison, Figure, Measure
from tests.benchmarks.runs import Run

WHOLE: Final = 100
"""Prices from here on are shown without a fraction."""

SIGNS: Final = {
    "within the aim": Text("✓ aim", "bold green"),
    "below the ceiling": Text("✓ ceiling", "yellow"),
    "over the ceiling": Text("✗ over", "bold red"),
}


@contextmanager
def progress(console: Console, runs: list[Run]) -> Iterator[Callable[[Run], None]]:
    """Show how far the runs are, where the terminal can; anywhere else, a line for each run."""
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    shown = sys.stdout.isatty()
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task("starting", total=sum(run.steps for run in runs))
        begun: list[Run] = []

        def step(run: Run) -> None:
            if not begun or begun[-1] is not run:
                begun.append(run)
                line = f"process {len(begun)} of {len(runs)}: {run.task}"
                bar.update(task, description=line)
                if not shown:
                    console.print(line)
            bar.advance(task)

        yield step


def tables(figures: Iterable[Figure]) -> Iterator[Table]:
    """A table for each measure."""
    figures = list(figures)
    for measure in MEASURES:
        rows = [figure for figure in figures if figure.measure is measure]
        if rows:
            yield _table(measure, rows)


def _table(measure: Measure, rows: Iterable[Figure]) -> Table:
    table = Table(
        title=measure.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD
    )
    table.add_column("arm", no_wrap=True)
    table.add_column(measure.unit, justify="right", no_wrap=True)
    table.add_column("beside", no_wrap=True)
    for column in ("median", "spread", "ceiling", "aim"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for figure in rows:
        table.add_row(*_cells(figure))
    return table


def _cells(figure: Figure) -> Iterator[str | Text]:
    yield figure.arm.name
    yield f"{figure.price:.{0 if figure.price >= WHOLE else 2}f}"
    if figure.value is None or figure.against is None:
        return
    yield figure.against.subject.name
    yield compared(figure.measure, figure.value)
    yield " .. ".join(compared(figure.measure, end(figure.compared)) for end in (min, max))
    budget, verdict = figure.budget, figure.verdict
    if budget is not None and verdict is not None:
        yield compared(figure.measure, budget.ceiling)
        yield compared(figure.measure, budget.aim)
        yield SIGNS[verdict]


def compared(measure: Measure, value: float) -> str:
    """A comparison as text: `x1.034` or `+1.3`."""
    if measure.comparison is Comparison.RATIO:
        return f"x{value:.3f}"
    return f"{value:+.{0 if abs(value) >= WHOLE else 2}f}"

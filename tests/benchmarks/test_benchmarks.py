"""The benchmark runs, and says something of every arm; what it says is not the matter of a test."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.benchmarks.arms import ARMS, BOTH, EMPTY, STRAWBERRYS, find
from tests.benchmarks.budgets import BUDGETS
from tests.benchmarks.figures import MEASURES, Comparison, exit_status, figures
from tests.benchmarks.pipes import Tracing

ROOT = Path(__file__).parents[2]
LIMIT = 600
"""Seconds within which the smallest benchmark must end, on a machine that is busy."""

SMALLEST = (
    "tests.benchmarks --rounds 2 --processes 1"
    " --memory --scale --segments --connections 20 --messages 2000 --seconds 1"
)
PER_ROUND = {"next", "subscription", "query", "connection"}
TIMES = "\N{MULTIPLICATION SIGN}"
PNG = b"\x89PNG\r\n\x1a\n"


class Benchmarked(NamedTuple):
    """What the smallest benchmark left."""

    printed: str
    report: dict[str, Any]
    plot: Path


@pytest.fixture(scope="module")
def benchmarked(tmp_path_factory: pytest.TempPathFactory) -> Benchmarked:
    folder = tmp_path_factory.mktemp("benchmark")
    report, plot = folder / "figures.json", folder / "figures.png"
    ended = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-m", *SMALLEST.split(), "--json", str(report), "--plot", str(plot)],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return Benchmarked(ended.stdout, json.loads(report.read_text()), plot)


def test_the_page_names_options_and_pictures_that_there_are() -> None:
    page = (ROOT / "docs" / "cost.md").read_text()
    usage = subprocess.run(  # our own program
        [sys.executable, "-m", "tests.benchmarks", "--help"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT,
        check=True,
    ).stdout
    options, pictures = re.findall(r"`(--[a-z]+)", page), re.findall(r"\((\S+\.png)\)", page)
    assert options
    assert all(option in usage for option in options)
    assert pictures
    assert all((ROOT / "docs" / picture).is_file() for picture in pictures)


@pytest.mark.benchmark
def test_it_says_what_every_arm_costs(benchmarked: Benchmarked) -> None:
    said = {(each["measure"], each["arm"]) for each in benchmarked.report["figures"]}
    assert {(measure, arm.name) for measure in PER_ROUND for arm in ARMS} <= said
    assert {measure for measure, _ in said} == {measure.key for measure in MEASURES}


@pytest.mark.benchmark
def test_it_compares_with_the_right_baseline(benchmarked: Benchmarked) -> None:
    for each in benchmarked.report["figures"]:
        if each["measure"] in PER_ROUND:
            with_ours = each["arm"].startswith(("mixin + extension", "aiohttp-server + both"))
            beside = "empty extension" if with_ours else "bare"
            assert each["baseline"] == (None if each["arm"] == "bare" else beside)


@pytest.mark.benchmark
def test_it_prints_a_table_for_each_measure_with_a_row_for_each_arm(
    benchmarked: Benchmarked,
) -> None:
    lines = [line.strip() for line in benchmarked.printed.splitlines()]
    for measure in MEASURES:
        assert lines.count(measure.title) == 1
    for arm in ARMS:
        rows = [line for line in lines if line.startswith(f"{arm.name}  ")]
        assert len(rows) >= len(PER_ROUND), arm.name
    assert "…" not in benchmarked.printed


@pytest.mark.benchmark
def test_it_exports_the_span_of_every_segment_that_was_due(benchmarked: Benchmarked) -> None:
    sampled = find(BOTH, Tracing.SAMPLED).name
    exported = {
        each["measure"]: each["price"]
        for each in benchmarked.report["figures"]
        if each["measure"].endswith("_exported") and each["arm"] == sampled
    }
    assert exported == {"segments_0_exported": 20, "segments_1_exported": 40}


@pytest.mark.benchmark
def test_it_draws_a_picture(benchmarked: Benchmarked) -> None:
    assert benchmarked.plot.read_bytes().startswith(PNG)


# --- What it makes of prices -----------------------------------------------------------------


def test_a_figure_is_the_median_over_the_processes_of_what_each_compared() -> None:
    ours = find(BOTH, Tracing.SAMPLED)
    processes = [
        {"next": {EMPTY: base, ours.name: price}}
        for base, price in ((10.0, 11.0), (20.0, 21.0), (10.0, 10.4))
    ]
    [_, figure] = figures(processes)
    assert (figure.arm, figure.price) == (ours, 11.0)
    assert figure.compared == pytest.approx((1.1, 1.05, 1.04))
    assert figure.value == pytest.approx(1.05)
    assert (figure.verdict, figure.broken) == ("below the ceiling", False)


@pytest.mark.parametrize(
    ("price", "verdict"),
    [
        (10.4, "within the aim"),
        (10.41, "below the ceiling"),
        (10.7, "below the ceiling"),
        (10.71, "over the ceiling"),
    ],
)
def test_a_verdict_is_about_the_budget_of_the_arm(price: float, verdict: str) -> None:
    ours = find(BOTH, Tracing.SAMPLED)
    [_, figure] = figures([{"next": {EMPTY: 10.0, ours.name: price}}])
    over = verdict == "over the ceiling"
    assert (figure.verdict, figure.broken) == (verdict, over)
    assert exit_status([figure], check=True) == int(over)
    assert exit_status([figure], check=False) == 0


@pytest.mark.parametrize(
    ("price", "verdict"), [(9.9, "below the ceiling"), (10.1, "over the ceiling")]
)
def test_a_sampled_subscription_is_compared_with_strawberrys_own_extension_too(
    price: float, verdict: str
) -> None:
    ours, own = find(BOTH, Tracing.SAMPLED), find(STRAWBERRYS, Tracing.SAMPLED)
    found = figures([{"subscription": {EMPTY: 9.0, ours.name: price, own.name: 10.0}}])
    [figure] = [each for each in found if each.measure.key == "subscription_own"]
    assert (figure.arm, figure.against, figure.verdict) == (ours, own, verdict)


def limits(cell: str) -> list[str]:
    return re.findall(rf"[+{TIMES}][\d.]+", cell)


def test_contributing_states_every_budget() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = page.partition("| | ceiling | aim |\n|---|---|---|\n")[2].partition("\n\n")[0]
    stated = {
        (ceiling, aim)
        for row in table.splitlines()
        for ceiling, aim in zip(*map(limits, row.split("|")[2:4]), strict=True)
    }
    ratios = {each.key for each in MEASURES if each.comparison is Comparison.RATIO}
    assert stated == {
        tuple(
            f"{TIMES}{limit:.2f}" if each.measure in ratios else f"+{limit}"
            for limit in (each.ceiling, each.aim)
        )
        for each in BUDGETS
    }


def test_every_budget_is_for_arms_and_a_measure_that_there_are() -> None:
    for budget in BUDGETS:
        assert budget.measure in {measure.key for measure in MEASURES}
        for subject in budget.subjects:
            for tracing in budget.tracings:
                assert find(subject, tracing) in ARMS
        assert budget.aim < budget.ceiling

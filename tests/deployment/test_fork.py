"""A process may fork after it has imported the library, and after it has made a view."""

import json
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.forked import Run, run_each

EVERYTHING = {
    "closes": 1,
    "active": 0,
    "open": 0,
    "lives": 1,
    "events": 2,
    "spans": ["GraphQL WebSocket Connection", "GraphQL WebSocket Connection Init", "subscription"],
}


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no fork"),
]


Runs = Mapping[tuple[str, ...], Run]
BEFORE = [("imported",), ("made before",), ("made before", "held")]
SERVED = [
    # Of two clients that each get two results, the first is the parent's.
    ("providers of the parent", {"closes": 2, "active": 0, "lives": 2, "events": 4}),
    ("providers set in the child", {"closes": 2, "active": 0, "lives": 1, "events": 4}),
    ("a view and providers of its own", {"closes": 1, "active": 0, "lives": 1, "events": 2}),
    ("under a client", {"closes": 0, "active": 1, "open": 0, "lives": 0, "events": 0}),
]


def programs(module: str, ways: list[tuple[str, ...]]) -> Runs:
    """Run a program that forks in each of these ways."""
    # Later versions warn of every fork that leaves a thread behind: that is what is tried.
    return run_each(f"tests.deployment.{module}", ways, PYTHONWARNINGS="ignore")


def recorded(run: Run) -> dict[str, Any]:
    """What a program printed."""
    assert run.status == 0, run.errors
    report: dict[str, Any] = json.loads(run.output)
    return report


@pytest.fixture(scope="module")
def forking() -> Runs:
    return programs("forking", BEFORE)


@pytest.fixture(scope="module")
def served() -> Runs:
    return programs("served", [(how,) for how, _ in SERVED])


@pytest.mark.parametrize("how", BEFORE, ids=", ".join)
def test_the_child_records_as_a_process_that_was_never_forked(
    how: tuple[str, ...], forking: Runs
) -> None:
    assert recorded(forking[how]) == EVERYTHING


@pytest.mark.parametrize(("how", "counts"), SERVED)
def test_the_child_of_a_parent_that_has_served_inherits_its_counts_with_its_providers(
    how: str, counts: dict[str, int], served: Runs
) -> None:
    report = recorded(served[how,])
    assert {key: report[key] for key in counts} == counts

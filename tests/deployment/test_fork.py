"""A process may fork after it has imported the library, and after it has made a view."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.programs import running

EVERYTHING = {
    "closes": 1,
    "active": 0,
    "lives": 1,
    "events": 2,
    "spans": [
        "GraphQL Document Parsing",
        "GraphQL Document Validation",
        "GraphQL WebSocket Connection",
        "GraphQL WebSocket Connection Init",
        "subscription",
    ],
}


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")


async def recorded(module: str, *arguments: str, output: Path) -> dict[str, Any]:
    """What a program prints that forks."""
    # Later versions warn of every fork that leaves a thread behind: that is what is tried.
    command = (sys.executable, "-W", "ignore", "-m", f"tests.deployment.{module}", *arguments)
    async with running(*command, output=output) as program:
        assert await program.ends() == 0, program.printed
    report: dict[str, Any] = json.loads(program.printed)
    return report


@pytest.mark.parametrize(
    "how", [["imported"], ["made before"], ["made before", "held"]], ids=", ".join
)
async def test_the_child_records_as_a_process_that_was_never_forked(
    how: list[str], tmp_path: Path
) -> None:
    assert await recorded("forking", *how, output=tmp_path / "log") == EVERYTHING


@pytest.mark.parametrize(
    ("how", "counts"),
    [
        # Of two clients that each get two results, the first is the parent's.
        ("providers of the parent", {"closes": 2, "active": 0, "lives": 2, "events": 4}),
        ("providers set in the child", {"closes": 2, "active": 0, "lives": 1, "events": 4}),
        ("a view and providers of its own", {"closes": 1, "active": 0, "lives": 1, "events": 2}),
        ("under a client", {"closes": 0, "active": 1, "lives": 0, "events": 0}),
    ],
)
async def test_the_child_of_a_parent_that_has_served_inherits_its_counts_with_its_providers(
    how: str, counts: dict[str, int], tmp_path: Path
) -> None:
    report = await recorded("served", how, output=tmp_path / "log")
    assert {key: report[key] for key in counts} == counts

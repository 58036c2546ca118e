"""A process may fork after it has imported the library, and after it has made a view."""

import json
import sys
from pathlib import Path

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


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize(
    "how", [["imported"], ["made before"], ["made before", "held"]], ids=", ".join
)
async def test_the_child_records_as_a_process_that_was_never_forked(
    how: list[str], tmp_path: Path
) -> None:
    # Later versions warn of every fork that leaves a thread behind: that is what is tried.
    command = (sys.executable, "-W", "ignore", "-m", "tests.deployment.forking", *how)
    async with running(*command, output=tmp_path / "log") as program:
        assert await program.ends() == 0, program.printed
    assert json.loads(program.printed) == EVERYTHING

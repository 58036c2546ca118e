"""A process may end while a client is connected: what is open is exported as it is."""

import sys
from pathlib import Path

import pytest

from tests.deployment.programs import running
from tests.support.expected import CONNECTION, INIT

pytestmark = pytest.mark.slow

LEFT = {f"parent: {INIT}, None", "parent: subscription, True", f"parent: {CONNECTION}, True"}
CLOSED = {f"parent: {INIT}, None", "parent: subscription, None", f"parent: {CONNECTION}, None"}
FORKED = pytest.param(
    "under a fork",
    LEFT,
    marks=pytest.mark.skipif(sys.platform == "win32", reason="there is no fork"),
)


@pytest.mark.parametrize(
    ("how", "spans"),
    [
        ("in good order", CLOSED),
        ("in a loop that is left", LEFT),
        ("in a thread", LEFT),
        FORKED,
    ],
)
async def test_each_span_is_exported_once_and_what_is_open_as_continued(
    how: str, spans: set[str], tmp_path: Path
) -> None:
    command = sys.executable, "-m", "tests.deployment.leaving", how
    async with running(*command, output=tmp_path / "log") as program:
        assert await program.ends() == 0, program.printed
    lines = [line for line in program.printed.splitlines() if line.startswith(("parent", "child"))]
    assert sorted(lines) == sorted(spans)

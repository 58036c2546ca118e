"""Python's development mode has nothing to complain of."""

import json
import sys
from pathlib import Path

import pytest

from tests.deployment.programs import running


@pytest.mark.parametrize(("how", "complaints"), [([], []), (["leak"], ["ResourceWarning"])])
async def test_conversations_leave_no_warning(
    how: list[str], complaints: list[str], tmp_path: Path
) -> None:
    strict = (sys.executable, "-X", "dev", "-W", "error", "-m", "tests.deployment.conversing")
    async with running(*strict, *how, output=tmp_path / "log") as program:
        assert await program.ends() == 0, program.printed
    assert json.loads(program.printed) == complaints

"""The conversations that every fault is tried on, on an instrumented server and on its twin."""

from typing import Any, Final

import pytest

from tests.arms import BARE, CASES, Arm, Case
from tests.conftest import Run
from tests.test_transcripts import play

NAMES: Final = frozenset(
    {
        "a query",
        "a query with a broken field",
        "a mutation",
        "an invalid document",
        "a subscription whose source fails",
        "a subscription with a broken field",
        "a source that the client stops",
        "three operations at once",
        "client closes 4499",
        "client resets",
        "client sends FIN",
        "client sends bad UTF-8",
        "no JSON, and the client answers the close",
        "application closes 4500 from another task",
        "on_ws_connect raises AppError()",
        "view returns with an open socket",
    }
)
TALKS: Final = [
    case
    for case in CASES
    if case.scenario.name.removeprefix("legacy: ") in NAMES and not case.handler_cancellation
]
"""Both subprotocols, wherever a conversation has both."""


class Twins:
    """What the conversations are on a server without the library, and with it."""

    def __init__(self, run: Run[Any], log: pytest.LogCaptureFixture) -> None:
        self._run = run
        self._log = log
        self.bare = self.play(BARE)

    def play(self, arm: Arm) -> dict[str, Any]:
        """What there is to see of each conversation: bytes, closes, tasks, log of the host."""
        return {str(case): self.once(case, arm) for case in TALKS}

    def once(self, case: Case, arm: Arm) -> dict[str, Any]:
        return play(case, arm, self._run, self._log)

"""Conversations on a server without the library and on one with it, to be held side by side."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.conftest import Run
from tests.contract.test_transcripts import play
from tests.support.cases import BARE, Arm, Case

Transcripts = dict[str, dict[str, Any]]
"""What there is to see of each conversation: bytes, closes, tasks, log of the host."""


class Twins:
    """The same conversations on both servers."""

    def __init__(
        self,
        cases: Sequence[Case],
        bare: Transcripts,
        run: Run[Any],
        log: pytest.LogCaptureFixture,
    ) -> None:
        """Play `cases` without the library, unless `bare` has them from a test before."""
        self._cases = cases
        self._run = run
        self._log = log
        if not bare:
            bare.update(self.play(BARE))
        self.bare = bare

    def play(self, arm: Arm) -> Transcripts:
        return {str(case): self.once(case, arm) for case in self._cases}

    def once(self, case: Case, arm: Arm) -> dict[str, Any]:
        return play(case, arm, self._run, self._log)

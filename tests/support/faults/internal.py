"""Failures of the library's own code, and the conversations in which they happen."""

from itertools import cycle
from typing import Final, NoReturn

import pytest

from tests.support.cases import CASES as ALL

CONVERSATIONS: Final = frozenset(
    {
        "three operations at once",
        "client closes 4499",
        "client resets",
        "client sends bad UTF-8",
        "a syntax error, and the client answers a transport that is gone",
        "application closes 4500 from another task",
        "application cancels the handler",
        "a source that the client stops",
        "a subscription with a broken field",
        "application closes twice",
    }
)

CASES: Final = list(
    {case.scenario.name: case for case in ALL if case.scenario.name in CONVERSATIONS}.values()
)


class OwnError(Exception):
    pass


class Failures:
    """A function of ours that only raises."""

    def __init__(self) -> None:
        self.count = 0
        self._errors = cycle([OwnError, MemoryError, RecursionError])

    def __call__(self, *_arguments: object, **_keywords: object) -> NoReturn:
        self.count += 1
        raise next(self._errors)

    def replace(self, owner: object, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Fail where `owner` calls `name`."""
        is_property = isinstance(getattr(owner, name), property)
        # A function, which becomes a method of a class; an instance would not.
        fails = lambda *_arguments, **_keywords: self()  # noqa: E731
        monkeypatch.setattr(owner, name, property(fails) if is_property else fails)


def names(places: list[tuple[object, str]]) -> list[str]:
    return [f"{getattr(owner, '__name__', owner)}.{name}" for owner, name in places]

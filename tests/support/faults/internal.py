"""Failures of the library's own code, and the conversations in which they happen."""

from itertools import cycle
from typing import NoReturn

import pytest


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

"""What was recorded and is not what happened."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mismatch:
    """What was recorded, and what was expected."""

    what: str
    recorded: object
    expected: object

    def __str__(self) -> str:
        return f"{self.what}\n  recorded: {self.recorded}\n  expected: {self.expected}"

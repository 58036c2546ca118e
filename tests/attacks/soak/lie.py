"""Something that is told and is not true."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Lie:
    """What is told of something, and what is true of it."""

    what: str
    told: object
    true: object

    def __str__(self) -> str:
        return f"{self.what}\n  told: {self.told}\n  true: {self.true}"

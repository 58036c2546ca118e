"""Sockets that do not let themselves be observed, as a future aiohttp's may not."""

from abc import ABCMeta
from typing import Any, NoReturn

from tests.support.server import Socket


class Finality(ABCMeta):
    """A metaclass whose classes have no subclasses."""

    def __new__(
        cls, name: str, bases: tuple[type, ...], *arguments: Any, **keywords: Any
    ) -> "Finality":
        if any(isinstance(base, Finality) for base in bases):
            raise TypeError("it is final")
        return super().__new__(cls, name, bases, *arguments, **keywords)


class Childless(Socket, metaclass=Finality):
    """Nobody derives a class from it."""


class Fixed(Socket):
    """It does not take another class."""

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return Fixed


class Deaf(Socket):
    """It takes another class, and goes on as before."""

    @property
    def __class__(self) -> type:
        return Deaf

    @__class__.setter
    def __class__(self, value: type) -> None:
        pass


class Closed(Socket):
    """It does not show its attributes, as an object without any does not."""

    @property
    def __dict__(self) -> NoReturn:  # type: ignore[override]
        raise AttributeError("__dict__")


REFUSING: dict[str, type[Socket]] = {
    "nobody derives from its class": Childless,
    "its class is fixed": Fixed,
    "its class is set in vain": Deaf,
    "it does not show its attributes": Closed,
}


def attributes_past(socket: Socket) -> dict[str, Any]:
    """The attributes of a socket, past whatever its class shows."""
    descriptors = [vars(cls)["__dict__"] for cls in type(socket).__mro__ if "__dict__" in vars(cls)]
    attributes: dict[str, Any] = descriptors[-1].__get__(socket)
    return attributes

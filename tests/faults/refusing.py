"""Sockets that do not let themselves be shadowed, as a future aiohttp's may not."""

from collections.abc import Callable
from typing import Any, NoReturn

from tests.server import Socket

SHADOWED = ("receive", "close", "send_str", "send_bytes")


class ReadOnly(Socket):
    """Its methods are read-only, as those of a class with `__slots__` and no `__dict__` are."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in SHADOWED:
            raise AttributeError(f"{type(self).__name__!r} object attribute {name!r} is read-only")
        super().__setattr__(name, value)


class Deaf(Socket):
    """It takes an attribute, and goes on as before."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in SHADOWED:
            super().__setattr__(name, value)


class Properties(Socket):
    """Its methods are properties without a setter."""


def _bound(name: str) -> property:
    return property(lambda self: getattr(super(Properties, self), name))


for _name in SHADOWED:
    setattr(Properties, _name, _bound(_name))


class Frozen(Socket):
    """Nothing of it can be set or deleted by name once it is made, but for what is private."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in SHADOWED:
            raise TypeError("it is frozen")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> NoReturn:
        raise TypeError("it is frozen")


def partly(refused: str) -> type[Socket]:
    """A socket of which only this attribute cannot be set."""

    class Partly(Socket):
        def __setattr__(self, name: str, value: Any) -> None:
            if name == refused:
                raise AttributeError(f"{name} is read-only")
            super().__setattr__(name, value)

    return Partly


def undeletable(refused: str) -> type[Socket]:
    """The same, and what could be set cannot be deleted again."""

    class Undeletable(partly(refused)):  # type: ignore[misc]  # whichever it is
        def __delattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"{name} cannot be deleted")

    return Undeletable


REFUSING: dict[str, Callable[[], type[Socket]]] = {
    "all are read-only": lambda: ReadOnly,
    "all are set in vain": lambda: Deaf,
    "all are properties": lambda: Properties,
    "it is frozen": lambda: Frozen,
    "receive is read-only": lambda: partly("receive"),
    "close is read-only": lambda: partly("close"),
    "send_str is read-only": lambda: partly("send_str"),
    "send_bytes is read-only": lambda: partly("send_bytes"),
    "send_bytes is read-only, and nothing can be deleted": lambda: undeletable("send_bytes"),
}

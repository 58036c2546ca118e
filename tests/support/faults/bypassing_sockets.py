"""Sockets that go past what is observed: they call aiohttp's own methods by name."""

from functools import partial
from typing import Any, Final

from aiohttp import WSMessage, web

from tests.support.server import Socket

METHODS: Final = ("receive", "close", "send_str", "send_bytes")


class ClosesByName(Socket):
    """Its class overrides `close`."""

    async def close(self, *, code: int = 1000, message: bytes = b"", drain: bool = True) -> bool:
        self.closes.append((int(code), message))
        return await web.WebSocketResponse.close(self, code=code, message=message, drain=drain)


class ByName(ClosesByName):
    """Its class overrides all of them."""

    async def receive(self, timeout: float | None = None) -> WSMessage:  # noqa: ASYNC109  # aiohttp's
        return await web.WebSocketResponse.receive(self, timeout)

    async def send_str(self, data: str, compress: int | None = None) -> None:
        await web.WebSocketResponse.send_str(self, data, compress)

    async def send_bytes(self, data: bytes, compress: int | None = None) -> None:
        await web.WebSocketResponse.send_bytes(self, data, compress)


class Wrapped(Socket):
    """The object has attributes that hide them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name in METHODS:
            setattr(self, name, partial(getattr(ByName, name), self))


class WrappedByName(ByName):
    """The object has attributes that hide what its class overrides, and call it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name in METHODS:
            setattr(self, name, partial(self.by_class, name))

    def by_class(self, name: str, *arguments: Any, **options: Any) -> Any:
        return getattr(type(self), name)(self, *arguments, **options)


class HalfWrapped(Socket):
    """The object has attributes that hide two: aiohttp's `receive`, its class's `close`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.close = super().close  # type: ignore[method-assign]  # as an application may
        self.receive = super().receive  # type: ignore[method-assign]  # as an application may


ALL_METHODS: Final = "its class overrides all"
PASSING: Final[dict[str, type[Socket]]] = {
    "its class overrides close": ClosesByName,
    ALL_METHODS: ByName,
    "its attributes hide all": Wrapped,
    "its attributes hide all, and its class overrides them": WrappedByName,
    "its attributes hide two": HalfWrapped,
}

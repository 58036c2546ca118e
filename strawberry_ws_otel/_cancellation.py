"""Seeing a cancellation at the moment it is delivered."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class CancellationWatch(Generic[T]):
    """Awaits a coroutine, and says when `CancelledError` is thrown into it.

    A handler that is cancelled cleans up, and awaits, before the error leaves it. By then nobody
    can tell a server that shuts down from a peer that is gone.
    """

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        cancelled: Callable[[], None],
        went_on: Callable[[], None],
    ) -> None:
        """Watch `coroutine`.

        Args:
            coroutine: what is awaited.
            cancelled: called when a `CancelledError` is about to be thrown into it.
            went_on: called whenever it waits for something again after that.
        """
        self._coroutine = coroutine
        self._cancelled = cancelled
        self._went_on = went_on

    def __await__(self) -> Generator[Any, Any, T]:
        inner = self._coroutine.__await__()
        value: Any = None
        error: BaseException | None = None
        noted = False
        while True:
            try:
                awaited = inner.send(value) if error is None else inner.throw(error)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # that is how coroutines return
            finally:
                # An error that leaves would otherwise be kept by a frame of its own traceback.
                value = error = None
            if noted:
                self._went_on()
            try:
                value = yield awaited
            except BaseException as thrown:  # noqa: BLE001  # it belongs to the coroutine
                if isinstance(thrown, asyncio.CancelledError):
                    noted = True
                    self._cancelled()
                error = thrown

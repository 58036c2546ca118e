"""The running task, and its cancellation at the moment it is delivered."""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Watcher(Protocol):
    """Who is told of cancellations."""

    def cancelled(self) -> None:
        """Note that a `CancelledError` is about to be thrown into the coroutine."""

    def went_on(self) -> None:
        """Note that, after one, the coroutine waits for something again."""

    def abandoned(self) -> None:
        """Note that nobody awaits the coroutine any more: its event loop is closed."""


class CancellationWatch(Generic[T]):
    """Awaits a coroutine, and says when `CancelledError` is thrown into it.

    A handler that is cancelled cleans up, and awaits, before the error leaves it. By then nobody
    can tell a server that shuts down from a peer that is gone.
    """

    __slots__ = ("_coroutine", "_watcher")

    def __init__(self, coroutine: Coroutine[Any, Any, T], watcher: Watcher) -> None:
        """Watch `coroutine` when it is awaited, and tell `watcher`."""
        self._coroutine = coroutine
        self._watcher = watcher

    def __await__(self) -> Generator[Any, Any, T]:
        inner = self._coroutine.__await__()
        value: Any = None
        error: BaseException | None = None
        noted = False
        while True:
            try:
                if isinstance(error, GeneratorExit):
                    self._watcher.abandoned()
                    # As `await` does: the interpreter may have closed it before.
                    inner.close()
                    raise error
                awaited = inner.send(value) if error is None else inner.throw(error)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]  # that is how coroutines return
            finally:
                # An error that leaves would otherwise be kept by a frame of its own traceback.
                value = error = None
            if noted:
                self._watcher.went_on()
            try:
                value = yield awaited
            except BaseException as thrown:  # noqa: BLE001  # it belongs to the coroutine
                if isinstance(thrown, asyncio.CancelledError):
                    noted = True
                    self._watcher.cancelled()
                error = thrown


def running_task() -> asyncio.Task[Any] | None:
    """Return the running task; None outside of any, and in a thread."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def is_being_cancelled() -> bool:
    """Whether somebody has asked the running task to stop."""
    task = running_task()
    return task is not None and task.cancelling() > 0

"""A coroutine of ours in the place of one of the host's or the application's."""

from collections.abc import Callable, Coroutine, Generator
from typing import Any


class StandIn(Coroutine[Any, Any, Any]):
    """A coroutine that asyncio's log calls by the name of another.

    Whoever makes a task of it may ask nobody how that ended: asyncio then logs what it was.
    """

    def __init__(self, run: Callable[[], Coroutine[Any, Any, Any]], original: Any) -> None:  # noqa: ANN401  # a coroutine
        """Stand for `original`; `run` makes what awaits it, as soon as somebody begins."""
        self.__name__, self.__qualname__ = original.__name__, original.__qualname__
        self.cr_code = original.cr_code
        self._run: Callable[[], Coroutine[Any, Any, Any]] | None = run
        self._original = original
        self._coroutine: Any = None

    @property
    def cr_frame(self) -> Any:  # noqa: ANN401  # the original's
        """Where the original stands."""
        return self._original.cr_frame

    @property
    def cr_running(self) -> bool:
        """Whether the original runs."""
        return bool(self._original.cr_running)

    def send(self, value: Any) -> Any:  # noqa: ANN401  # the event loop's
        """Go on."""
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:  # noqa: ANN401  # the event loop's
        """Go on with an error."""
        try:
            return (self._original if self._coroutine is None else self._coroutine).throw(*error)
        finally:
            # Its traceback leads to this very frame.
            del error

    def close(self) -> None:
        """Give up."""
        (self._original if self._coroutine is None else self._coroutine).close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._begun().__await__()

    def _begun(self) -> Coroutine[Any, Any, Any]:
        if self._run is not None:
            # Tracebacks lead here, and are not to keep more than those of the original.
            run, self._run = self._run, None
            self._coroutine = run()
        return self._coroutine  # type: ignore[no-any-return]  # it is one

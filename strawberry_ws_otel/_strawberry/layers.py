"""Recording what a view holds as an attribute: a class, a factory, and the coroutines of either.

A `RecordingLayer` derives a class from the application's, with a recording class in front of it:

    derived class → recording class → the application's class → the host's class

The attribute may also be a factory of instances: a function, a static method, a partial, a
property. Then each instance gets the derived class, by assignment to its `__class__`. So a
recording class is a subclass of the host's: with any other base in front, Python refuses the
assignment ("object layout differs").
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import lru_cache
from types import coroutine
from typing import Any, Final, NamedTuple, Protocol, TypeVar, get_origin

from strawberry_ws_otel._fuse import Fuse

T = TypeVar("T")

DERIVED: Final = "_otel_derived"
"""The name in the body of each class that the library has derived."""


def is_derived(cls: type) -> bool:
    """Whether the library has derived a class, and not the application."""
    return DERIVED in vars(cls)


class RecordingLayer(NamedTuple):
    """How the instances that one attribute of a view makes are recorded."""

    attribute: str
    host: type
    recording: type
    """A subclass of `host`."""

    made: Callable[..., object] = lambda *_arguments, **_keywords: None
    """What is called with each instance of a factory, and with the factory's arguments."""

    def over(self, value: Any) -> Any:  # noqa: ANN401  # whatever a class can hold
        """Return what to set in place of `value`, the attribute of a view.

        Raises:
            TypeError: it is neither a subclass of `host` nor callable.
        """
        # Strawberry's view holds its handlers with type parameters (0.319, 0.341.2).
        made = get_origin(value) or value
        if isinstance(made, RecordedFactory):
            return made
        if isinstance(made, type) and issubclass(made, self.host):
            return made if issubclass(made, self.recording) else self.derived(made)
        if not isinstance(made, type) and (callable(made) or hasattr(made, "__get__")):
            return RecordedFactory(made, self)
        raise TypeError(
            f"{self.attribute} must be a subclass of {self.host.__name__}, or a callable that"
            f" makes instances of one, not {value!r}"
        )

    def derived(self, cls: type) -> Any:  # noqa: ANN401  # a class of both
        """Return a class of the same name with the recording class in front."""
        names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, DERIVED: True}
        return type(cls.__name__, (self.recording, cls), names)


class RecordedFactory:
    """A factory in an attribute of a view, whose instances are recorded."""

    def __init__(self, factory: Any, layer: RecordingLayer) -> None:  # noqa: ANN401  # any descriptor
        self._factory = factory
        self._layer = layer
        # The last ones only: a factory may make a new class for each instance.
        self._derived: Callable[[Any], Any] = lru_cache(maxsize=16)(layer.derived)

    def __get__(self, view: object, owner: type | None = None) -> Callable[..., Any]:
        """Bind the factory to the view as Python would, and record what it makes."""
        bind = getattr(type(self._factory), "__get__", None)
        factory = bind(self._factory, view, owner) if bind else self._factory

        def make(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401  # the application's
            made = factory(*arguments, **keywords)
            with Fuse(getattr(view, "_otel_failures", None)):
                if not isinstance(made, self._layer.recording):
                    made.__class__ = self._derived(type(made))
                    self._layer.made(made, *arguments, **keywords)
            return made

        return make


# --- Coroutines ------------------------------------------------------------------------------


class CoroutineProxy(Coroutine[Any, Any, Any]):
    """A coroutine that runs another one in its place, and looks like the original.

    asyncio logs the name and the frame of a task's coroutine, for example if nobody retrieves the
    task's exception.
    """

    def __init__(self, run: Callable[[], Coroutine[Any, Any, Any]], original: Any) -> None:  # noqa: ANN401  # a coroutine
        """Stand for `original`; the first step calls `run` for the coroutine that awaits it."""
        self._run: Callable[[], Coroutine[Any, Any, Any]] | None = run
        self._original = original
        self._running: Coroutine[Any, Any, Any] = original

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # the original's
        """Return what the original has: `__qualname__`, `cr_code`, `cr_frame`."""
        return getattr(self._original, name)

    def send(self, value: Any) -> Any:  # noqa: ANN401  # the event loop's
        return self._begun().send(value)

    def throw(self, *error: Any) -> Any:  # noqa: ANN401  # the event loop's
        try:
            return self._running.throw(*error)
        finally:
            # The error's traceback holds this frame: a cycle.
            del error

    def close(self) -> None:
        self._running.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._begun().__await__()

    def _begun(self) -> Coroutine[Any, Any, Any]:
        if self._run is not None:
            # Tracebacks hold this object, which is not to keep what `run` holds.
            run, self._run = self._run, None
            self._running = run()
        return self._running


class Watcher(Protocol):
    """Learns of cancellations."""

    def cancelled(self) -> None:
        """Learn that a `CancelledError` is about to be thrown into the coroutine."""

    def went_on(self) -> None:
        """Learn that, after a `CancelledError`, the coroutine waits for something again."""

    def abandoned(self) -> None:
        """Learn that nobody awaits the coroutine any more: its event loop is closed."""


@coroutine
def watch_cancellation(awaited: Coroutine[Any, Any, T], watcher: Watcher) -> Generator[Any, Any, T]:
    """Await a coroutine as `yield from` does (PEP 380), and report its cancellations.

    A handler that is cancelled cleans up, and awaits, before the error leaves it. By then a server
    that shuts down looks like a peer that is gone (aiohttp 3.14).
    """
    inner = awaited.__await__()
    value: Any = None
    error: BaseException | None = None
    was_cancelled = False
    while True:
        try:
            if isinstance(error, GeneratorExit):
                watcher.abandoned()
                inner.close()
                raise error
            waits_for = inner.send(value) if error is None else inner.throw(error)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # that is how coroutines return
        finally:
            # The traceback of an error that leaves holds this frame: a cycle.
            value = error = None
        if was_cancelled:
            watcher.went_on()
        try:
            value = yield waits_for
        except BaseException as thrown:  # noqa: BLE001  # it belongs to the coroutine
            if isinstance(thrown, asyncio.CancelledError):
                was_cancelled = True
                watcher.cancelled()
            error = thrown

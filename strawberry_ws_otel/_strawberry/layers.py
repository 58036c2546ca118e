"""Laying something of ours over what is not ours: over classes of a view, and over coroutines.

A view holds a class, or whatever makes instances of one: a function, a static method, a partial, a
property. What it makes is recorded all the same.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from functools import lru_cache, partial
from typing import Any, Final, Generic, Protocol, TypeVar, get_origin

from strawberry_ws_otel._fuse import Fuse

T = TypeVar("T")

DERIVED: Final = "_otel_derived"
"""What stands in the body of a class that the library has derived."""


def is_derived(cls: type) -> bool:
    """Whether the library has derived a class, and not the application."""
    return DERIVED in vars(cls)


class Layers:
    """The recording layer over all classes of one kind."""

    def __init__(
        self,
        attribute: str,
        kind: type,
        layer: type,
        begin: Callable[..., object] = lambda *_arguments, **_keywords: None,
    ) -> None:
        """Lay `layer` over what a view has as `attribute`, which are subclasses of `kind`.

        Args:
            attribute: of the view.
            kind: the host's class.
            layer: the class that records.
            begin: what is called with an instance that was not made of a class with the layer, and
                with the arguments that it was made with.
        """
        self.attribute = attribute
        self.begin = begin
        self._kind = kind
        self._layer = layer

    def over(self, value: Any) -> Any:  # noqa: ANN401  # whatever a class can hold
        """Return a view's attribute with the recording layer over what it makes.

        Raises:
            TypeError: it makes nothing of the kind.
        """
        # The host's own handlers are generic, and given with their parameters.
        made = get_origin(value) or value
        if isinstance(made, RecordedFactory):
            return made
        if isinstance(made, type) and issubclass(made, self._kind):
            return made if issubclass(made, self._layer) else self.derived(made)
        if not isinstance(made, type) and (callable(made) or hasattr(made, "__get__")):
            return RecordedFactory(made, self)
        raise TypeError(
            f"{self.attribute} must be a subclass of {self._kind.__name__}, or a callable that"
            f" makes instances of one, not {value!r}"
        )

    def derived(self, class_: type) -> Any:  # noqa: ANN401  # a class of both
        """Return a class of the same name with the layer in front."""
        names = {
            "__module__": class_.__module__,
            "__qualname__": class_.__qualname__,
            DERIVED: True,
        }
        return type(class_.__name__, (self._layer, class_), names)

    def is_laid_over(self, instance: object) -> bool:
        """Whether the class of an instance has the layer."""
        return isinstance(instance, self._layer)


class RecordedFactory:
    """An attribute that is no class: what it makes is recorded.

    It is bound to the view as the application's own would be.
    """

    def __init__(self, factory: Any, layers: Layers) -> None:  # noqa: ANN401  # whatever it is
        self._factory = factory
        self._layers = layers
        # A factory may also make classes, which are not to be kept for ever.
        self._derived: Callable[[Any], Any] = lru_cache(maxsize=16)(layers.derived)

    def __get__(self, view: object, owner: type | None = None) -> Callable[..., Any]:
        bind = getattr(type(self._factory), "__get__", None)
        factory = bind(self._factory, view, owner) if bind else self._factory
        return partial(self._make, factory, getattr(view, "_otel_failures", None))

    def _make(
        self,
        factory: Callable[..., Any],
        failures: Any,  # noqa: ANN401  # of the view, if it has some
        /,
        *arguments: Any,
        **keywords: Any,
    ) -> Any:  # noqa: ANN401  # the application's
        made = factory(*arguments, **keywords)
        with Fuse(failures):
            if not self._layers.is_laid_over(made):
                made.__class__ = self._derived(type(made))
                self._layers.begin(made, *arguments, **keywords)
        return made


# --- Coroutines ------------------------------------------------------------------------------


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


class Watcher(Protocol):
    """Learns of cancellations."""

    def cancelled(self) -> None:
        """Learn that a `CancelledError` is about to be thrown into the coroutine."""

    def went_on(self) -> None:
        """Learn that, after a `CancelledError`, the coroutine waits for something again."""

    def abandoned(self) -> None:
        """Learn that nobody awaits the coroutine any more: its event loop is closed."""


class CancellationWatch(Generic[T]):
    """Awaits a coroutine, and says when `CancelledError` is thrown into it.

    A handler that is cancelled cleans up, and awaits, before the error leaves it. By then a server
    that shuts down looks like a peer that is gone (aiohttp 3.14).
    """

    __slots__ = ("_coroutine", "_watcher")

    def __init__(self, coroutine: Coroutine[Any, Any, T], watcher: Watcher) -> None:
        """Watch `coroutine` when it is awaited, and report to `watcher`."""
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

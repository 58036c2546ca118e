"""Providers that break in one place, around the SDK's, and a log that does."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from opentelemetry import metrics, trace

from tests.support.log import LIBRARY

SPAN_CALLS: Final = [name for name in vars(trace.Span) if not name.startswith("_")]


class RefusalError(Exception):
    """What a bridge raises that does not do what it is asked for."""


def _refusing(call: str) -> Callable[..., NoReturn]:
    def method(*_: Any, **__: Any) -> NoReturn:
        raise RefusalError(call)

    return method


def _handing_on(call: str) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any, **keywords: Any) -> Any:
        return getattr(self.real, call)(*arguments, **keywords)

    return method


def bridged(refused: set[str]) -> type[Any]:
    """A class of spans that hand everything on to one of the SDK's, except for these calls."""
    members: dict[str, Any] = {"__init__": lambda self, real: setattr(self, "real", real)}
    for name in SPAN_CALLS:
        members[name] = (_refusing if name in refused else _handing_on)(name)
    return type("BridgedSpan", (trace.Span,), members)


class BridgeTracerProvider(trace.TracerProvider, trace.Tracer):
    """A vendor's bridge: its tracer refuses spans of some names, its spans refuse some calls."""

    def __init__(
        self,
        provider: trace.TracerProvider,
        *,
        refuses: set[str] = frozenset(),  # type: ignore[assignment]  # it is only read
        starts: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._tracer = provider.get_tracer("bridge")
        self._class = bridged(refuses)
        self._starts = starts

    def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:
        return self

    def start_span(self, name: str, *arguments: Any, **keywords: Any) -> trace.Span:
        if not self._starts(name):
            raise RefusalError(f"no span {name}")
        span: trace.Span = self._class(self._tracer.start_span(name, *arguments, **keywords))
        return span

    def start_as_current_span(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


class BrokenTracerProvider(trace.TracerProvider):
    """Has no tracer to give."""

    def get_tracer(self, *_: Any, **__: Any) -> NoReturn:
        raise RefusalError("no tracer")


class _Histogram(metrics.NoOpHistogram):
    def record(self, *_: Any, **__: Any) -> NoReturn:
        raise RefusalError("no value")


class _Unrecordable(metrics.NoOpMeter):
    """Takes no value that is recorded; what is observed it leaves alone."""

    def create_histogram(self, name: str, *_: Any, **__: Any) -> metrics.Histogram:
        return _Histogram(name)


class _Uncreatable(metrics.NoOpMeter):
    def __getattribute__(self, name: str) -> Any:
        if name.startswith("create_"):
            return _refusing(name)
        return super().__getattribute__(name)


class BrokenMeterProvider(metrics.MeterProvider):
    """Its meters refuse what `broken` says, or it has none."""

    def __init__(self, broken: str) -> None:
        self._broken = broken

    def get_meter(self, name: str, *_: Any, **__: Any) -> metrics.Meter:
        if self._broken == "record":
            return _Unrecordable(name)
        if self._broken == "create":
            return _Uncreatable(name)
        raise RefusalError("no meter")


class RaisingHandler(logging.Handler):
    """A handler that raises, for the records that it is asked to."""

    def __init__(self, *levels: int) -> None:
        super().__init__()
        self._levels = levels
        self.asked = 0

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno in self._levels:
            self.asked += 1
            raise RefusalError(record.levelname)


@contextmanager
def logging_to(handler: logging.Handler) -> Iterator[None]:
    """The log of the library goes to this handler, too, and to it first."""
    logger = logging.getLogger(LIBRARY)
    logger.handlers.insert(0, handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)

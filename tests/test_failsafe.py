"""No exception of ours passes the fuse, and whatever is not ours to stop does."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from strawberry_ws_otel._failsafe import Fuse
from tests.conftest import LIBRARY, LogKeeper

pytestmark = pytest.mark.internal_error


class OwnError(Exception):
    pass


OURS = [
    ValueError("bad"),
    OwnError(),
    MemoryError(),
    RecursionError(),
    StopIteration(),
    StopAsyncIteration(),
    TimeoutError(),
    ConnectionResetError(),
    ExceptionGroup("several", [ValueError()]),
]
NOT_OURS = [
    KeyboardInterrupt(),
    SystemExit(1),
    asyncio.CancelledError(),
    GeneratorExit(),
    BaseExceptionGroup("several", [KeyboardInterrupt()]),
]


@contextmanager
def handling(handler: logging.Handler | logging.Filter) -> Iterator[None]:
    """The library's log has this handler, or filter."""
    logger = logging.getLogger(LIBRARY)
    logger.addFilter(handler) if isinstance(handler, logging.Filter) else logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeFilter(handler)
        if isinstance(handler, logging.Handler):
            logger.removeHandler(handler)


@pytest.mark.parametrize("error", OURS, ids=repr)
def test_an_exception_is_swallowed_and_logged_whole(
    error: Exception, library_log: LogKeeper
) -> None:
    fuse = Fuse()
    with fuse:
        raise error
    assert fuse.blown
    (record,) = library_log.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert record.exc_info[2] is not None
    assert record.getMessage() == (
        "Telemetry failed and is off for this connection, operation or instrument;"
        " the conversation goes on untouched"
    )


def descend() -> None:
    descend()


def test_a_stack_that_is_really_exhausted_is_survived(library_log: LogKeeper) -> None:
    with Fuse():
        descend()
    assert [record.exc_info and record.exc_info[0] for record in library_log.records] == [
        RecursionError
    ]


@pytest.mark.parametrize("error", NOT_OURS, ids=repr)
def test_what_is_not_ours_passes_and_is_not_logged(
    error: BaseException, library_log: LogKeeper
) -> None:
    fuse = Fuse()
    with pytest.raises(type(error)) as raised, fuse:
        raise error
    assert raised.value is error
    assert not fuse.blown
    assert not library_log.records


def test_nothing_raised_is_nothing_logged(library_log: LogKeeper) -> None:
    fuse = Fuse()
    with fuse:
        pass
    assert not fuse.blown
    assert not library_log.records


def test_only_the_first_exception_is_logged(library_log: LogKeeper) -> None:
    fuse = Fuse()
    for _ in range(3):
        with fuse:
            raise ValueError
    assert len(library_log.records) == 1


def test_a_blown_fuse_still_lets_pass_what_is_not_ours() -> None:
    fuse = Fuse()
    with fuse:
        raise ValueError
    with pytest.raises(KeyboardInterrupt), fuse:
        raise KeyboardInterrupt


def test_each_fuse_blows_for_itself(library_log: LogKeeper) -> None:
    one, other = Fuse(), Fuse()
    with one:
        raise ValueError
    assert (one.blown, other.blown) == (True, False)
    with other:
        raise ValueError
    assert len(library_log.records) == 2


def test_a_fuse_may_be_entered_within_itself(library_log: LogKeeper) -> None:
    fuse, passed = Fuse(), []
    with fuse:
        with fuse:
            raise ValueError
        passed.append("the inner one stops it")
    assert passed
    assert len(library_log.records) == 1


class RaisingHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OwnError


class RaisingFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise OwnError


@pytest.mark.parametrize("handler", [RaisingHandler(), RaisingFilter()], ids=type)
def test_a_log_that_raises_is_survived_and_not_asked_again(
    handler: logging.Handler | logging.Filter,
) -> None:
    fuse = Fuse()
    with handling(handler):
        with fuse:
            raise ValueError
        with fuse:
            raise ValueError
    assert fuse.blown


class InterruptedHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise KeyboardInterrupt


def test_an_interrupt_inside_the_log_is_not_ours_to_stop() -> None:
    with handling(InterruptedHandler()), pytest.raises(KeyboardInterrupt), Fuse():
        raise ValueError

"""No exception of ours passes the fuse, and whatever is not ours to stop does."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from strawberry_ws_otel._fuse import (
    MAX_KINDS,
    RECORDS_PER_MINUTE,
    FailureLog,
    Fuse,
    Fuses,
    RecordRate,
)
from tests.support.clock import Clock
from tests.support.log import LogKeeper, RaisingHandler, handling

pytestmark = pytest.mark.internal_error

ROOT: Final = Path(__file__).parents[2]


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


@pytest.mark.parametrize("error", OURS, ids=repr)
def test_an_exception_is_swallowed_and_logged_whole(
    error: Exception, library_log: LogKeeper
) -> None:
    fuse = Fuse(signal="the spans of a.Provider")
    with fuse:
        raise error
    assert fuse.blown
    (record,) = library_log.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert record.exc_info[2] is not None
    assert record.getMessage() == (
        f"Telemetry failed in the spans of a.Provider: {named(error)}; it is off for this"
        " connection, operation or instrument, and the conversation goes on untouched"
    )


def named(error: Exception) -> str:
    """The class of an error and what it says, and those of the first one in a group."""
    cls = type(error)
    module = "" if cls.__module__ == "builtins" else f"{cls.__module__}."
    said = f"{module}{cls.__qualname__}" + (f": {error}" if str(error) else "")
    if isinstance(error, ExceptionGroup):
        said += f" (raised first: {named(error.exceptions[0])})"
    return said


class MuteError(Exception):
    def __str__(self) -> str:
        raise OwnError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MuteError(), "tests.unit.test_fuse.MuteError;"),
        (ValueError("a" * 1000), f"ValueError: {'a' * 512};"),
        (ValueError("\ud800"), "ValueError: ?;"),
    ],
    ids=["that cannot speak", "of any length", "that cannot be encoded"],
)
def test_the_log_survives_an_exception(error: Exception, said: str, library_log: LogKeeper) -> None:
    with Fuse():
        raise error
    (record,) = library_log.records
    assert record.getMessage().startswith(f"Telemetry failed in the library: {said} it is off")


def test_the_headline_names_what_others_have_wrapped(library_log: LogKeeper) -> None:
    with Fuse(FailureLog(), "the spans of a.Provider"):
        raise OwnError("cannot\nexport") from OSError("disk full")
    (record,) = library_log.records
    assert record.getMessage().startswith(
        "Telemetry failed in the spans of a.Provider: tests.unit.test_fuse.OwnError: cannot export"
        " (raised first: OSError: disk full); it is off"
    )


def test_what_is_refused_is_warned_of_and_blows_nothing(library_log: LogKeeper) -> None:
    fuse, other = Fuse(FailureLog(), "the spans of a.Provider"), Fuse(FailureLog())
    error = OwnError("not yet")
    for _ in range(2):
        fuse.refuse("add_link", error)
    fuse.refuse("add_event", error)
    other.refuse("add_link", error)
    said = "which raised tests.unit.test_fuse.OwnError: not yet"
    assert [(record.levelno, record.getMessage()) for record in library_log.records] == [
        (logging.WARNING, f"Telemetry leaves out add_link() in the spans of a.Provider, {said}"),
        (logging.WARNING, f"Telemetry leaves out add_event() in the spans of a.Provider, {said}"),
        (logging.WARNING, f"Telemetry leaves out add_link() in the library, {said}"),
    ]
    assert (fuse.blown, other.blown) == (False, False)


def test_a_fuse_without_a_log_to_share_warns_for_itself(library_log: LogKeeper) -> None:
    Fuse().refuse("add_link", OwnError())
    assert len(library_log.records) == 1


def test_a_warning_is_logged_once_for_each_message(library_log: LogKeeper) -> None:
    log, other = FailureLog(), FailureLog()
    for whose in ("one", "two"):
        log.warn_once("%s cannot be watched", whose)
    log.warn_once("%s cannot be heard", "one")
    other.warn_once("%s cannot be watched", "three")
    assert [(record.levelno, record.getMessage()) for record in library_log.records] == [
        (logging.WARNING, "one cannot be watched"),
        (logging.WARNING, "one cannot be heard"),
        (logging.WARNING, "three cannot be watched"),
    ]


SIGNALS = {
    # a fuse, and what the log calls it
    "library": "the library",
    "spans": "the spans of a.Provider",
    "metrics": "the metrics of b.Provider",
    "log": "the log of closes",
}


@pytest.mark.parametrize("signal", SIGNALS)
def test_each_signal_fails_for_itself(signal: str, library_log: LogKeeper) -> None:
    fuses = Fuses(FailureLog(), SIGNALS["spans"], SIGNALS["metrics"])
    with getattr(fuses, signal):
        raise OwnError
    assert {name for name in SIGNALS if getattr(fuses, name).blown} == {signal}
    (record,) = library_log.records
    assert record.getMessage().startswith(f"Telemetry failed in {SIGNALS[signal]}: ")


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
        fuse.refuse("add_link", ValueError())
    assert fuse.blown


class InterruptedHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise KeyboardInterrupt


def test_an_interrupt_inside_the_log_is_not_ours_to_stop() -> None:
    with handling(InterruptedHandler()), pytest.raises(KeyboardInterrupt), Fuse():
        raise ValueError


# --- How often a log may say it -----------------------------------------------------------------


def test_kinds_beyond_the_first_hundred_share_one_bound(clock: Clock) -> None:
    rate = RecordRate()
    for number in range(MAX_KINDS):
        assert rate.admit(str(number)) == 0
    further = [rate.admit(str(number)) for number in range(MAX_KINDS, 2 * MAX_KINDS)]
    assert further == [0] * RECORDS_PER_MINUTE + [None] * (MAX_KINDS - RECORDS_PER_MINUTE)
    assert rate.admit("0") == 0, "an early one keeps its own"
    clock.passes(60.0)
    assert rate.admit("new") == MAX_KINDS - RECORDS_PER_MINUTE


@pytest.mark.usefixtures("hasty_threads")
def test_nothing_is_lost_between_threads(clock: Clock) -> None:
    rate = RecordRate()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(rate.admit, ["kind"] * 4000))
    assert answers.count(0) == RECORDS_PER_MINUTE
    clock.passes(60.0)
    assert rate.admit("kind") == 4000 - RECORDS_PER_MINUTE


def test_a_process_with_another_id_has_a_lock_of_its_own_and_counts_on(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = RecordRate()
    rate.admit("kind")
    admitted: list[int | None] = []
    child = threading.Thread(
        target=lambda: admitted.extend(rate.admit("kind") for _ in range(10)), daemon=True
    )
    with rate._lock:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        child.start()
        child.join(timeout=20)
    assert admitted == [0] * 9 + [None]


PROGRAM: Final = """
import os, signal, threading
from strawberry_ws_otel._fuse import RecordRate

rate, held = RecordRate(), threading.Event()

def hold():
    with rate._lock:
        held.set()
        threading.Event().wait()

rate.admit("kind")
threading.Thread(target=hold, daemon=True).start()
held.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    admitted = [rate.admit("kind") for _ in range(12)]
    os._exit(0 if admitted == [0] * 9 + [None] * 3 else 1)
os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) % 256)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_the_child_of_a_fork_goes_on_though_a_thread_of_its_parent_held_the_lock() -> None:
    # Later versions warn of every fork that leaves a thread behind: that is what is tried.
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(command, cwd=ROOT, timeout=60, check=False)  # noqa: S603  # the program above
    assert done.returncode == 0


def test_a_log_says_how_many_failures_of_a_class_it_has_left_out(
    clock: Clock, library_log: LogKeeper
) -> None:
    log = FailureLog()
    for error in [ValueError()] * (RECORDS_PER_MINUTE + 2) + [KeyError()]:
        Fuse(log).blow(error)
    assert len(library_log.records) == RECORDS_PER_MINUTE + 1
    clock.passes(60.0)
    Fuse(log).blow(ValueError())
    *_, record = library_log.records
    assert record.getMessage().endswith("; 2 more failures like it were not logged")

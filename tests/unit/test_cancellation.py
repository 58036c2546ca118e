"""Watching for a cancellation changes nothing about what is watched."""

import asyncio
import gc
import sys
import traceback
import types
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextlib import suppress
from itertools import product
from typing import Any

import pytest

from strawberry_ws_otel._strawberry.layers import CancellationWatch
from tests.support.event_loop import Run

Body = Callable[[], Coroutine[Any, Any, Any]]
Step = Callable[[Coroutine[Any, Any, Any]], Any]
Way = Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, Any]]


class OwnError(Exception):
    pass


@types.coroutine
def pause(value: object = None) -> Generator[object, Any, Any]:
    """Suspend the coroutine, as a future would, and return what it is resumed with."""
    return (yield value)


class Recorder:
    """Keeps the cancellations that are reported to it."""

    def __init__(self) -> None:
        self.order: list[str] = []

    def cancelled(self) -> None:
        self.order.append("cancelled")

    def went_on(self) -> None:
        self.order.append("went on")

    def abandoned(self) -> None:
        self.order.append("abandoned")

    async def watch(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await CancellationWatch(coroutine, self)


async def bare(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await coroutine


async def watched(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await CancellationWatch(coroutine, Recorder())


# --- The same as awaiting the coroutine itself -----------------------------------------------


async def returns_at_once() -> str:
    return "at once"


async def returns_later() -> None:
    await pause()


async def raises_at_once() -> None:
    raise OwnError("at once")


async def asks_and_reports() -> tuple[Any, Any]:
    return await pause("first"), await pause("second")


async def catches_and_returns() -> str:
    try:
        return f"resumed with {await pause()}"
    except BaseException as error:  # noqa: BLE001  # whatever is thrown
        return f"caught {error!r}"


async def catches_and_goes_on() -> tuple[Any, Any]:
    caught = None
    try:
        await pause("first")
    except BaseException as error:  # noqa: BLE001  # whatever is thrown
        caught = repr(error)
    return caught, await pause("second")


async def catches_and_raises_another() -> None:
    try:
        await pause()
    except BaseException as error:
        raise OwnError("another") from error


async def raises_another_while_it_cleans_up() -> None:
    try:
        await pause()
    finally:
        raise OwnError("cleaning up")


async def cleans_up_and_waits() -> Any:
    try:
        return await pause("first")
    finally:
        await pause("cleaning up")


async def records_what_is_being_handled() -> tuple[Any, Any]:
    with suppress(BaseException):
        await pause()
    return sys.exception(), await pause("handled")


async def raises_stop_iteration() -> None:
    await pause()
    raise StopIteration("not a result")


async def raises_generator_exit() -> None:
    await pause()
    raise GeneratorExit


BODIES: list[Body] = [
    returns_at_once,
    raises_at_once,
    asks_and_reports,
    catches_and_returns,
    catches_and_goes_on,
    catches_and_raises_another,
    raises_another_while_it_cleans_up,
    cleans_up_and_waits,
    records_what_is_being_handled,
    raises_stop_iteration,
    raises_generator_exit,
]


def send(value: object) -> Step:
    return lambda coroutine: coroutine.send(value)


def throw(error: type[BaseException]) -> Step:
    return lambda coroutine: coroutine.throw(error("thrown"))


def close(coroutine: Coroutine[Any, Any, Any]) -> Any:
    coroutine.close()
    return "closed"


STEPS: dict[str, Step] = {
    "a value": send(5),
    "an error": throw(OwnError),
    "a cancellation": throw(asyncio.CancelledError),
    "an interrupt": throw(KeyboardInterrupt),
    "a generator's exit": throw(GeneratorExit),
    "the end": close,
}


def describe(error: BaseException | None) -> Any:
    """An exception with all that it carries, as a value that compares."""
    if error is None:
        return None
    return (
        type(error),
        # "coroutine ignored GeneratorExit", and the generator inside the watch is no coroutine.
        str(error).replace("generator ignored", "coroutine ignored"),
        describe(error.__cause__),
        describe(error.__context__),
        error.__suppress_context__,
    )


def transcript(way: Way, body: Body, steps: Sequence[str]) -> list[Any]:
    """What comes out of a coroutine that is driven by these steps, to its end."""
    coroutine, out = way(body()), []
    try:
        out.append(coroutine.send(None))
        out.extend(STEPS[step](coroutine) for step in steps)
    except StopIteration as stop:
        out.append(("returned", stop.value))
    except BaseException as error:  # noqa: BLE001  # it is what is compared
        out.append(("raised", describe(error)))
    with suppress(RuntimeError):
        coroutine.close()
    return out


SCRIPTS = list(product(STEPS, STEPS))


@pytest.mark.parametrize("body", BODIES)
def test_whatever_is_sent_or_thrown_the_same_comes_out(body: Body) -> None:
    ours = {steps: transcript(watched, body, steps) for steps in SCRIPTS}
    assert ours == {steps: transcript(bare, body, steps) for steps in SCRIPTS}


def frames(way: Way) -> list[str]:
    """The functions in the traceback of an error, except for the watch's own."""

    async def inner() -> None:
        await pause()

    async def outer() -> None:
        await inner()

    coroutine = way(outer())
    coroutine.send(None)
    with pytest.raises(OwnError) as raised:
        coroutine.throw(OwnError())
    stack = traceback.extract_tb(raised.value.__traceback__)
    return [frame.name for frame in stack if frame.name not in {"__await__", "bare", "watched"}]


def test_the_traceback_leads_to_the_same_place() -> None:
    assert frames(watched) == frames(bare)
    assert frames(watched)[-3:] == ["outer", "inner", "pause"]


def test_a_coroutine_that_was_closed_before_is_closed_in_silence() -> None:
    """The interpreter closes what an event loop leaves behind in any order."""
    recorded, inner = Recorder(), returns_later()
    coroutine = recorded.watch(inner)
    coroutine.send(None)
    inner.close()
    coroutine.close()
    assert recorded.order == ["abandoned"]


def test_an_exception_is_passed_on_as_it_is() -> None:
    error = OwnError()

    async def fails() -> None:
        raise error

    with pytest.raises(OwnError) as raised:
        watched(fails()).send(None)
    assert raised.value is error


class Held:
    """Something that a handler holds while it runs."""


def is_freed_when_cancelled(way: Way) -> bool:
    """Whether what a coroutine held is free as soon as its cancellation is over."""
    held: list[weakref.ref[Held]] = []

    async def holds() -> None:
        something = Held()
        held.append(weakref.ref(something))
        await pause()

    coroutine = way(holds())
    coroutine.send(None)
    with suppress(asyncio.CancelledError):
        coroutine.throw(asyncio.CancelledError())
    del coroutine
    return held[0]() is None


@pytest.fixture
def no_garbage_collector() -> Generator[None, None, None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("way", [bare, watched])
def test_what_a_cancelled_coroutine_held_is_freed_at_once(
    way: Way, no_garbage_collector: None
) -> None:
    assert is_freed_when_cancelled(way)


# --- What is recorded ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "times"),
    [
        (["a value", "a value"], 0),
        (["an error"], 0),
        (["an interrupt"], 0),
        (["a generator's exit"], 0),
        (["the end"], 0),
        (["a cancellation"], 1),
        (["a value", "a cancellation"], 1),
        (["a cancellation", "a cancellation"], 2),
        (["an error", "a cancellation"], 1),
    ],
)
def test_each_cancellation_is_recorded_and_nothing_else(steps: list[str], times: int) -> None:
    recorded = Recorder()
    transcript(recorded.watch, catches_and_goes_on, steps)
    assert recorded.order.count("cancelled") == times


@pytest.mark.parametrize(
    ("steps", "times"),
    [
        (["a value", "a value"], 0),
        (["an error"], 0),
        (["a cancellation"], 1),
        (["a cancellation", "an error"], 1),
        (["a cancellation", "a value"], 1),
        (["a cancellation", "a value", "a cancellation"], 1),
    ],
)
def test_a_coroutine_that_goes_on_after_a_cancellation_is_recorded(
    steps: list[str], times: int
) -> None:
    recorded = Recorder()
    transcript(recorded.watch, catches_and_goes_on, steps)
    assert recorded.order.count("went on") == times


def test_a_cancellation_that_the_coroutine_makes_itself_is_not_recorded() -> None:
    recorded = Recorder()

    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        recorded.watch(cancels_itself()).send(None)
    assert recorded.order == []


def test_a_cancellation_is_recorded_before_the_coroutine_sees_it() -> None:
    recorded = Recorder()

    async def sees() -> None:
        try:
            await pause()
        except asyncio.CancelledError:
            recorded.order.append("seen")

    coroutine = recorded.watch(sees())
    coroutine.send(None)
    with pytest.raises(StopIteration):
        coroutine.throw(asyncio.CancelledError())
    assert recorded.order == ["cancelled", "seen"]


# --- On an event loop ------------------------------------------------------------------------

both_loops = pytest.mark.parametrize("run", ["asyncio", "uvloop"], indirect=True)


async def forever() -> None:
    await asyncio.Event().wait()


async def cancelled_by_a_task(recorded: Recorder) -> None:
    task = asyncio.create_task(recorded.watch(forever()))
    await asyncio.sleep(0)
    task.cancel("why")
    with pytest.raises(asyncio.CancelledError, match="why"):
        await task
    assert task.cancelled()


async def cancelled_by_a_timeout(recorded: Recorder) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await recorded.watch(forever())
    current = asyncio.current_task()
    assert current is not None
    assert not current.cancelling()


async def cancelled_by_wait_for(recorded: Recorder) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(recorded.watch(forever()), 0.001)


async def share_a_group(*coroutines: Coroutine[Any, Any, Any]) -> None:
    async with asyncio.TaskGroup() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)


async def cancelled_by_a_group(recorded: Recorder) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await share_a_group(recorded.watch(forever()), raises_at_once())
    assert isinstance(raised.value.exceptions[0], OwnError)


async def cancelled_outside_a_shield(recorded: Recorder) -> None:
    inner = asyncio.create_task(asyncio.sleep(0, "done"))
    task = asyncio.create_task(recorded.watch(bare(shielded(inner))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await inner == "done"


async def shielded(inner: Awaitable[Any]) -> Any:
    return await asyncio.shield(inner)


CANCELLATIONS = [
    cancelled_by_a_task,
    cancelled_by_a_timeout,
    cancelled_by_wait_for,
    cancelled_by_a_group,
    cancelled_outside_a_shield,
]


@both_loops
@pytest.mark.parametrize("cancels", CANCELLATIONS)
def test_a_cancellation_is_recorded_once_whoever_cancels(
    cancels: Callable[[Recorder], Coroutine[Any, Any, None]], run: Run[Any]
) -> None:
    recorded = Recorder()
    run(cancels(recorded))
    assert recorded.order == ["cancelled"]


async def works_in_the_background(recorded: Recorder) -> list[Any]:
    async def works() -> list[Any]:
        async with asyncio.timeout(60):
            return [await asyncio.sleep(0, 1), await asyncio.to_thread(lambda: 2)]

    return [*await recorded.watch(works()), await recorded.watch(bare(works()))]


@both_loops
def test_what_is_not_cancelled_is_not_recorded(run: Run[Any]) -> None:
    recorded = Recorder()
    assert run(works_in_the_background(recorded)) == [1, 2, [1, 2]]
    assert recorded.order == []


async def refuses_the_first_cancellation(recorded: Recorder) -> str:
    async def refuses() -> str:
        with suppress(asyncio.CancelledError):
            await forever()
        await asyncio.sleep(0)
        return "after all"

    task = asyncio.create_task(recorded.watch(refuses()))
    await asyncio.sleep(0)
    task.cancel()
    result: str = await task
    return result


@both_loops
def test_a_coroutine_may_refuse_to_be_cancelled(run: Run[Any]) -> None:
    recorded = Recorder()
    assert run(refuses_the_first_cancellation(recorded)) == "after all"
    assert recorded.order == ["cancelled", "went on"]


async def test_each_time_that_it_goes_on_is_recorded() -> None:
    recorded = Recorder()

    async def waits_while_and_after_it_is_cancelled() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0)
        await asyncio.sleep(0)

    await recorded.watch(waits_while_and_after_it_is_cancelled())
    assert recorded.order == ["cancelled", "went on", "went on"]

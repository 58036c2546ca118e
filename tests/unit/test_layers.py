"""A class, a factory and a coroutine that are recorded do what they did."""

import asyncio
import gc
import sys
import traceback
import types
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import product
from typing import Any, Generic, TypeVar

import pytest
from strawberry.aiohttp.views import AiohttpWebSocketAdapter
from strawberry.http.async_base_view import AsyncWebSocketAdapter
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
)
from strawberry.subscriptions.protocols.graphql_ws.handlers import BaseGraphQLWSHandler

from strawberry_ws_otel._fuse import FailureLog
from strawberry_ws_otel._strawberry.adapter import ADAPTER_LAYER
from strawberry_ws_otel._strawberry.handlers import HANDLER_LAYERS
from strawberry_ws_otel._strawberry.layers import (
    CoroutineProxy,
    RecordedFactory,
    RecordingLayer,
    is_derived,
    watch_cancellation,
)
from tests.support.event_loop import Run
from tests.support.log import LogKeeper

T = TypeVar("T")


class Thing(Generic[T]):
    """What the host makes."""

    def __init__(self, *arguments: object, **keywords: object) -> None:
        self.made_with = (arguments, keywords)

    def speak(self) -> str:
        return "host"


class Loud(Thing[int]):
    """What the application makes of it."""

    def speak(self) -> str:
        return f"LOUD {super().speak()}"


class Recording(Thing[Any]):
    """What records it."""

    def speak(self) -> str:
        return f"recorded {super().speak()}"


begun: list[tuple[object, ...]] = []


@pytest.fixture(autouse=True)
def _forgetful() -> Iterator[None]:
    yield
    begun.clear()


def begin(*arguments: object, **keywords: object) -> None:
    begun.append((*arguments, keywords))


LAYERS = RecordingLayer("thing_class", Thing, Recording, begin)


class View:
    """What has an attribute for it."""

    def __init__(self, failures: FailureLog | None = None) -> None:
        self._otel_failures = failures


def view_with(value: Any) -> Any:
    return type("Own", (View,), {"thing_class": LAYERS.over(value)})


# --- Over a class ----------------------------------------------------------------------------


def test_a_class_is_derived_under_its_name() -> None:
    derived = LAYERS.over(Loud)
    assert derived.__mro__[:3] == (derived, Recording, Loud)
    names = ("__name__", "__qualname__", "__module__")
    assert [getattr(derived, name) for name in names] == [getattr(Loud, name) for name in names]
    assert derived().speak() == "recorded LOUD host"
    assert begun == []


def test_the_parameters_of_a_class_are_left_aside() -> None:
    assert LAYERS.over(Thing[int]).__mro__[1:3] == (Recording, Thing)


def test_what_has_the_layer_gets_no_second_one() -> None:
    derived = LAYERS.over(Loud)
    own = type("Own", (derived,), {})
    factory = LAYERS.over(partial(Loud))
    assert (LAYERS.over(derived), LAYERS.over(own)) == (derived, own)
    assert LAYERS.over(factory) is factory


def test_only_the_library_s_classes_are_derived() -> None:
    derived = LAYERS.over(Loud)
    assert [is_derived(cls) for cls in (derived, type("Own", (derived,), {}), Loud, Recording)] == [
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("value", [None, "thing", 5, dict, RecordingLayer])
def test_what_makes_nothing_of_the_kind_is_refused(value: Any) -> None:
    with pytest.raises(
        TypeError,
        match=r"^thing_class must be a subclass of Thing, or a callable that makes instances of",
    ):
        LAYERS.over(value)


# --- Over a factory --------------------------------------------------------------------------


def make(*arguments: Any, **keywords: Any) -> Loud:
    return Loud(*arguments, **keywords)


class Maker:
    """A callable object."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Loud:
        return Loud(*arguments, **keywords)


def make_for(view: View, *arguments: Any, **keywords: Any) -> Loud:
    return Loud(view, *arguments, **keywords)


def maker_for(view: View) -> Callable[..., Loud]:
    return partial(Loud, view)


FACTORIES: dict[str, tuple[Any, Callable[[Any], tuple[object, ...]]]] = {
    # what a view has, and what it is called with before the arguments
    "a function": (make_for, lambda view: (view,)),
    "a static method": (staticmethod(make), lambda _: ()),
    "a class method": (classmethod(Loud), lambda view: (type(view),)),
    "a property": (property(maker_for), lambda view: (view,)),
    # Static, as Python 3.14 makes a method of it.
    "a partial": (staticmethod(partial(make, 0)), lambda _: (0,)),
    "a callable object": (Maker(), lambda _: ()),
    "a class as a static method": (staticmethod(Loud), lambda _: ()),
}


@pytest.mark.parametrize("kind", FACTORIES)
def test_what_a_factory_makes_is_recorded(kind: str) -> None:
    value, first = FACTORIES[kind]
    view = view_with(value)()
    made = view.thing_class(1, two=2)
    assert made.speak() == "recorded LOUD host"
    assert made.made_with == ((*first(view), 1), {"two": 2})
    assert type(made).__qualname__ == "Loud"
    assert begun == [(made, 1, {"two": 2})]


def test_a_factory_may_be_asked_by_way_of_the_class() -> None:
    assert view_with(staticmethod(make)).thing_class(1).speak() == "recorded LOUD host"


def test_what_is_recorded_already_is_as_it_was_made() -> None:
    derived = LAYERS.over(Loud)
    made = view_with(staticmethod(derived))().thing_class()
    assert type(made) is derived
    assert begun == []


def test_what_a_factory_makes_of_one_class_is_of_one_class() -> None:
    view = view_with(staticmethod(make))()
    assert type(view.thing_class()) is type(view.thing_class())


def test_classes_that_a_factory_makes_are_not_kept_for_ever() -> None:
    def make_anew() -> Loud:
        made: Loud = type("Own", (Loud,), {})()
        return made

    view = view_with(staticmethod(make_anew))()
    first = weakref.ref(type(view.thing_class()))
    for _ in range(16):
        view.thing_class()
    begun.clear()
    gc.collect()
    assert first() is None


class Fixed(Loud):
    """It stays what it is."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "__class__":
            raise TypeError("it is fixed")
        super().__setattr__(name, value)


@pytest.mark.internal_error
def test_what_cannot_be_recorded_is_as_it_was_made(library_log: LogKeeper) -> None:
    view = view_with(staticmethod(Fixed))(FailureLog())
    made = [view.thing_class(number) for number in range(12)]
    assert [(type(each), each.made_with) for each in made] == [
        (Fixed, ((number,), {})) for number in range(12)
    ]
    assert begun == []
    # The view's log has its bound.
    assert len(library_log.records) == 10


def test_what_a_factory_raises_is_its_own() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        view_with(staticmethod(fail))().thing_class()


def test_a_layer_may_begin_with_nothing() -> None:
    layer = RecordingLayer("thing_class", Thing, Recording)
    own: Any = type("Own", (View,), {"thing_class": layer.over(staticmethod(make))})
    assert own().thing_class(1).speak() == "recorded LOUD host"
    assert isinstance(vars(own)["thing_class"], RecordedFactory)


# --- The layers that there are ---------------------------------------------------------------

KINDS: dict[str, tuple[RecordingLayer, type]] = {
    layer.attribute: (layer, kind)
    for layer, kind in zip(
        (ADAPTER_LAYER, *HANDLER_LAYERS),
        (AiohttpWebSocketAdapter, BaseGraphQLTransportWSHandler, BaseGraphQLWSHandler),
        strict=True,
    )
}


@pytest.mark.parametrize("attribute", KINDS)
def test_an_application_s_class_sees_only_the_classes_of_the_application(attribute: str) -> None:
    layer, kind = KINDS[attribute]
    recorded: list[tuple[str, str]] = []

    class Own(kind):  # type: ignore[misc,valid-type]  # whichever it is
        def __init_subclass__(cls, *, word: str) -> None:
            recorded.append((cls.__name__, word))

    derived = layer.over(Own)
    assert recorded == []

    further: Any = types.new_class("Further", (derived,), {"word": "theirs"})
    assert recorded == [("Further", "theirs")]
    assert layer.over(further) is further


@pytest.mark.parametrize("attribute", KINDS)
def test_a_layer_has_no_public_name_that_the_host_s_class_has_not(attribute: str) -> None:
    layer, kind = KINDS[attribute]
    added = set(dir(layer.over(kind))) - set(dir(kind))
    assert {name for name in added if not name.startswith("_")} == set()
    assert {name for name in added if not name.startswith("__")} == {
        name for name in added if name.startswith("_otel_")
    }


def test_every_adapter_of_the_host_s_may_have_the_layer() -> None:
    assert issubclass(AiohttpWebSocketAdapter, AsyncWebSocketAdapter)
    derived = ADAPTER_LAYER.over(AiohttpWebSocketAdapter)
    assert issubclass(derived, AiohttpWebSocketAdapter)


# --- Over a coroutine ------------------------------------------------------------------------


class Serving:
    """A coroutine of the host's, and what runs instead of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.host: Any = self.serve("the host's")
        self.shown = CoroutineProxy(lambda: self.serve("ours", self.host), self.host)

    async def serve(self, whose: str, inner: Any = None) -> str:
        self.calls.append(f"{whose} begins")
        try:
            return await inner if inner is not None else await self.result()
        except ZeroDivisionError:
            return "caught the error"
        finally:
            self.calls.append(f"{whose} is over")

    async def result(self) -> str:
        await asyncio.sleep(0)
        return "result"


WHOLE = ["ours begins", "the host's begins", "the host's is over", "ours is over"]


async def test_a_proxy_runs_what_runs_instead_in_a_task_and_where_it_is_awaited() -> None:
    for start in (asyncio.create_task, identity):
        serving = Serving()
        assert await start(serving.shown) == "result"
        assert serving.calls == WHOLE


def identity(shown: Any) -> Any:
    return shown


def test_a_proxy_is_closed_wherever_it_stands() -> None:
    begun, fresh = Serving(), Serving()
    assert begun.shown.send(None) is None
    for each in (begun, fresh):
        each.shown.close()
        assert each.host.cr_frame is None
    assert begun.calls == WHOLE
    assert fresh.calls == []


def test_an_error_reaches_a_proxy_wherever_it_stands() -> None:
    begun, fresh = Serving(), Serving()
    begun.shown.send(None)
    with pytest.raises(StopIteration, match="caught the error"):
        begun.shown.throw(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        fresh.shown.throw(ZeroDivisionError())
    assert begun.calls == WHOLE
    assert fresh.calls == []


def test_a_proxy_looks_like_the_host_s() -> None:
    serving = Serving()
    names = ("__name__", "__qualname__", "cr_code", "cr_frame", "cr_running")
    for step in (dict, partial(serving.shown.send, None), serving.shown.close):
        step()
        looks = [[getattr(each, name) for name in names] for each in (serving.shown, serving.host)]
        assert looks[0] == looks[1]


# --- Watching for a cancellation -------------------------------------------------------------

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
        return await watch_cancellation(coroutine, self)


async def bare(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await coroutine


async def watched(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await watch_cancellation(coroutine, Recorder())


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
    return [
        frame.name for frame in stack if frame.name not in {"watch_cancellation", "bare", "watched"}
    ]


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


# --- A coroutine that stands for another ---------------------------------------------------------


def proxy_of(body: Body) -> tuple[CoroutineProxy, Any, list[str]]:
    """A proxy, what it stands for, and when that begins."""
    original, begun_by = body(), []

    def begin_it() -> Coroutine[Any, Any, Any]:
        begun_by.append("begun")
        return bare(original)

    return CoroutineProxy(begin_it, original), original, begun_by


async def by_proxy(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await CoroutineProxy(lambda: bare(coroutine), coroutine)


@pytest.mark.parametrize("body", BODIES)
def test_a_proxy_is_driven_as_what_it_stands_for(body: Body) -> None:
    ours = {steps: transcript(by_proxy, body, steps) for steps in SCRIPTS}
    assert ours == {steps: transcript(bare, body, steps) for steps in SCRIPTS}


def test_a_proxy_looks_like_what_it_stands_for_wherever_that_stands() -> None:
    proxy, original, _ = proxy_of(asks_and_reports)
    names = ("__name__", "__qualname__", "cr_code", "cr_frame", "cr_running")
    for step in (dict, partial(proxy.send, None), proxy.close):
        step()
        looks = [[getattr(each, name) for name in names] for each in (proxy, original)]
        assert looks[0] == looks[1]


def test_what_a_proxy_stands_for_begins_with_the_first_step_and_once() -> None:
    proxy, _, begun_by = proxy_of(asks_and_reports)
    assert begun_by == []
    assert proxy.send(None) == "first"
    assert proxy.send(1) == "second"
    with pytest.raises(StopIteration) as stopped:
        proxy.send(2)
    assert stopped.value.value == (1, 2)
    assert begun_by == ["begun"]


def test_an_error_is_thrown_into_what_has_begun() -> None:
    proxy, _, _ = proxy_of(catches_and_returns)
    proxy.send(None)
    with pytest.raises(StopIteration) as stopped:
        proxy.throw(OwnError("thrown"))
    assert stopped.value.value == "caught OwnError('thrown')"


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_proxy_that_is_closed_closes_what_it_stands_for(*, has_begun: bool) -> None:
    proxy, original, begun_by = proxy_of(returns_later)
    if has_begun:
        proxy.send(None)
    proxy.close()
    assert original.cr_frame is None
    assert begun_by == ["begun"] * has_begun


def test_an_error_that_is_thrown_before_it_begins_is_raised_by_what_it_stands_for() -> None:
    proxy, original, begun_by = proxy_of(returns_later)
    with pytest.raises(OwnError):
        proxy.throw(OwnError())
    assert (original.cr_frame, begun_by) == (None, [])


async def test_a_proxy_is_a_coroutine_for_a_task() -> None:
    proxy, _, _ = proxy_of(lambda: asyncio.sleep(0, "done"))
    task = asyncio.create_task(proxy)
    assert "sleep" in repr(task)
    assert await task == "done"

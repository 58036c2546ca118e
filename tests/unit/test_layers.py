"""A recording layer is laid over a class, or over whatever makes instances of one."""

import asyncio
import gc
import types
import weakref
from collections.abc import Callable, Iterator
from functools import partial
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
from strawberry_ws_otel._strawberry.layers import Layers, RecordedFactory, StandIn, is_derived
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


class Layer(Thing[Any]):
    """What is laid over it."""

    def speak(self) -> str:
        return f"recorded {super().speak()}"


begun: list[tuple[object, ...]] = []


@pytest.fixture(autouse=True)
def _forgetful() -> Iterator[None]:
    yield
    begun.clear()


def begin(*arguments: object, **keywords: object) -> None:
    begun.append((*arguments, keywords))


LAYERS = Layers("thing_class", Thing, Layer, begin)


class View:
    """What has an attribute for it."""

    def __init__(self, failures: FailureLog | None = None) -> None:
        self._otel_failures = failures


def view_with(value: Any) -> Any:
    return type("Own", (View,), {"thing_class": LAYERS.over(value)})


# --- Over a class ----------------------------------------------------------------------------


def test_a_class_is_derived_under_its_name() -> None:
    derived = LAYERS.over(Loud)
    assert derived.__mro__[:3] == (derived, Layer, Loud)
    names = ("__name__", "__qualname__", "__module__")
    assert [getattr(derived, name) for name in names] == [getattr(Loud, name) for name in names]
    assert derived().speak() == "recorded LOUD host"
    assert begun == []


def test_the_parameters_of_a_class_are_left_aside() -> None:
    assert LAYERS.over(Thing[int]).__mro__[1:3] == (Layer, Thing)


def test_what_has_the_layer_gets_no_second_one() -> None:
    derived = LAYERS.over(Loud)
    own = type("Own", (derived,), {})
    factory = LAYERS.over(partial(Loud))
    assert (LAYERS.over(derived), LAYERS.over(own)) == (derived, own)
    assert LAYERS.over(factory) is factory


def test_only_the_library_s_classes_are_derived() -> None:
    derived = LAYERS.over(Loud)
    assert [is_derived(cls) for cls in (derived, type("Own", (derived,), {}), Loud, Layer)] == [
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("value", [None, "thing", 5, dict, Layers])
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
    layers = Layers("thing_class", Thing, Layer)
    own: Any = type("Own", (View,), {"thing_class": layers.over(staticmethod(make))})
    assert own().thing_class(1).speak() == "recorded LOUD host"
    assert isinstance(vars(own)["thing_class"], RecordedFactory)


# --- The layers that there are ---------------------------------------------------------------

KINDS: dict[str, tuple[Layers, type]] = {
    layers.attribute: (layers, kind)
    for layers, kind in zip(
        (ADAPTER_LAYER, *HANDLER_LAYERS),
        (AiohttpWebSocketAdapter, BaseGraphQLTransportWSHandler, BaseGraphQLWSHandler),
        strict=True,
    )
}


@pytest.mark.parametrize("attribute", KINDS)
def test_an_application_s_class_sees_only_the_classes_of_the_application(attribute: str) -> None:
    layers, kind = KINDS[attribute]
    recorded: list[tuple[str, str]] = []

    class Own(kind):  # type: ignore[misc,valid-type]  # whichever it is
        def __init_subclass__(cls, *, word: str) -> None:
            recorded.append((cls.__name__, word))

    derived = layers.over(Own)
    assert recorded == []

    further: Any = types.new_class("Further", (derived,), {"word": "theirs"})
    assert recorded == [("Further", "theirs")]
    assert layers.over(further) is further


@pytest.mark.parametrize("attribute", KINDS)
def test_a_layer_has_no_public_name_that_the_host_s_class_has_not(attribute: str) -> None:
    layers, kind = KINDS[attribute]
    added = set(dir(layers.over(kind))) - set(dir(kind))
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
        self.shown = StandIn(lambda: self.serve("ours", self.host), self.host)

    async def serve(self, whose: str, inner: Any = None) -> str:
        self.calls.append(f"{whose} begins")
        try:
            return await inner if inner is not None else await self.result()
        except ZeroDivisionError:
            return "was told of the error"
        finally:
            self.calls.append(f"{whose} is over")

    async def result(self) -> str:
        await asyncio.sleep(0)
        return "result"


WHOLE = ["ours begins", "the host's begins", "the host's is over", "ours is over"]


async def test_a_stand_in_runs_what_runs_instead_in_a_task_and_where_it_is_awaited() -> None:
    for start in (asyncio.create_task, identity):
        serving = Serving()
        assert await start(serving.shown) == "result"
        assert serving.calls == WHOLE


def identity(shown: Any) -> Any:
    return shown


def test_a_stand_in_is_closed_wherever_it_stands() -> None:
    begun, fresh = Serving(), Serving()
    assert begun.shown.send(None) is None
    for each in (begun, fresh):
        each.shown.close()
        assert each.host.cr_frame is None
    assert begun.calls == WHOLE
    assert fresh.calls == []


def test_an_error_reaches_a_stand_in_wherever_it_stands() -> None:
    begun, fresh = Serving(), Serving()
    begun.shown.send(None)
    with pytest.raises(StopIteration, match="was told of the error"):
        begun.shown.throw(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        fresh.shown.throw(ZeroDivisionError())
    assert begun.calls == WHOLE
    assert fresh.calls == []


def test_a_stand_in_looks_like_the_host_s() -> None:
    serving = Serving()
    names = ("__name__", "__qualname__", "cr_code", "cr_frame", "cr_running")
    for step in (dict, partial(serving.shown.send, None), serving.shown.close):
        step()
        looks = [[getattr(each, name) for name in names] for each in (serving.shown, serving.host)]
        assert looks[0] == looks[1]

"""Handlers of every make: whatever a view names as the class of its handlers serves as always."""

from contextlib import aclosing
from functools import partial
from typing import Any

import pytest
from strawberry.aiohttp.views import AiohttpWebSocketAdapter

from tests.support.applications.conversations import (
    all_ends,
    begin,
    both,
    expected_spans,
    finish,
    one_subscription,
    served_by,
    ticks,
)
from tests.support.clock import stop_clock
from tests.support.expected import (
    CONNECTION,
    connection,
    init,
    recorded,
)
from tests.support.hosting import SINCE_STREAMS
from tests.support.scenarios.model import BOTH
from tests.support.telemetry import Telemetry
from tests.support.views import View

protocols = pytest.mark.parametrize("protocol", BOTH)
Transport: Any = View.graphql_transport_ws_handler_class  # type: ignore[misc]  # it is generic
Legacy: Any = View.graphql_ws_handler_class  # type: ignore[misc]  # it is generic


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


# --- What a view may name --------------------------------------------------------------------


class SetByTheInstance(View):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        view: Any = self
        view.graphql_transport_ws_handler_class = Transport
        view.graphql_ws_handler_class = Legacy


class Partials(View):
    # Static, as Python 3.14 makes methods of them.
    graphql_transport_ws_handler_class = staticmethod(partial(Transport))  # type: ignore[assignment]  # that is the point
    graphql_ws_handler_class = staticmethod(partial(Legacy))  # type: ignore[assignment]  # that is the point


class Functions(View):
    @staticmethod
    def graphql_transport_ws_handler_class(**kwargs: Any) -> Any:  # type: ignore[override]  # that is the point
        return Transport(**kwargs)

    @staticmethod
    def graphql_ws_handler_class(**kwargs: Any) -> Any:  # type: ignore[override]  # that is the point
        return Legacy(**kwargs)


class Methods(View):
    def graphql_transport_ws_handler_class(self, **kwargs: Any) -> Any:  # type: ignore[override]  # that is the point
        assert kwargs["view"] is self
        return Transport(**kwargs)

    def graphql_ws_handler_class(self, **kwargs: Any) -> Any:  # type: ignore[override]  # that is the point
        assert kwargs["view"] is self
        return Legacy(**kwargs)


class Properties(View):
    @property
    def graphql_transport_ws_handler_class(self) -> Any:  # type: ignore[override]  # that is the point
        return Transport

    @property
    def graphql_ws_handler_class(self) -> Any:  # type: ignore[override]  # that is the point
        return Legacy


# --- What its class may be -------------------------------------------------------------------


class Final:
    """No further class may be derived from those that are."""

    closed = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        if Final.closed:
            raise TypeError("final")


class Registered(type):
    """A metaclass that takes only what is declared."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: Any, **kwargs: Any) -> Any:
        return super().__new__(mcs, name, bases, namespace)


class OfAMetaclass(metaclass=Registered):
    pass


class WithSlots:
    __slots__ = ("tenant",)


class ByKeyword:
    """Passes on by keyword what the host passes by position."""

    async def handle(self) -> None:
        begin(self)
        handler: Any = self
        try:
            async for message in handler.websocket.iter_json():
                await handler.handle_message(message=message)
        finally:
            await finish(self)

    async def handle_message(self, message: Any) -> None:
        await super().handle_message(message=message)  # type: ignore[misc]  # the host's

    async def run_operation(self, operation: Any) -> None:
        await super().run_operation(operation=operation)  # type: ignore[misc]  # the host's

    async def handle_async_results(
        self, operation_id: Any, query: Any, operation_name: Any, variables: Any
    ) -> None:
        await super().handle_async_results(  # type: ignore[misc]  # the host's
            operation_id=operation_id,
            query=query,
            operation_name=operation_name,
            variables=variables,
        )


class NoCoroutines:
    """Returns what is to be awaited from functions that are none to be awaited."""

    def handle_message(self, message: Any) -> Any:
        return super().handle_message(message)  # type: ignore[misc]  # the host's

    def run_operation(self, operation: Any) -> Any:
        return super().run_operation(operation)  # type: ignore[misc]  # the host's

    def handle_async_results(self, *args: Any) -> Any:
        return super().handle_async_results(*args)  # type: ignore[misc]  # the host's


class Patched:
    """Puts functions in front of its methods, on the instance."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        handler: Any = self
        for name in ("handle_message", "run_operation", "handle_async_results"):
            if method := getattr(handler, name, None):
                setattr(handler, name, partial(self.call, method))

    async def call(self, method: Any, *args: Any) -> None:
        await method(*args)


class TakesMore:
    """Is made with something more, and hands more on to its methods."""

    def __init__(self, *args: Any, tenant: str = "acme", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tenant = tenant

    async def handle_message(self, message: Any, tenant: str = "") -> str:
        await super().handle_message(message)  # type: ignore[misc]  # the host's
        return tenant

    async def run_operation(self, operation: Any, tenant: str = "") -> str:
        await super().run_operation(operation)  # type: ignore[misc]  # the host's
        return tenant

    async def handle_async_results(self, *args: Any, tenant: str = "") -> str:
        await super().handle_async_results(*args)  # type: ignore[misc]  # the host's
        return tenant


NAMED = (SetByTheInstance, Partials, Functions, Methods, Properties)
LAYERS = (Final, OfAMetaclass, WithSlots, ByKeyword, NoCoroutines, Patched, TakesMore)
VIEWS: dict[str, type[View]] = {view.__name__: view for view in NAMED}
VIEWS |= {layer.__name__: served_by(layer) for layer in LAYERS}
Final.closed = True


class ByItself:
    """Keeps the adapter under a name of its own, and does without the host's methods."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        handler: Any = self
        self.socket = handler.websocket
        del handler.websocket

    async def handle(self) -> None:
        async for message in self.socket.iter_json():
            await self.handle_message(message)

    async def handle_message(self, message: Any) -> None:
        handler: Any = self
        result = {"subscribe": "next", "start": "data"}.get(message["type"])
        if result is None:
            await self.socket.send_json({"type": "connection_ack"})
            return
        payload, id_ = message["payload"], message["id"]
        async with aclosing(
            await handler.schema.stream(payload["query"], payload["variables"])
        ) as results:
            async for each in results:
                await self.socket.send_json(
                    {"id": id_, "type": result, "payload": {"data": each.data}}
                )
        await self.socket.send_json({"id": id_, "type": "complete"})


@SINCE_STREAMS
@protocols
async def test_a_handler_need_not_keep_its_adapter(telemetry: Telemetry, protocol: str) -> None:
    await both(telemetry, served_by(ByItself), one_subscription, protocol)
    assert recorded(telemetry) == [
        connection(protocol, messages=(2, 4), operations=["subscription"]),
        init(),
        ticks(protocol),
    ]


class Later(AiohttpWebSocketAdapter):
    """Has to be awaited for its messages."""

    async def iter_json(self, **options: Any) -> Any:  # type: ignore[override]  # that is the point
        return super().iter_json(**options)


class Awaiting:
    """Does so."""

    async def handle(self) -> None:
        begin(self)
        handler: Any = self
        try:
            async for message in await handler.websocket.iter_json():
                await handler.handle_message(message)
        finally:
            await finish(self)


@protocols
async def test_an_adapter_may_return_what_has_to_be_awaited_for_its_messages(
    telemetry: Telemetry, protocol: str
) -> None:
    class Reading(served_by(Awaiting)):  # type: ignore[misc]  # a class from a call
        websocket_adapter_class = Later

    await both(telemetry, Reading, one_subscription, protocol)
    [connected] = recorded(telemetry, CONNECTION)
    assert connected["attributes"]["websocket.close.outcome"] == "normal"


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@protocols
async def test_all_ends_are_recorded_whatever_makes_the_handler(
    telemetry: Telemetry, view: type[View], protocol: str
) -> None:
    await both(telemetry, view, all_ends, protocol)
    assert recorded(telemetry) == expected_spans(protocol)


async def test_the_view_keeps_the_handler_classes_it_names(telemetry: Telemetry) -> None:
    """A view of the application's that is not recorded is left as it is."""
    view = served_by(TakesMore)
    transport = vars(view)["graphql_transport_ws_handler_class"]
    await both(telemetry, view, all_ends)
    assert vars(view)["graphql_transport_ws_handler_class"] is transport

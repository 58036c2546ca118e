"""Views of applications that do not know the library, written in every way that Python has.

Each function defines the classes anew, and returns what makes a handler of them.
"""

import functools
from abc import ABCMeta
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self

from aiohttp import web
from strawberry.aiohttp.views import AiohttpWebSocketAdapter, GraphQLView
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
)

from tests.support.schema import make_schema

View = GraphQLView[Any, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Maker = Callable[[], Handler]
"""Makes the handler of a route: a view, or a function that makes one."""


def plain() -> Maker:
    return lambda: View(schema=make_schema())


def own_init() -> Maker:
    class Titled(View):
        def __init__(self, title: str) -> None:
            self.title = title
            super().__init__(schema=make_schema(), keep_alive=False)
            self.subtitle = title

    return lambda: Titled("prices")


def own_init_alone() -> Maker:
    """It makes do without the host's `__init__`."""

    class Settled(View):
        protocols = ("graphql-transport-ws",)
        subscription_protocols = protocols  # as 0.319 has it

        def __init__(self) -> None:
            self.schema = make_schema()
            self.graphql_ide = None
            self.multipart_uploads_enabled = False

    return Settled


def own_new() -> Maker:
    class Counted(View):
        made = 0

        def __new__(cls, *_arguments: Any, **_options: Any) -> Self:
            cls.made += 1
            return super().__new__(cls)

    return lambda: Counted(make_schema(), keep_alive=False)


class Sealed(ABCMeta):
    """Makes classes that cannot be hashed, and that nobody may change."""

    def __eq__(cls, other: object) -> bool:
        return cls is other

    __hash__ = None  # type: ignore[assignment]  # on purpose

    def __setattr__(cls, name: str, value: object) -> None:
        if not name.startswith(("_abc_", "__")):
            raise AttributeError(f"{name} is sealed")
        super().__setattr__(name, value)

    def __delattr__(cls, name: str) -> None:
        raise AttributeError(f"{name} is sealed")

    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        return super().__call__(*arguments, **options)


def metaclass() -> Maker:
    class SealedView(View, metaclass=Sealed):
        pass

    return lambda: SealedView(schema=make_schema())


def slots() -> Maker:
    class Slotted(View):
        __slots__ = ("title",)

        def __init__(self) -> None:
            super().__init__(schema=make_schema())
            self.title = "prices"

        def __setattr__(self, name: str, value: object) -> None:
            if name in {"run", "create_websocket_response", "websocket_adapter_class"}:
                raise AttributeError(f"{name} is not yours")
            super().__setattr__(name, value)

    return Slotted


def empty_slots() -> Maker:
    class Slotted(View):
        __slots__ = ()

    return lambda: Slotted(schema=make_schema())


def init_subclass_keywords() -> Maker:
    class Base(View):
        def __init_subclass__(cls, *, area: str, **options: Any) -> None:
            super().__init_subclass__(**options)
            cls.area = area  # type: ignore[attr-defined]  # made here

    class Prices(Base, area="prices"):
        pass

    class Adapter(AiohttpWebSocketAdapter):
        def __init_subclass__(cls, *, area: str, **options: Any) -> None:
            super().__init_subclass__(**options)

    class Adapted(Prices, area="adapted"):
        websocket_adapter_class = Adapter

    return lambda: Adapted(schema=make_schema())


def own_methods() -> Maker:
    """Two classes that override what is recorded, and call each other."""

    class Base(View):
        async def run(self, request: Any, *arguments: Any, **options: Any) -> Any:
            return await super().run(request, *arguments, **options)

        async def create_websocket_response(
            self, request: web.Request, subprotocol: str | None
        ) -> web.WebSocketResponse:
            return await super().create_websocket_response(request, subprotocol)

    class Derived(Base):
        async def run(self, request: Any, *arguments: Any, **options: Any) -> Any:
            return await super().run(request, *arguments, **options)

        async def create_websocket_response(
            self, request: web.Request, subprotocol: str | None
        ) -> web.WebSocketResponse:
            return await super().create_websocket_response(request, subprotocol)

    return lambda: Derived(schema=make_schema())


def run_of_another_kind() -> Maker:
    """What it has as `run` is no function, and binds as it likes."""

    class Runs:
        def __get__(self, view: Any, owner: type | None = None) -> Any:
            return functools.partial(View.run, view)

    class Odd(View):
        run = Runs()

    return lambda: Odd(schema=make_schema())


def run_without_a_view() -> Maker:
    """What it has as `run` is not bound at all."""

    class Served:
        async def __call__(self, request: web.Request) -> Any:
            return await served.run(request)

    class Odd(View):
        run = Served()  # type: ignore[assignment]  # on purpose

    served = View(schema=make_schema())
    return lambda: Odd(schema=make_schema())


def own_call() -> Maker:
    class Called(View):
        async def __call__(self, request: web.Request) -> web.StreamResponse:
            response: web.StreamResponse = await self.run(request)
            return response

    return lambda: Called(schema=make_schema())


def passes_itself_by() -> Maker:
    """It asks for the host's `run` where others ask for their own."""

    class Passing(View):
        async def __call__(self, request: web.Request) -> web.StreamResponse:
            response: web.StreamResponse = await super().run(request)
            return response

    return lambda: Passing(schema=make_schema())


def handler_subclasses() -> Maker:
    class Adapter(AiohttpWebSocketAdapter):
        pass

    class TransportHandler(BaseGraphQLTransportWSHandler[Any, Any]):
        pass

    class Handled(View):
        websocket_adapter_class = Adapter
        graphql_transport_ws_handler_class = TransportHandler

    return lambda: Handled(schema=make_schema())


def factories() -> Maker:
    """What makes an adapter or a handler is no class."""

    class Factory(View):
        @property
        def websocket_adapter_class(self) -> Any:  # type: ignore[override]  # as hosts allow
            return functools.partial(AiohttpWebSocketAdapter)

        @staticmethod
        def graphql_transport_ws_handler_class(**options: Any) -> Any:  # type: ignore[override]
            return BaseGraphQLTransportWSHandler(**options)

    return lambda: Factory(schema=make_schema())


def for_every_request() -> Maker:
    class Fresh(View):
        pass

    def logged_in(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def wrapper(request: web.Request) -> web.StreamResponse:
            return await handler(request)

        return wrapper

    @logged_in
    async def endpoint(request: web.Request) -> web.StreamResponse:
        return await Fresh(schema=make_schema())(request)

    return lambda: endpoint


def class_for_every_request() -> Maker:
    async def endpoint(request: web.Request) -> web.StreamResponse:
        class Fresh(View):
            pass

        return await Fresh(schema=make_schema())(request)

    return lambda: endpoint


def bound_run() -> Maker:
    class Running(View):
        async def run(self, request: Any, *arguments: Any, **options: Any) -> Any:
            return await super().run(request, *arguments, **options)

    return lambda: Running(schema=make_schema()).run


KINDS: Final[dict[str, Callable[[], Maker]]] = {
    kind.__name__.replace("_", " "): kind
    for kind in (
        *(plain, own_init, own_init_alone, own_new, metaclass, slots, empty_slots),
        *(init_subclass_keywords, own_methods, run_of_another_kind, run_without_a_view),
        *(own_call, passes_itself_by, handler_subclasses, factories),
        *(for_every_request, class_for_every_request, bound_run),
    )
}

"""`OTelViewMixin`: the life of a connection around the host's `run`."""

import asyncio
import re
import weakref
from enum import Enum, auto
from functools import partial
from inspect import getattr_static
from typing import Any, ClassVar, Final, Self

from aiohttp import hdrs, web
from opentelemetry.context import Context, attach, get_current
from opentelemetry.util.types import AttributeValue
from strawberry.aiohttp.views import (  # type: ignore[attr-defined]  # see HTTPException
    GraphQLView,
    HTTPException,  # where the view has it from differs between versions
)

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._adapter import recording
from strawberry_ws_otel._bounds import NAME, bounded
from strawberry_ws_otel._cancellation import CancellationWatch
from strawberry_ws_otel._config import OTelConfig, checked
from strawberry_ws_otel._connection import Connection
from strawberry_ws_otel._failsafe import FailureLog, Fuse
from strawberry_ws_otel._propagation import of_request, rebased
from strawberry_ws_otel._scope import Scope, current_scope
from strawberry_ws_otel._socket import RecordedSocket, opened
from strawberry_ws_otel._telemetry import Telemetry
from strawberry_ws_otel._transport import Transport

_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<ip>[^\[\]]+)\]|(?P<name>[^\s\[\]@:/?#]+))(?::(?P<port>[0-9]{0,5}))?"
)
"""A Host header: RFC 9110 7.2, RFC 3986 3.2.2."""

_MAX_PORT: Final = (1 << 16) - 1


class OTelViewMixin:
    """Records every WebSocket of an aiohttp `GraphQLView`, and how it closed.

        class View(OTelViewMixin, GraphQLView):
            otel_config = OTelConfig(capture_document=True)  # optional

    Raises:
        TypeError: at class creation, if the mixin stands behind `GraphQLView`, `otel_config` is no
            `OTelConfig` or `websocket_adapter_class` makes no adapters; at instantiation, if
            there is no `GraphQLView`.
    """

    otel_config: ClassVar[OTelConfig] = OTelConfig()
    """The configuration of the view."""

    _otel_recording: Telemetry | None = None
    _otel_failures: ClassVar[FailureLog] = FailureLog()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the class, and lay the recording layer over its WebSocket adapter."""
        super().__init_subclass__(**kwargs)
        cls._otel_failures = FailureLog()
        checked(cls, cls.otel_config)
        if issubclass(cls, GraphQLView):
            if cls.__mro__.index(GraphQLView) < cls.__mro__.index(OTelViewMixin):
                raise TypeError(
                    f"{cls.__qualname__} would not be recorded: the mixin must stand before the"
                    f" view, class {cls.__name__}(OTelViewMixin, GraphQLView)"
                )
            cls.websocket_adapter_class = recording(getattr_static(cls, "websocket_adapter_class"))

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make the view, and its instruments with it: gauges exist before the first request."""
        if not issubclass(cls, GraphQLView):
            raise TypeError(
                f"{cls.__qualname__} is no GraphQLView: derive it from OTelViewMixin and, after"
                " it, strawberry.aiohttp.views.GraphQLView"
            )
        make = super().__new__
        view = make(cls) if make is object.__new__ else make(cls, *args, **kwargs)
        with Fuse(cls._otel_failures):
            view._otel_telemetry()  # noqa: SLF001  # our own class
        return view

    async def create_websocket_response(self, *args: Any, **kwargs: Any) -> web.WebSocketResponse:
        """Upgrade as the host does, and record the socket from then on."""
        ws: web.WebSocketResponse = await super().create_websocket_response(  # type: ignore[misc]  # the next class's
            *args, **kwargs
        )
        with Fuse(self._otel_failures):
            opened(ws)
        return ws

    async def run(self, request: web.Request, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Run the host's view: a WebSocket is recorded, an HTTP request tells the extension."""
        fuse = Fuse(self._otel_failures)
        socket: RecordedSocket | None = None
        scope: Scope | None = None
        response: object = None
        raised: BaseException | None = None
        before = ours = Context()
        with fuse:
            before = get_current()
            handshake = _handshake(request)
            if handshake is _Handshake.NONE:
                scope = Scope(self._otel_telemetry(), request.headers)
                ours = scope.within(before)
            else:
                scope = socket = _begin(self._otel_telemetry(), fuse, request, before)
                socket.connection.facts.malformed = handshake is _Handshake.MALFORMED
                ours = socket.connection.context
            attach(ours)
        try:
            # The one place that sees every ending.
            host = super().run(request, *args, **kwargs)  # type: ignore[misc]  # the next class's
            response = await (host if socket is None else CancellationWatch(host, socket))
        except BaseException as exception:
            raised = exception
            raise
        else:
            return response
        finally:
            if socket is not None:
                _end(socket, response, raised)
            with fuse:
                # Not detached: an abandoned coroutine is closed in somebody else's context.
                if scope is not None and current_scope() is scope:
                    attach(rebased(get_current(), ours, before))
            del raised

    def _otel_telemetry(self) -> Telemetry:
        """Return what the view records into; an instance may have been given its own config."""
        if self._otel_recording is None or self._otel_recording.config is not self.otel_config:
            self._otel_recording = Telemetry(checked(type(self), self.otel_config))
        return self._otel_recording


class _Handshake(Enum):
    """What a request is to aiohttp, which decides about the upgrade."""

    NONE = auto()
    WELL_FORMED = auto()
    MALFORMED = auto()
    """aiohttp trips over it: a key that is no ASCII."""


class _AnyProtocol(tuple[str, ...]):
    """The subprotocols of a server that knows them all: aiohttp logs those it does not know."""

    __slots__ = ()

    def __contains__(self, _name: object) -> bool:
        return True


_PROBE: Final = web.WebSocketResponse(protocols=_AnyProtocol(), compress=False)
"""It is only asked, never prepared."""


def _handshake(request: web.Request) -> _Handshake:
    """Ask aiohttp whether it would upgrade the request, in a way that logs nothing."""
    if request.headers.get(hdrs.UPGRADE, "").strip().lower() != "websocket":
        return _Handshake.NONE
    try:
        return _Handshake.WELL_FORMED if _PROBE.can_prepare(request).ok else _Handshake.NONE
    except ValueError:
        return _Handshake.MALFORMED


def _begin(
    telemetry: Telemetry, fuse: Fuse, request: web.Request, context: Context
) -> RecordedSocket:
    """Begin the connection of a handshake in `context`."""
    reader = weakref.ref(asyncio.current_task())
    socket = RecordedSocket(telemetry, Transport(request))
    socket.connection = Connection(
        telemetry,
        fuse,
        of_request(telemetry.config, socket.within(context), request.headers, fuse),
        partial(_attributes, request),
        in_reader=lambda: asyncio.current_task() is reader(),
    )
    return socket


def _end(socket: RecordedSocket, response: object, raised: BaseException | None) -> None:
    """End the connection, whatever the host's view returned or raised."""
    connection = socket.connection
    raised = socket.abandonment or raised
    with connection.fuse:
        socket.release()
    with connection.fuse:
        socket.settle(raised)
        if not connection.facts.upgraded and connection.facts.transport_up:
            connection.facts.status = _refusal(response, raised)
    with connection.fuse:
        # An exception leaves the host in the context of the message that it handled.
        connection.conversation.adopt_changes()
        attach(connection.context)
    with connection.fuse:
        connection.ended(raised)
    with connection.fuse:
        socket.forget()


def _attributes(request: web.Request) -> dict[str, AttributeValue | None]:
    """Return what the handshake says about the connection."""
    resource = request.match_info.route.resource
    agent = request.headers.get(hdrs.USER_AGENT)
    peer = request.remote  # Or what a middleware has put there, say out of a header.
    address, port = _server(request)
    return {
        _semconv.URL_PATH: bounded(request.path, NAME),
        _semconv.HTTP_ROUTE: None if resource is None else resource.canonical,
        _semconv.SERVER_ADDRESS: address,
        _semconv.SERVER_PORT: port,
        _semconv.CLIENT_ADDRESS: None if peer is None else bounded(peer, NAME),
        _semconv.USER_AGENT: None if agent is None else bounded(agent, NAME),
    }


def _server(request: web.Request) -> tuple[str | None, int | None]:
    """Return the host and port that the client asked for, as far as they can be read."""
    # Not `request.host`: without the header, older versions of aiohttp ask the resolver.
    match = _AUTHORITY.fullmatch(request.headers.get(hdrs.HOST, ""))
    if match is None:
        return None, None
    port = int(match["port"] or 0) or (443 if request.secure else 80)
    if port > _MAX_PORT:
        return None, None
    return bounded((match["ip"] or match["name"]).lower(), NAME), port


def _refusal(response: object, raised: BaseException | None) -> int | None:
    """Return the HTTP status that a refused handshake was answered with."""
    if isinstance(raised, web.HTTPException):
        return raised.status
    if isinstance(raised, HTTPException):
        return raised.status_code
    if isinstance(raised, TimeoutError):
        return web.HTTPGatewayTimeout.status_code
    if isinstance(raised, Exception):
        return web.HTTPInternalServerError.status_code
    return response.status if isinstance(response, web.StreamResponse) else None

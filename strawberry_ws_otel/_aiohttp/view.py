"""`OTelViewMixin`: serves the requests of a view, and records those that become WebSockets.

`serve` runs around Strawberry's `run`, and sees every connection end. `upgraded` gets the WebSocket
that Strawberry has made. The mixin calls both, and they do not depend on it.
"""

import re
from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from functools import partial
from inspect import getattr_static
from types import MethodType
from typing import Any, ClassVar, Final, Self, cast

from aiohttp import __version__ as aiohttp_version
from aiohttp import hdrs, web
from opentelemetry.context import get_current
from opentelemetry.util.types import AttributeValue
from strawberry.aiohttp.views import GraphQLView, HTTPException  # type: ignore[attr-defined]  # re-exported, from where depends on the version

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._aiohttp.websocket import NotObservableError, Observer, Transport
from strawberry_ws_otel._close import CloseCode, CloseFrame, HandlerEnd
from strawberry_ws_otel._config import OTelConfig, checked
from strawberry_ws_otel._connection import Connection, Request, current_request
from strawberry_ws_otel._current import Activation, Current, current, is_being_cancelled
from strawberry_ws_otel._fuse import FailureLog, Fuse
from strawberry_ws_otel._limits import NAME, bounded
from strawberry_ws_otel._log import CloseLog
from strawberry_ws_otel._recording import Telemetry
from strawberry_ws_otel._strawberry.adapter import ADAPTER_LAYER
from strawberry_ws_otel._strawberry.handlers import HANDLER_LAYERS
from strawberry_ws_otel._strawberry.layers import watch_cancellation
from strawberry_ws_otel._strawberry.setup import SetupCheck

_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<ip>[^\[\]]+)\]|(?P<name>[^\s\[\]@:/?#]+))(?::(?P<port>[0-9]{0,5}))?"
)
"""A Host header: RFC 9110 7.2, RFC 3986 3.2.2."""


_OF_CLASS: Final[Any] = object()
"""Stands for a view without a configuration of its own."""


class OTelViewMixin:
    """Records every WebSocket of an aiohttp `GraphQLView`, and how it closed.

        class View(OTelViewMixin, GraphQLView):
            otel_config = OTelConfig(capture_document=True)  # optional

        View(schema=schema, otel_config=OTelConfig())  # one view may have its own

    Where the `__init__` of a view does not pass the keyword on, set the attribute of the instance.

    Raises:
        TypeError: at class creation, if the mixin stands behind `GraphQLView`, `otel_config` is no
            `OTelConfig` or `websocket_adapter_class` makes no adapters; at instantiation, if
            there is no `GraphQLView` or the keyword `otel_config` is no `OTelConfig`.
    """

    otel_config: OTelConfig = OTelConfig()
    """The configuration of the view, or of all views of the class."""

    _otel_recording: Telemetry | None = None
    """What the views of the class record into, or one view that has an `otel_config` of its own."""

    _otel_failures: ClassVar[FailureLog] = FailureLog()
    _otel_closes: ClassVar[CloseLog] = CloseLog()
    _otel_setup: ClassVar[SetupCheck] = SetupCheck(_otel_failures)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the class, and lay the recording layers over its adapter and its handlers."""
        super().__init_subclass__(**kwargs)
        cls._otel_recording, cls._otel_failures, cls._otel_closes = None, FailureLog(), CloseLog()
        cls._otel_setup = SetupCheck(cls._otel_failures)
        checked(cls, cls.otel_config)
        if issubclass(cls, GraphQLView):
            if cls.__mro__.index(GraphQLView) < cls.__mro__.index(OTelViewMixin):
                raise TypeError(
                    f"{cls.__qualname__} would not be recorded: the mixin must stand before the"
                    f" view, class {cls.__name__}(OTelViewMixin, GraphQLView)"
                )
            for layer in (ADAPTER_LAYER, *HANDLER_LAYERS):
                setattr(cls, layer.attribute, layer.over(getattr_static(cls, layer.attribute)))

    def __new__(
        cls,
        *args: Any,
        otel_config: OTelConfig = _OF_CLASS,  # noqa: ARG004  # `__init__` takes it
        **kwargs: Any,
    ) -> Self:
        """Make the view, and its instruments with it: gauges exist before the first request.

        They report the configuration of the class if it is the view's as metrics are collected.
        """
        if not issubclass(cls, GraphQLView):
            raise TypeError(
                f"{cls.__qualname__} is no GraphQLView: derive it from OTelViewMixin and, after"
                " it, strawberry.aiohttp.views.GraphQLView"
            )
        make = super().__new__
        view = make(cls) if make is object.__new__ else make(cls, *args, **kwargs)
        with Fuse(cls._otel_failures):
            recording = view._otel_telemetry(is_used=False)  # noqa: SLF001  # our own class
            recording.metrics.await_use(view, _has_config_of_class)
        return view

    def __init__(self, *args: Any, otel_config: OTelConfig = _OF_CLASS, **kwargs: Any) -> None:
        """Take the configuration of this view, if it has one of its own, and check the set-up."""
        if otel_config is not _OF_CLASS:
            self.otel_config = checked(type(self), otel_config)
        super().__init__(*args, **kwargs)
        if not _has_config_of_class(self):
            with Fuse(self._otel_failures):
                self._otel_telemetry()
        self._otel_setup.view_made(self)

    async def create_websocket_response(self, *args: Any, **kwargs: Any) -> web.WebSocketResponse:
        """Upgrade as the host does, and observe the socket from then on."""
        make = super().create_websocket_response  # type: ignore[misc]  # the next class's
        ws: web.WebSocketResponse = await make(*args, **kwargs)
        upgraded(ws, self._otel_failures)
        return ws

    async def run(self, request: web.Request, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Run the host's view: record a WebSocket, and tell the extension of an HTTP request."""
        run = partial(super().run, request, *args, **kwargs)  # type: ignore[misc]  # the next class's
        return await serve(request, run, self._otel_telemetry, self._otel_failures)

    def _otel_telemetry(self, *, is_used: bool = True) -> Telemetry:
        """Return what the view records into: new if the configuration or a provider changed."""
        cls, config = type(self), self.otel_config
        owner = cls if config is cls.otel_config else self
        recording = owner._otel_recording  # noqa: SLF001  # our own
        if recording is None or not recording.is_current(config):
            logs = self._otel_failures, self._otel_closes
            recording = Telemetry(checked(cls, config), *logs, is_used=is_used)
            if owner is not cls and cls._otel_recording is not None:
                cls._otel_recording.metrics.forget(self)
            owner._otel_recording = recording  # noqa: SLF001  # our own
        elif is_used:
            recording.metrics.is_used = True
        return recording


def _has_config_of_class(view: OTelViewMixin) -> bool:
    return view.otel_config is type(view).otel_config


class Handshake(Request):
    """A request that becomes a WebSocket."""

    __slots__ = (
        "_abandonment",
        "_alive_when_cancelled",
        "_is_malformed",
        "_observer",
        "_transport",
        "_ws",
    )

    connection: Connection

    def __init__(
        self, request: web.Request, telemetry: Telemetry, fuse: Fuse, *, is_malformed: bool
    ) -> None:
        """Begin the connection, in the running context."""
        super().__init__(telemetry)
        self._is_malformed = is_malformed
        """Whether aiohttp trips over the handshake."""
        self._transport = Transport(request)
        self._ws: web.WebSocketResponse | None = None
        self._observer: Observer | None = None
        self._alive_when_cancelled: bool | None = None
        self._abandonment: GeneratorExit | None = None
        """What an abandoned handler got; it may raise another exception as it cleans up."""
        fuses = telemetry.fuses()
        fuses.library = fuse
        # It is kept as long as the connection. A method takes half the memory of a `partial`.
        attributes = MethodType(_attributes, request)
        self.connection = Connection(
            telemetry, fuses, get_current(), request.headers, attributes, _route(request)
        )

    def websocket_made(self, websocket: object) -> None:
        """Observe the socket of the upgrade; only the first call counts."""
        if self._ws is not None:
            return
        # Or a wrapper of the application's, which has the same attributes.
        self._ws = ws = cast("web.WebSocketResponse", websocket)
        with self.connection.fuse:
            try:
                # If the application has closed it already, the close was not seen.
                self._observer = (
                    None if ws.closed else Observer(ws, self.connection, self._transport)
                )
            except NotObservableError as error:
                self.telemetry.warn_once(
                    "%s cannot be observed (%s): its closes are recorded as `other`, its bytes and"
                    " ERROR messages are not counted; use a response class that accepts attributes",
                    type(ws).__qualname__,
                    error,
                )
        if self._observer is not None and not self._observer.sees_waits:
            self.telemetry.warn_once(
                "%s does not show when a send waits for a full buffer (aiohttp %s):"
                " %s is not recorded",
                type(ws).__qualname__,
                aiohttp_version,
                _semconv.SEND_BLOCKED_TIME,
            )
        with self.connection.fuse:
            self.connection.accepted(ws.ws_protocol, is_observed=self._observer is not None)

    def cancelled(self) -> None:
        """Record whether the client is there when the handler is cancelled.

        Only the first time: further cancellations are those of tasks that it awaits to clean up.
        """
        with self.connection.fuse:
            if self._alive_when_cancelled is None:
                self._alive_when_cancelled = self._transport.alive

    def went_on(self) -> None:
        """Forget the cancellation if it was taken back, as `asyncio.timeout()` does."""
        with self.connection.fuse:
            if not is_being_cancelled():
                self._alive_when_cancelled = None

    def abandoned(self) -> None:
        """Record that the event loop was closed under the handler."""
        self._abandonment = GeneratorExit()

    def ended(self, exception: BaseException | None, response: object) -> None:
        """End the connection: the handler returned `response`, or raised `exception`."""
        connection, exception = self.connection, self._abandonment or exception
        end = HandlerEnd(exception=exception, is_malformed=self._is_malformed)
        # One step may fail, and the others are still taken.
        with connection.fuse:
            if self._observer is not None:
                self._observer.remove()
        with connection.fuse:
            self._report_unseen_close(exception)
        with connection.fuse:
            end = end._replace(
                transport_error=self._transport_error(exception),
                transport_alive=self._was_alive(exception),
                is_cancelled=not isinstance(exception, CancelledError) or is_being_cancelled(),
                status=_refusal(response, exception),
            )
        with connection.fuse:
            connection.ended(end)
        # A cancelled timer of the host keeps the context, and so the handshake, until it is due.
        self._ws = self._observer = None
        del self._transport

    def _report_unseen_close(self, exception: BaseException | None) -> None:
        """Report how the socket closes, if the observer did not see it or there is none."""
        ws, observer = self._ws, self._observer
        if ws is None:
            return
        # Without an observer, `ws.close_code` shows that there was a close frame, not whose.
        if not ws.closed and (observer is not None or ws.close_code is None):
            if exception is None and self._transport.writable:
                # aiohttp closes it in `write_eof()`, after the handler has returned.
                self.connection.close_sent(CloseFrame(CloseCode.NORMAL_CLOSURE))
        elif observer is None or (not observer.close_is_known and ws.exception() is None):
            self.connection.close_unobserved(ws.exception())

    def _transport_error(self, exception: BaseException | None) -> BaseException | None:
        """Return what the transport failed with, or the reader's own timeout."""
        if isinstance(exception, TimeoutError) and self._observer and self._observer.timed_out:
            return exception
        return None if self._ws is None else self._ws.exception()

    def _was_alive(self, exception: BaseException | None) -> bool | None:
        """Whether the transport was alive when the handler was cancelled or raised."""
        if isinstance(exception, Exception):
            return self._transport.writable
        if self._alive_when_cancelled is None:
            return None
        return self._alive_when_cancelled or not self._transport.handler_cancellation


async def serve(
    request: web.Request,
    run: Callable[[], Coroutine[Any, Any, Any]],
    telemetry: Callable[[], Telemetry],
    failures: FailureLog,
) -> Any:  # noqa: ANN401  # the host's
    """Serve a request of a view as the host does.

    `run` is the host's, bound to the view and the request. `telemetry` returns what to record into.
    """
    fuse = Fuse(failures)
    handshake: Handshake | None = None
    activation: Activation | None = None
    response: object = None
    raised: BaseException | None = None
    with fuse:
        recording = telemetry()
        handshake = _handshake(request, recording, fuse)
        if handshake is not None:
            activation = handshake.connection.serving(handshake)
        else:
            plain = Request(recording, request.headers, _route(request))
            activation = Activation(Current(plain, None, current().placement), fuse)
    try:
        host = run()
        response = await (host if handshake is None else watch_cancellation(host, handshake))
    except BaseException as exception:
        raised = exception
        raise
    else:
        return response
    finally:
        if handshake is not None:
            with fuse:
                handshake.ended(raised, response)
        if activation is not None:
            with fuse:
                activation.end()
        # Its traceback leads to this frame.
        del raised


def upgraded(ws: web.WebSocketResponse, failures: FailureLog) -> None:
    """Observe the socket that a view has made of the request which the running code serves."""
    with Fuse(failures):
        request = current_request()
        if request is not None:
            request.websocket_made(ws)


class _AnyProtocol(frozenset[str]):
    """Contains every subprotocol: aiohttp logs a WARNING for a request that offers no known one."""

    def __contains__(self, _name: object) -> bool:
        return True


_PROBE: Final = web.WebSocketResponse(protocols=_AnyProtocol(), compress=False)
"""Is asked whether it could answer a request, and never does."""


def _handshake(request: web.Request, telemetry: Telemetry, fuse: Fuse) -> Handshake | None:
    """Begin the connection of a request that aiohttp would upgrade; None for any other."""
    # Most requests are none, and aiohttp raises an exception for each that it is asked about.
    if request.headers.get(hdrs.UPGRADE, "").strip().lower() != "websocket":
        return None
    is_malformed = False
    try:
        if not _PROBE.can_prepare(request).ok:
            return None
    except ValueError:
        # A Sec-WebSocket-Key that is not ASCII, which `base64.b64decode` refuses.
        is_malformed = True
    return Handshake(request, telemetry, fuse, is_malformed=is_malformed)


def _attributes(request: web.Request) -> dict[str, AttributeValue | None]:
    """Return what the handshake says about the connection."""
    agent = request.headers.get(hdrs.USER_AGENT)
    peer = request.remote  # Or what a middleware has put there, for example out of a header.
    address, port = _server(request)
    return {
        _semconv.URL_PATH: bounded(request.path, NAME),
        _semconv.SERVER_ADDRESS: address,
        _semconv.SERVER_PORT: port,
        # A UNIX socket's peer has no address.
        _semconv.CLIENT_ADDRESS: bounded(peer, NAME) if peer else None,
        _semconv.USER_AGENT: None if agent is None else bounded(agent, NAME),
    }


def _route(request: web.BaseRequest) -> str | None:
    """Return the route that matched: none where aiohttp's low-level server has no application."""
    try:
        resource = request.match_info.route.resource  # type: ignore[attr-defined]  # of web.Request
    except (AttributeError, AssertionError):
        return None
    route = getattr(resource, "canonical", None)
    return route if isinstance(route, str) else None


def _server(request: web.Request) -> tuple[str | None, int | None]:
    """Return the host and port that the client asked for, as far as they can be read."""
    # Not `request.host`: without the header, older versions of aiohttp ask the resolver.
    match = _AUTHORITY.fullmatch(request.headers.get(hdrs.HOST, ""))
    if match is None:
        return None, None
    port = int(match["port"] or 0) or (443 if request.secure else 80)
    if port >= 1 << 16:
        return None, None
    return bounded((match["ip"] or match["name"]).lower(), NAME), port


def _refusal(response: object, raised: BaseException | None) -> int | None:
    """Return the HTTP status with which aiohttp answered a handshake that was refused."""
    match raised:
        case web.HTTPException():
            return raised.status
        case HTTPException():
            return raised.status_code
        case TimeoutError():
            return web.HTTPGatewayTimeout.status_code
        case Exception():
            return web.HTTPInternalServerError.status_code
    return response.status if isinstance(response, web.StreamResponse) else None

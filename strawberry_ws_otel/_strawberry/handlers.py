"""Recording a view's handlers: which message and which operation the running code serves.

An application may read messages in one task and handle them in another, and serve an operation in
any task. So the context of a message is entered by the method that handles it, and that of an
operation by the method that serves it. Strawberry's handlers have had these methods since 0.319:

* `handle_message` for every message, which calls one method for each type of message;
* `run_operation` (`graphql-transport-ws`) or `handle_async_results` (`graphql-ws`), which the task
  of an operation runs.

An instance is also one of the application's class: our own names begin with `_otel_`.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from types import CoroutineType
from typing import Any, Final

from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
)
from strawberry.subscriptions.protocols.graphql_ws.handlers import BaseGraphQLWSHandler

from strawberry_ws_otel._connection import Connection, Request, current_request
from strawberry_ws_otel._current import current
from strawberry_ws_otel._strawberry.layers import CoroutineProxy, RecordingLayer, is_derived


def _request_of(handler: Any) -> Request | None:  # noqa: ANN401  # of either subprotocol
    """Return the request whose WebSocket a handler serves, unless nothing records it."""
    try:
        request = handler.websocket._otel_request  # noqa: SLF001  # ours
    except Exception:  # noqa: BLE001  # the application's handler need not keep its adapter
        request = None
    request = request or current_request()
    return request if isinstance(request, Request) and request.connection else None


async def _recorded(
    handler: Any,  # noqa: ANN401  # of either subprotocol
    call: Callable[[], Awaitable[Any]],
    enter: Callable[..., Any],
    leave: Callable[[Connection, Any, BaseException | None], None],
    *what: object,
) -> Any:  # noqa: ANN401  # the host's
    """Await the host's method between two methods of the connection that it serves, if any.

    `enter` gets the message or operation, as `what`, and the request. `leave` gets what `enter`
    returned, and what the host's method raised.
    """
    request = _request_of(handler)
    if request is None or request.connection is None:
        return await call()
    connection = request.connection
    entered = error = None
    # A `with` costs as much as what it guards, several times for each operation.
    try:
        entered = enter(connection, *what, request)
    except Exception as failure:  # noqa: BLE001  # the fuse's
        connection.fuse.blow(failure)
    try:
        return await call()
    except BaseException as raised:
        error = raised
        raise
    finally:
        try:
            leave(connection, entered, error)
        except Exception as failure:  # noqa: BLE001  # the fuse's
            connection.fuse.blow(failure)
        # Its traceback holds this frame: a cycle.
        del error


def _handle(handler: Any, call: Callable[[], Any], message: object) -> Awaitable[Any]:  # noqa: ANN401  # of either subprotocol
    """Handle a message as the host does, in the context of that message."""
    handling, handled = Connection.message_handling, Connection.message_handled
    return _recorded(handler, call, handling, handled, message)


def _begin(handler: Any, call: partial[Any], message: object, own: object) -> Awaitable[Any]:  # noqa: ANN401  # of either subprotocol
    """Handle the first message of an operation, unless `handle_message` does so already.

    A message may bring no document. An application's method may know it by other means. The host's
    `own` method raises a KeyError (0.319, 0.341.2).
    """
    operation = current().operation
    if operation is not None and operation.first is message:
        return call()  # type: ignore[no-any-return]  # a coroutine
    is_own = getattr(call.func, "__func__", None) is own
    handling = partial(Connection.message_handling, knows_documents=not is_own)
    return _recorded(handler, call, handling, Connection.message_handled, message)


def _run(handler: Any, call: Callable[[], Any], *what: object) -> Any:  # noqa: ANN401  # of either subprotocol
    """Serve an operation as the host does, in its context; `what` is its id, document and name."""
    return _recorded(handler, call, Connection.operation_running, Connection.operation_ran, *what)


def _recording(host: Any) -> Any:  # noqa: ANN401  # a class
    """Return a class that records what the handlers of both subprotocols have in common."""

    class Recording(host):  # type: ignore[misc]  # a class in a variable
        def __init_subclass__(cls, **kwargs: Any) -> None:
            """Call the application's `__init_subclass__` for the application's classes only."""
            if not is_derived(cls):
                super().__init_subclass__(**kwargs)

        async def handle_message(self, message: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
            call = partial(super().handle_message, message, *args, **kwargs)
            return await _handle(self, call, message)

        async def handle_connection_init(self, message: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
            """Record an init also if the application calls this instead of `handle_message`."""
            call = partial(super().handle_connection_init, message, *args, **kwargs)
            return await _handle(self, call, message)

    return Recording


class RecordingTransportHandler(_recording(BaseGraphQLTransportWSHandler)):  # type: ignore[misc]  # a class that a function made
    """The recording class of a handler of `graphql-transport-ws`."""

    async def handle_subscribe(self, message: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Record a `subscribe` also if the application calls this instead of `handle_message`."""
        call = partial(super().handle_subscribe, message, *args, **kwargs)
        return await _begin(self, call, message, BaseGraphQLTransportWSHandler.handle_subscribe)

    async def run_operation(self, operation: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        call = partial(super().run_operation, operation, *args, **kwargs)
        what = (getattr(operation, name, None) for name in ("id", "query", "operation_name"))
        return await _run(self, call, *what)


class RecordingLegacyHandler(_recording(BaseGraphQLWSHandler)):  # type: ignore[misc]  # a class that a function made
    """The recording class of a handler of `graphql-ws`."""

    async def handle_start(self, message: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Record a `start` also if the application calls this instead of `handle_message`."""
        call = partial(super().handle_start, message, *args, **kwargs)
        return await _begin(self, call, message, BaseGraphQLWSHandler.handle_start)

    def handle_async_results(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the host's
        """Serve an operation as the host does, and look like the host's coroutine.

        Strawberry makes a task of it and retrieves no exception of that task: asyncio logs it with
        the name of the coroutine (0.319, 0.341.2).
        """
        names = ("operation_id", "query", "operation_name")
        given = dict(zip(names, args, strict=False)) | kwargs
        host = super().handle_async_results(*args, **kwargs)
        run = partial(_run, self, lambda: host, *map(given.get, names))
        return CoroutineProxy(run, host) if isinstance(host, CoroutineType) else run()


HANDLER_LAYERS: Final = (
    RecordingLayer(
        "graphql_transport_ws_handler_class",
        BaseGraphQLTransportWSHandler,
        RecordingTransportHandler,
    ),
    RecordingLayer("graphql_ws_handler_class", BaseGraphQLWSHandler, RecordingLegacyHandler),
)
"""How the handlers of a view are recorded."""

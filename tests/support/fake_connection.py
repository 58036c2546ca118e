"""A connection without a socket, and short ways to report to it what happens."""

import contextvars
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from opentelemetry.context import Context, attach, get_current

from strawberry_ws_otel import OTelConfig
from strawberry_ws_otel._close import CloseFrame, HandlerEnd
from strawberry_ws_otel._connection import Connection, Handling, Request, Running
from strawberry_ws_otel._current import Current, current
from strawberry_ws_otel._operation import SocketOperation
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS, GRAPHQL_WS
from strawberry_ws_otel._recording import Telemetry as Recording

QUERY: Final = "subscription N { n }"
START: Final = {GRAPHQL_TRANSPORT_WS: "subscribe", GRAPHQL_WS: "start"}
STOP: Final = {GRAPHQL_TRANSPORT_WS: "complete", GRAPHQL_WS: "stop"}
RESULT: Final = {GRAPHQL_TRANSPORT_WS: "next", GRAPHQL_WS: "data"}
BOTH: Final = (GRAPHQL_TRANSPORT_WS, GRAPHQL_WS)

Result = TypeVar("Result")


class Place:
    """Where code runs: the context variables of one task."""

    def __init__(self, variables: contextvars.Context | None = None) -> None:
        self._variables = contextvars.Context() if variables is None else variables
        self.running: Running | None = None
        """The operation that the host serves here."""

    def run(self, function: Callable[..., Result], *arguments: Any, **keywords: Any) -> Result:
        """Call a function here."""
        return self._variables.run(function, *arguments, **keywords)

    def task(self) -> "Place":
        """The place of a task that is started here and now."""
        return Place(self._variables.copy())

    def attach(self, context: Context) -> None:
        """The application makes this OpenTelemetry's context, and leaves it so."""
        self.run(attach, context)

    @property
    def context(self) -> Context:
        """OpenTelemetry's context."""
        return self.run(get_current)

    @property
    def current(self) -> Current:
        """For whom code runs here."""
        return self.run(current)


class Served(Request):
    """The request that a connection was made of."""

    connection: Connection


class FakeConnection:
    """A connection, and short ways to report to it what happens.

    What the host does, it does in the reader's task unless a place is given. That of an operation
    is the task that serves it.
    """

    def __init__(
        self,
        config: OTelConfig,
        context: Context | None = None,
        recording: Recording | None = None,
        headers: Mapping[str, str] | None = None,
        handshake: Mapping[str, str] | None = None,
    ) -> None:
        recording = recording or Recording(config)
        fuses = recording.fuses()
        self.fuse = fuses.library
        self.protocol = ""
        self.reader = Place()
        if context is not None:
            self.reader.attach(context)
        self.connection = Connection(
            recording,
            fuses,
            self.reader.context,
            headers or {},
            lambda: {"url.path": "/graphql", "http.route": None, **(handshake or {})},
        )
        self.request = Served(recording)
        self.request.connection = self.connection
        self._activation = self.reader.run(self.connection.serving, self.request)
        self._handling: Handling | None = None
        self.has_message_spans = self.connection.has_message_spans

    def accept(self, protocol: str | None) -> None:
        if not self.connection._facts.upgraded:
            self.protocol = protocol or ""
        self.connection.accepted(protocol)

    # --- What is received ----------------------------------------------------------------------

    def receive(self, value: Any, size: int = 10) -> None:
        """A message arrives, and is not handled yet."""
        self.connection.data_received(size)
        self.reader.run(self.connection.message_received, value)

    def receive_and_begin_handling(self, value: Any, size: int = 10) -> Place:
        """The host is done with the message before, and begins to handle this one.

        Returns:
            The place of a task that the host starts now.
        """
        self.end_handling()
        self.receive(value, size)
        return self.begin_handling(value)

    def begin_handling(self, value: Any) -> Place:
        """The host begins to handle a message that has come before."""
        handling = self.connection.message_handling
        self._handling = self.reader.run(handling, value, self.request)
        return self.reader.task()

    def end_handling(self, error: BaseException | None = None) -> None:
        """The host is done with the message, or trips over it."""
        handling, self._handling = self._handling, None
        if handling is not None:
            self.reader.run(self.connection.message_handled, handling, error)

    def receive_and_handle(self, value: Any) -> Place:
        place = self.receive_and_begin_handling(value)
        self.end_handling()
        return place

    # --- What is sent --------------------------------------------------------------------------

    def send(self, type_: str, **others: Any) -> None:
        """The host sends a message of these members; `within` is as in `sends`."""
        within = others.pop("within", None)
        self.send_message({"type": type_, **others}, within=within)

    def send_message(self, message: Mapping[str, Any], *, within: Place | None = None) -> None:
        """The host sends a message, in that place."""
        (within or self.reader).run(self._sent, message)

    def _sent(self, message: Mapping[str, Any]) -> None:
        sending = self.connection.send_begun(message) if self.has_message_spans else None
        self.connection.data_sent(20)
        self.connection.send_ended(sending, None)
        self.connection.message_sent(message)

    def send_close(self, code: int, reason: str = "", within: Place | None = None) -> None:
        """The host writes a close frame, in that place."""
        place = within or self.reader
        place.run(self.connection.close_sent, CloseFrame(code, reason))

    # --- Init and operations -------------------------------------------------------------------

    def initialize(self) -> None:
        self.receive_and_begin_handling({"type": "connection_init"})
        self.send("connection_ack")
        self.end_handling()

    def begin_operation(self, id_: Any = "a", **payload: Any) -> Place:
        """The host begins to handle the first message of an operation."""
        return self.receive_and_begin_handling(
            {"type": START[self.protocol], "id": id_, "payload": {"query": QUERY, **payload}}
        )

    def begin_serving(
        self, place: Place, id_: Any = "a", document: Any = QUERY, name: Any = None
    ) -> None:
        """The task that is to serve an operation begins."""
        running = self.connection.operation_running
        place.running = place.run(running, id_, document, name, self.request)

    def end_serving(self, place: Place, error: BaseException | None = None) -> None:
        """That task is done, of itself or by that error; there has to be an event loop."""
        running, place.running = place.running, None
        place.run(self.connection.operation_ran, running, error)

    def start_operation(self, id_: Any = "a", **payload: Any) -> Place:
        """The host begins to serve an operation; return the place of its task."""
        place = self.begin_operation(id_, **payload)
        self.end_handling()
        self.begin_serving(place, id_, payload.get("query", QUERY), payload.get("operationName"))
        return place

    def send_result(self, id_: Any = "a", within: Place | None = None) -> None:
        self.send(RESULT[self.protocol], id=id_, payload={"data": {"n": 1}}, within=within)

    # --- The end -------------------------------------------------------------------------------

    def end(self, exception: BaseException | None = None, **known: Any) -> None:
        """The view is done, or fails; `known` is what else an edge knows of that."""
        self.reader.run(self.connection.ended, HandlerEnd(exception=exception, **known))
        self.reader.run(self._activation.end)

    def close_by_client(self, code: int = 1000, reason: str = "") -> None:
        """The client closes, the host answers, and the view is done."""
        self.connection.close_received(CloseFrame(code, reason))
        self.send_close(1000)
        self.end()

    def close_by_server(self, code: int = 1000, reason: str = "") -> None:
        """The host closes, and the view is done."""
        self.send_close(code, reason)
        self.end()

    def lose(self) -> None:
        """The stream ends without a close frame, and the view is done."""
        self.connection.disconnected(None)
        self.end()


def operation_in(place: Place) -> SocketOperation:
    """The operation that the code there serves."""
    operation = place.current.operation
    assert isinstance(operation, SocketOperation)
    return operation

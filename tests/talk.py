"""A connection without a socket, and short ways to tell it what happens."""

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.context import Context, attach, detach

from strawberry_ws_otel import OTelConfig
from strawberry_ws_otel._close import CloseFrame
from strawberry_ws_otel._connection import Connection
from strawberry_ws_otel._failsafe import Fuse
from strawberry_ws_otel._operation import current_operation
from strawberry_ws_otel._propagation import Parentage
from strawberry_ws_otel._protocol import GRAPHQL_TRANSPORT_WS, GRAPHQL_WS
from strawberry_ws_otel._telemetry import Telemetry as Recording
from strawberry_ws_otel._ws_operation import SocketOperation

QUERY: Final = "subscription N { n }"
START: Final = {GRAPHQL_TRANSPORT_WS: "subscribe", GRAPHQL_WS: "start"}
STOP: Final = {GRAPHQL_TRANSPORT_WS: "complete", GRAPHQL_WS: "stop"}
RESULT: Final = {GRAPHQL_TRANSPORT_WS: "next", GRAPHQL_WS: "data"}
BOTH: Final = (GRAPHQL_TRANSPORT_WS, GRAPHQL_WS)


def _raise(error: BaseException) -> None:
    raise error


class Talk:
    """A connection, and short ways to tell it things."""

    def __init__(
        self,
        config: OTelConfig,
        context: Context | None = None,
        recording: Recording | None = None,
    ) -> None:
        self.fuse = Fuse()
        self.in_reader = True
        self.protocol = ""
        self.connection = Connection(
            recording or Recording(config),
            self.fuse,
            Parentage(Context() if context is None else context),
            lambda: {"url.path": "/graphql", "http.route": None},
            in_reader=lambda: self.in_reader,
        )

    def opens(self, protocol: str | None) -> None:
        if not self.connection.facts.upgraded:
            self.protocol = protocol or ""
        self.connection.opened(protocol)

    def hears(self, value: Any, size: int = 10) -> Context:
        """The host begins to handle a message."""
        self.connection.conversation.frame_received(size)
        return self.connection.conversation.received(value)

    def handles(self, value: Any) -> Context:
        context = self.hears(value)
        self.connection.conversation.handled()
        return context

    def says(self, type_: str, **others: Any) -> None:
        """The host sends a message of these members; `within` and `raising` are as in `sends`."""
        how = {name: others.pop(name) for name in ("within", "raising") if name in others}
        self.sends({"type": type_, **others}, **how)

    def sends(
        self,
        message: Mapping[str, Any],
        *,
        within: Context | None = None,
        raising: BaseException | None = None,
    ) -> None:
        """The host sends a message, in that context, while it handles that exception."""
        token = attach(within or self.connection.context)
        try:
            if raising is not None:
                _raise(raising)
        except BaseException:  # noqa: BLE001  # it is raised to be there
            self._sent(message)
        else:
            self._sent(message)
        finally:
            detach(token)

    def _sent(self, message: Mapping[str, Any]) -> None:
        self.connection.conversation.traffic.bytes_sent += 20
        self.connection.conversation.sent(message)

    def greets(self) -> None:
        self.hears({"type": "connection_init"})
        self.says("connection_ack")
        self.connection.conversation.handled()

    def begins(self, id_: Any = "a", **payload: Any) -> Context:
        """The host begins to handle the first message of an operation."""
        return self.hears(
            {"type": START[self.protocol], "id": id_, "payload": {"query": QUERY, **payload}}
        )

    def starts(self, id_: Any = "a", **payload: Any) -> Context:
        context = self.begins(id_, **payload)
        self.connection.conversation.handled()
        return context

    def delivers(self, id_: Any = "a") -> None:
        self.says(RESULT[self.protocol], id=id_, payload={"data": {"n": 1}})

    def is_closed(self, code: int = 1000, reason: str = "") -> None:
        """The client closes, the host answers, and the view is done."""
        self.connection.closing.frame_received(CloseFrame(code, reason))
        self.connection.closing.frame_sent(CloseFrame(1000))
        self.connection.ended(None)

    def closes(self, code: int = 1000, reason: str = "") -> None:
        """The host closes, and the view is done."""
        self.connection.closing.frame_sent(CloseFrame(code, reason))
        self.connection.ended(None)

    def is_lost(self) -> None:
        """The stream ends without a close frame, and the view is done."""
        self.connection.closing.stream_ended(None)
        self.connection.ended(None)


def operation_in(context: Context) -> SocketOperation:
    token = attach(context)
    try:
        operation = current_operation()
    finally:
        detach(token)
    assert isinstance(operation, SocketOperation)
    return operation

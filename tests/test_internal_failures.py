"""Whatever of our own code fails, and however: nobody can tell from the conversation."""

from itertools import cycle
from typing import Any, Final, NoReturn

import pytest
from strawberry.aiohttp.views import GraphQLView

from strawberry_ws_otel import _adapter, _extension, _operation, _view
from strawberry_ws_otel._closing import Closing
from strawberry_ws_otel._connection import Connection
from strawberry_ws_otel._conversation import Conversation
from strawberry_ws_otel._operation import Operation
from strawberry_ws_otel._operations import Operations
from strawberry_ws_otel._propagation import Parentage
from strawberry_ws_otel._shadows import Shadows
from strawberry_ws_otel._socket import RecordedSocket
from strawberry_ws_otel._spans import SpanRecorder
from strawberry_ws_otel._transport import Transport
from strawberry_ws_otel._ws_operation import SocketOperation
from tests.arms import traced
from tests.conftest import LogKeeper, Run, is_internal
from tests.hosting import Host, hosting
from tests.recorded import View, extension
from tests.schema import HELLO, PARTIAL, TICKS, make_schema
from tests.telemetry import Telemetry
from tests.test_transcripts import ONE_EACH
from tests.twins import Transcripts, Twins

CONVERSATIONS: Final = frozenset(
    {
        "three operations at once",
        "client closes 4499",
        "client resets",
        "client sends bad UTF-8",
        "a syntax error, and the client answers a transport that is gone",
        "application closes 4500 from another task",
        "application cancels the handler",
    }
)
CASES: Final = [case for case in ONE_EACH if case.scenario.name in CONVERSATIONS]
PLACES: Final[list[tuple[object, str]]] = [
    (_view, "_begin"),
    (_view, "_handshake"),
    (Closing, "attributes"),
    (Closing, "decide"),
    (Closing, "forget"),
    (Closing, "frame_failed"),
    (Closing, "frame_received"),
    (Closing, "frame_sent"),
    (Closing, "socket_failed"),
    (Closing, "stream_ended"),
    (Connection, "opened"),
    (Conversation, "ended"),
    (Conversation, "frame_received"),
    (Conversation, "handled"),
    (Conversation, "received"),
    (Conversation, "sent"),
    (Conversation, "stopped"),
    (Operation, "describe"),
    (Operation, "finish"),
    (Operation, "phase"),
    (Operations, "begin"),
    (Operations, "handled"),
    (Operations, "last_message_sent"),
    (Parentage, "__new__"),
    (Shadows, "__init__"),
    (Shadows, "_close_called"),
    (Shadows, "_frame_received"),
    (RecordedSocket, "forget"),
    (RecordedSocket, "open"),
    (RecordedSocket, "release"),
    (RecordedSocket, "settle"),
    (SocketOperation, "claim"),
    (SocketOperation, "end"),
    (SocketOperation, "result_sent"),
    (SpanRecorder, "__init__"),
    (Transport, "__init__"),
    (Transport, "alive"),
    (Transport, "writable"),
    (_adapter, "attach"),
    (_adapter, "opened"),
    (_view, "attach"),
    (_view, "current_scope"),
    (_view, "opened"),
    (_view, "get_current"),
]


BEGINNINGS: Final[list[tuple[object, str]]] = [
    (_view, "_begin"),
    (_view, "_handshake"),
    (_view, "get_current"),
    (Parentage, "__new__"),
    (SpanRecorder, "__init__"),
    (Transport, "__init__"),
]
"""Where a connection that fails has not begun, and is not counted."""

ENDINGS: Final[list[tuple[object, str]]] = [
    (Conversation, "ended"),
    (Operation, "finish"),
    (SocketOperation, "end"),
    (SpanRecorder, "__init__"),
]
"""What ends spans, or would."""

HTTP_PLACES: Final[list[tuple[object, str]]] = [
    (_extension, "_needed"),
    (_extension, "current_scope"),
    (_extension, "error_type"),
    (Operation, "__init__"),
    (Operation, "claim"),
    (Operation, "delivered"),
    (Operation, "describe"),
    (_operation, "_document"),
    (Operation, "errors"),
    (Operation, "finish"),
    (Operation, "phase"),
]


class OwnError(Exception):
    pass


class Failures:
    """A function of ours that only raises."""

    def __init__(self) -> None:
        self.count = 0
        self._errors = cycle([OwnError, MemoryError, RecursionError])

    def __call__(self, *_arguments: object, **_keywords: object) -> NoReturn:
        self.count += 1
        raise next(self._errors)

    def replace(self, owner: object, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Fail where `owner` calls `name`."""
        is_property = isinstance(getattr(owner, name), property)
        # A function, which becomes a method of a class; an instance would not.
        fails = lambda *_arguments, **_keywords: self()  # noqa: E731
        monkeypatch.setattr(owner, name, property(fails) if is_property else fails)


def names(places: list[tuple[object, str]]) -> list[str]:
    return [f"{getattr(owner, '__name__', owner)}.{name}" for owner, name in places]


@pytest.mark.internal_error
@pytest.mark.usefixtures("frozen_garbage")
@pytest.mark.parametrize(("owner", "name"), PLACES, ids=names(PLACES))
def test_a_failure_of_our_own_changes_nothing_over_a_websocket(  # noqa: PLR0913, PLR0917  # fixtures
    owner: object,
    name: str,
    bare: Transcripts,
    run: Run[Any],
    telemetry: Telemetry,
    library_log: LogKeeper,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    twins = Twins(CASES, bare, run, caplog)
    failures = Failures()
    failures.replace(owner, name, monkeypatch)
    arm = traced(telemetry.tracer_provider, telemetry.meter_provider)
    assert twins.play(arm) == twins.bare
    assert failures.count
    assert any(map(is_internal, library_log.records))
    if (owner, name) not in ENDINGS:
        assert telemetry.ledger.started == telemetry.ledger.ended
    assert telemetry.total("websocket.server.active_connections") == 0
    begun = 0 if (owner, name) in BEGINNINGS else len(CASES)
    assert telemetry.total("websocket.server.closes") == begun


async def answers(view: GraphQLView[Any, Any]) -> list[Any]:
    async with hosting(view) as host:
        posts = [await host.post({"query": document}) for document in (HELLO, PARTIAL, "{")]
        return [*posts, await stream(host)]


async def stream(host: Host) -> list[str]:
    accept = {"Accept": "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json"}
    async with host.session.post(host.url, json={"query": TICKS}, headers=accept) as response:
        return (await response.text()).split("--graphql")


@pytest.mark.internal_error
@pytest.mark.parametrize(("owner", "name"), HTTP_PLACES, ids=names(HTTP_PLACES))
async def test_a_failure_of_our_own_changes_nothing_over_http(
    owner: object,
    name: str,
    telemetry: Telemetry,
    library_log: LogKeeper,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bare = await answers(View(schema=make_schema()))
    failures = Failures()
    failures.replace(owner, name, monkeypatch)
    assert await answers(View(schema=make_schema(extension(telemetry)))) == bare
    assert failures.count
    assert any(map(is_internal, library_log.records))

"""An exception is the client's fault if the client made the reader fail, else the server's.

Nobody can page the operator from outside, and no failure of the application's is put on a client.
"""

import asyncio
import json
from collections import UserDict
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest
from aiohttp import web
from graphql import version_info
from strawberry.aiohttp.views import AiohttpWebSocketAdapter

from tests.support.applications.conversations import ticks
from tests.support.applications.side_by_side import alike, assert_ended
from tests.support.clock import stop_clock
from tests.support.expected import (
    GREETING,
    NORMAL,
    connection,
    init,
    operation,
    received,
    recorded,
    results_of,
    sent,
)
from tests.support.hosting import Host, part
from tests.support.log import LogKeeper
from tests.support.scenarios.model import BOTH, without_frames
from tests.support.scenarios.steps import LEGACY, TRANSPORT, subscribe
from tests.support.schema import FOREVER, TICKS
from tests.support.telemetry import Telemetry
from tests.support.views import View

BROKEN = "{no json"
HERE = "tests.aiohttp.test_application_errors"
REMOTE = f"{0xA:032x}-{0xA1:016x}"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


class DecodeError(Exception):
    """As some decoders have it: no ValueError."""


class Fatal(BaseException):
    """Something that nobody is to catch."""


def decoding(decode: Callable[[Any], Any], base: type[View] = View) -> type[View]:
    """A view with a decoder of its own."""

    class Decoding(base):  # type: ignore[valid-type,misc]  # whichever it is
        def decode_json(self, data: Any) -> Any:
            return decode(data)

    return Decoding


def raising(make: Callable[[], BaseException]) -> Callable[[Any], Any]:
    """A decoder that raises this for what is no JSON."""

    def decode(data: Any) -> Any:
        try:
            return json.loads(data)
        except ValueError:
            raise make() from None

    return decode


# --- Decoders that raise ---------------------------------------------------------------------

RAISED: dict[str, tuple[Callable[[], BaseException], str]] = {
    "an exception of its own": (DecodeError, f"{HERE}.DecodeError"),
    "a lookup": (lambda: KeyError("no"), "KeyError"),
    "a timeout": (TimeoutError, "TimeoutError"),
    "a lost connection": (ConnectionResetError, "ConnectionResetError"),
    "an answer over HTTP": (web.HTTPBadRequest, "aiohttp.web_exceptions.HTTPBadRequest"),
    "what nobody is to catch": (Fatal, f"{HERE}.Fatal"),
    "a group of such": (lambda: BaseExceptionGroup("no", [Fatal()]), "BaseExceptionGroup"),
    "a cancellation": (asyncio.CancelledError, "asyncio.exceptions.CancelledError"),
}


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize(("make", "error"), RAISED.values(), ids=RAISED)
async def test_whatever_the_decoder_raises_is_an_invalid_message(
    make: Callable[[], BaseException],
    error: str,
    protocol: str,
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    async def talk(host: Host) -> None:
        client = await host.acknowledged(protocol)
        client.json(BROKEN)

    await alike(telemetry, decoding(raising(make)), talk)
    verdict = without_frames("invalid_message", error)
    assert recorded(telemetry) == [
        connection(
            protocol,
            verdict,
            messages=(2, 1),
            events=[*GREETING, received("_OTHER")],
        ),
        init(),
    ]
    assert_ended(telemetry, library_log, verdict)


@pytest.mark.parametrize("protocol", BOTH)
async def test_a_client_whose_message_cannot_be_decoded_takes_its_operations_with_it(
    protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async def talk(host: Host) -> None:
        client = await host.acknowledged(protocol)
        client.json(subscribe(client, "a", FOREVER))
        await client.message("next", "data")
        client.json(BROKEN)

    await alike(telemetry, decoding(raising(DecodeError)), talk)
    verdict = without_frames("invalid_message", f"{HERE}.DecodeError")
    # The handler of the older subprotocol says so to those it cancels.
    goodbye = [sent("complete")] if protocol == LEGACY else []
    [whole, greeting, one, *_] = recorded(telemetry)
    assert whole["attributes"]["websocket.close.outcome"] == "invalid_message"
    assert whole["attributes"]["error.type"] == f"{HERE}.DecodeError"
    assert whole["attributes"]["graphql.ws.messages.sent"] == 2 + len(goodbye)
    assert whole["attributes"]["graphql.ws.operation.interrupted_count"] == 1
    assert greeting == init()
    assert one == operation(
        FOREVER,
        "connection_closed",
        protocol=protocol,
        name="Forever",
        results=1,
        events=[*results_of(protocol, 1), *goodbye],
        verdict=verdict,
        error="invalid_message",
        description="interrupted by an abnormal close: invalid_message",
    )
    assert_ended(telemetry, library_log, verdict)


@pytest.mark.parametrize("protocol", BOTH)
async def test_an_adapter_that_decodes_by_itself_fails_because_of_the_client(
    protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Decoding(AiohttpWebSocketAdapter):
        async def iter_json(self, **_options: Any) -> AsyncGenerator[object, None]:
            async for message in self.ws:
                yield raising(DecodeError)(message.data)

    class Own(View):
        websocket_adapter_class = Decoding

    async def talk(host: Host) -> None:
        client = await host.connect(protocol)
        client.json(BROKEN)

    await alike(telemetry, Own, talk)
    verdict = without_frames("invalid_message", f"{HERE}.DecodeError")
    assert recorded(telemetry) == [
        connection(
            protocol,
            verdict,
            messages=(1, 0),
            acknowledged=False,
            links=[],
            events=[received("_OTHER")],
        )
    ]
    assert_ended(telemetry, library_log, verdict)


async def test_what_a_decoder_raises_over_http_is_no_operation(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    async def talk(host: Host) -> int:
        headers = {"Content-Type": "application/json"}
        async with host.session.post(host.url, data=BROKEN, headers=headers) as response:
            return response.status

    assert await alike(telemetry, decoding(raising(DecodeError)), talk) == (500, 500)
    assert recorded(telemetry) == []
    assert_ended(telemetry, library_log)


# --- Messages that are no dicts --------------------------------------------------------------


class Record:
    """What can be asked for its members, and is no mapping."""

    def __init__(self, members: dict[str, Any]) -> None:
        self._members = members

    def __getitem__(self, name: str) -> Any:
        return self._members[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self._members.get(name, default)


class Frozen(Mapping[str, Any]):
    """A mapping of the application's own."""

    def __init__(self, members: dict[str, Any]) -> None:
        self._members = members

    def __getitem__(self, name: str) -> Any:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


Make = Callable[[Any], Any]
SINCE_MAPPINGS = pytest.mark.skipif(
    version_info < (3, 3), reason="older versions of graphql-core take dicts of variables only"
)
MAPPINGS: dict[str, Make] = {
    "a proxy": MappingProxyType,
    "a UserDict": UserDict,
    "a mapping": Frozen,
    "a subclass of dict": type("Own", (dict,), {}),
}


def into(make: Make) -> type[View]:
    """A view whose decoder makes this of every object, at whatever depth."""
    return decoding(lambda data: json.loads(data, object_hook=make))


async def subscribes(host: Host, protocol: str, **more: Any) -> None:
    client = await host.acknowledged(protocol)
    client.json(subscribe(client, "a", TICKS, variables={"to": 2}, **more))
    await client.message("complete")
    await part(client)


@SINCE_MAPPINGS
@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("make", MAPPINGS.values(), ids=MAPPINGS)
async def test_a_message_is_what_can_be_read_as_one(
    make: Make, protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    await alike(telemetry, into(make), lambda host: subscribes(host, protocol))
    assert recorded(telemetry) == [
        connection(protocol, messages=(2, 4), operations=["subscription"]),
        init(),
        ticks(protocol),
    ]
    assert_ended(telemetry, library_log, NORMAL)


@SINCE_MAPPINGS
@pytest.mark.parametrize("protocol", BOTH)
async def test_a_trace_context_is_read_from_whatever_mapping_carries_it(
    protocol: str, telemetry: Telemetry
) -> None:
    async def talk(host: Host) -> None:
        await subscribes(host, protocol, extensions={"traceparent": f"00-{REMOTE}-01"})

    await alike(telemetry, into(MappingProxyType), talk)
    [one] = recorded(telemetry, "subscription")
    assert one["parent"] == REMOTE


@SINCE_MAPPINGS
@pytest.mark.parametrize("protocol", BOTH)
async def test_what_the_host_reads_as_a_message_need_not_be_a_mapping(
    protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    def decode(data: Any) -> Any:
        return Record(json.loads(data))

    await alike(telemetry, decoding(decode), lambda host: subscribes(host, protocol))
    [whole, greeting, one, *_] = recorded(telemetry)
    assert whole["attributes"]["graphql.ws.operation.count"] == 1
    assert greeting == init()
    assert one["attributes"]["graphql.ws.operation.end_reason"] == "completed"
    assert_ended(telemetry, library_log, NORMAL)


NO_PAYLOAD = {"id": "a", "payload": 5}
NO_ID = {"id": {}, "payload": {"query": TICKS}}


@pytest.mark.parametrize("make", [dict, MappingProxyType, UserDict])
@pytest.mark.parametrize(
    ("protocol", "type_", "members"),
    [
        (TRANSPORT, "subscribe", NO_PAYLOAD),
        (LEGACY, "start", NO_PAYLOAD),
        (TRANSPORT, "subscribe", NO_ID),
        (LEGACY, "start", NO_ID),
        (TRANSPORT, "complete", NO_ID),
    ],
)
async def test_a_message_that_is_not_well_formed_is_the_client_s_whatever_is_made_of_it(  # noqa: PLR0913, PLR0917
    protocol: str,
    type_: str,
    members: dict[str, Any],
    make: Make,
    telemetry: Telemetry,
    library_log: LogKeeper,
) -> None:
    async def talk(host: Host) -> None:
        client = await host.acknowledged(protocol)
        client.json({"type": type_, **members})

    await alike(telemetry, into(make), talk)
    verdict = without_frames("invalid_message", "TypeError")
    events = [*GREETING, received(type_)]
    assert recorded(telemetry) == [
        connection(protocol, verdict, messages=(2, 1), events=events),
        init(),
    ]
    assert_ended(telemetry, library_log, verdict)


# --- The reverse: the application's own ------------------------------------------------------


async def connects(host: Host, protocol: str) -> None:
    client = await host.connect(protocol)
    client.json({"type": "connection_init", "payload": {"token": BROKEN}})


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize("make", [dict, MappingProxyType, UserDict])
async def test_what_the_application_raises_over_a_message_that_is_well_formed_is_the_server_s(
    make: Make, protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Strict(into(make)):  # type: ignore[misc]  # a class from a call
        async def on_ws_connect(self, context: Any) -> Any:
            raise DecodeError

    async def talk(host: Host) -> None:
        client = await host.connect(protocol)
        client.json({"type": "connection_init"})

    await alike(telemetry, Strict, talk)
    server_fault(telemetry, library_log, protocol, f"{HERE}.DecodeError")


@pytest.mark.parametrize("protocol", BOTH)
@pytest.mark.parametrize(
    ("make", "error"),
    [
        (DecodeError, f"{HERE}.DecodeError"),
        (Fatal, f"{HERE}.Fatal"),
        (RecursionError, "RecursionError"),
    ],
)
async def test_what_the_application_s_own_decoding_raises_is_the_server_s(
    make: Any, error: str, protocol: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Strict(decoding(raising(make))):  # type: ignore[misc]  # a class from a call
        async def on_ws_connect(self, context: Any) -> Any:
            return self.decode_json(context["connection_params"]["token"])

    await alike(telemetry, Strict, lambda host: connects(host, protocol))
    server_fault(telemetry, library_log, protocol, error)


def server_fault(telemetry: Telemetry, log: LogKeeper, protocol: str, error: str) -> None:
    """What is recorded of an init over which the application failed."""
    verdict = without_frames("server_error", error)
    assert recorded(telemetry) == [
        connection(protocol, verdict, messages=(1, 0), acknowledged=False, events=GREETING[:1]),
        init(error=error),
    ]
    assert_ended(telemetry, log, verdict)


async def test_a_reader_that_fails_between_two_messages_is_the_server_s_fault(
    telemetry: Telemetry, library_log: LogKeeper
) -> None:
    class Tripping(AiohttpWebSocketAdapter):
        async def iter_json(self, **options: Any) -> AsyncGenerator[object, None]:
            async for message in super().iter_json(**options):
                yield message
                raise DecodeError

    class Own(View):
        websocket_adapter_class = Tripping

    async def talk(host: Host) -> None:
        await host.acknowledged()

    await alike(telemetry, Own, talk)
    verdict = without_frames("server_error", f"{HERE}.DecodeError")
    assert recorded(telemetry) == [connection(TRANSPORT, verdict, messages=(1, 1)), init()]
    assert_ended(telemetry, library_log, verdict)

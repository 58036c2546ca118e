"""The application closes, stops, or returns without closing."""

import asyncio
from typing import Any

from strawberry.exceptions import ConnectionRejectionError
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
)
from strawberry.subscriptions.protocols.graphql_ws.handlers import BaseGraphQLWSHandler

from tests.support.raw_client import Client
from tests.support.scenarios.model import LIVE, Scenario, by_server, refused, without_frames
from tests.support.scenarios.steps import (
    INIT,
    TRANSPORT,
    Step,
    ends,
    handshake,
    live,
    meets,
    opens,
    silent,
    steps,
)
from tests.support.server import Hook, Server, Setup, accept, raises, wait, wait_and_accept

STOPPED = without_frames("server_shutdown")
CODES = {
    1000: "normal",
    1001: "server_shutdown",
    1006: "other",
    1008: "other",
    1011: "server_error",
    1012: "server_shutdown",
    1013: "other",
    4000: "application_code",
    4123: "application_code",
    4401: "unauthorized",
    4499: "application_code",
    4500: "server_error",
}


def app_closes(*codes: int, reason: bytes = b"not today") -> Step:
    """The application closes from tasks that are not the handler's."""

    async def run(client: Client, server: Server) -> None:
        closes = [server.socket.close(code=code, message=reason) for code in codes]
        tasks = [asyncio.create_task(close) for close in closes]
        await client.until_end()
        await asyncio.gather(*tasks)

    return run


def closes_in_hook(code: int, then: Hook) -> Hook:
    """The application closes while the handler waits for its hook."""

    async def hook(server: Server) -> Any:
        await server.socket.close(code=code, message=b"not today")
        return await then(server)

    return hook


async def shuts_down(_client: Client, server: Server) -> None:
    await server.shutdown()


async def cancels(_client: Client, server: Server) -> None:
    server.handlers[-1].cancel()


async def say_goodbye(server: Server) -> None:
    """What aiohttp's documentation recommends on shutdown."""
    for socket in server.sockets:
        await socket.close(code=1001, message=b"Server shutdown")


class ReturningHandler(BaseGraphQLTransportWSHandler[Any, Any]):
    async def handle(self) -> None:
        """Return without a close."""


class ReturningLegacyHandler(BaseGraphQLWSHandler[Any, Any]):
    async def handle(self) -> None:
        """Return without a close."""


RETURNING = {
    "graphql_transport_ws_handler_class": ReturningHandler,
    "graphql_ws_handler_class": ReturningLegacyHandler,
}

APPLICATION = (
    *(
        Scenario(
            name=f"application closes {code} from another task",
            talk=steps(live, silent, app_closes(code)),
            verdict=by_server(outcome, code, "not today"),
            operations=LIVE,
            representative=code in (1001, 4500),
        )
        for code, outcome in CODES.items()
    ),
    Scenario(
        name="application closes with more bytes than a reason may have, and no UTF-8",
        talk=steps(live, silent, app_closes(4123, reason=b"\xff" + b"x" * 200)),
        verdict=by_server("application_code", 4123, "\ufffd" + "x" * 120),
        operations=LIVE,
    ),
    Scenario(
        name="application closes twice",
        talk=steps(live, silent, app_closes(1012, 4123)),
        verdict=by_server("server_shutdown", 1012, "not today"),
        operations=LIVE,
        redundant=1,
    ),
    Scenario(
        name="application closes from another task while on_ws_connect is still at work",
        talk=steps(handshake, INIT, meets, app_closes(4123), opens),
        verdict=by_server("application_code", 4123, "not today", echo=4123),
        setup=Setup(connect=wait_and_accept),
    ),
    Scenario(
        name="application closes in on_ws_connect",
        talk=steps(handshake, INIT),
        verdict=by_server("application_code", 4123, "not today", echo=4123),
        setup=Setup(connect=closes_in_hook(4123, accept)),
    ),
    Scenario(
        name="application closes in on_ws_connect and then rejects",
        talk=steps(handshake, INIT),
        verdict=by_server("application_code", 4123, "not today", echo=4123),
        protocols=(TRANSPORT,),
        setup=Setup(connect=closes_in_hook(4123, raises(ConnectionRejectionError))),
        redundant=1,
    ),
    Scenario(
        name="server shuts down under a live subscription",
        talk=steps(live, shuts_down),
        verdict=STOPPED,
        operations=LIVE,
        representative=True,
    ),
    Scenario(
        name="server shuts down while on_ws_connect is still at work",
        talk=steps(handshake, INIT, meets, shuts_down),
        verdict=STOPPED,
        setup=Setup(connect=wait_and_accept),
    ),
    Scenario(
        name="server shuts down and says goodbye",
        talk=steps(live, silent, shuts_down),
        verdict=by_server("server_shutdown", 1001, "Server shutdown"),
        operations=LIVE,
        setup=Setup(on_shutdown=say_goodbye),
        representative=True,
    ),
    Scenario(
        name="application cancels the handler",
        talk=steps(live, cancels),
        verdict=STOPPED,
        operations=LIVE,
        representative=True,
    ),
    Scenario(
        name="application cancels the handler before the upgrade",
        talk=steps(meets, cancels, ends),
        verdict=refused("server_shutdown", None),
        setup=Setup(root_value=wait),
    ),
    Scenario(
        name="application cancels the handler in get_context",
        talk=steps(handshake, meets, cancels),
        verdict=STOPPED,
        setup=Setup(context=wait),
    ),
    Scenario(
        name="view returns with an open socket",
        talk=handshake,
        verdict=by_server("normal", 1000),
        setup=Setup(members=RETURNING),
        representative=True,
    ),
)

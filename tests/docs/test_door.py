"""What the README shows a newcomer is true: the code to add, and what 1006 does not tell."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import strawberry
from aiohttp import web
from strawberry.aiohttp.views import GraphQLView
from strawberry.exceptions import ConnectionRejectionError
from strawberry.extensions.tracing import opentelemetry

from tests.support import documented
from tests.support.diffs import applied
from tests.support.expected import CONNECTION
from tests.support.frames import Frame, Opcode
from tests.support.hosting import Host, hosting
from tests.support.pages import Page, codes
from tests.support.raw_client import Client
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import config

README = Page("README.md")
[CHANGE] = README.blocks("diff")
TITLE = "What it tells that 1006 does not"

TOO_BIG = b"x" * (4 * 1024 * 1024 + 1)


# --- The code to add -------------------------------------------------------------------------


def run(code: str) -> dict[str, Any]:
    names = {"Query": documented.Query, "Subscription": documented.Subscription}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102  # our own page
    return names


@pytest.mark.parametrize("code", applied(CHANGE), ids=["before", "after"])
def test_the_application_runs_before_and_after_the_change(code: str) -> None:
    names = run(code)
    assert isinstance(names["schema"], strawberry.Schema)
    assert isinstance(names["app"], web.Application)


def test_the_application_has_six_statements_and_two_are_added() -> None:
    before, after = ([line for line in code.splitlines() if line] for code in applied(CHANGE))
    assert len(before) == 6
    assert len(after) == 6 + 2


# --- What 1006 does not tell -----------------------------------------------------------------


class Hasty(documented.View):
    """A view with a heartbeat, which rejects everybody who names a wrong user."""

    sockets: list[web.WebSocketResponse]
    heartbeat: float | None = None

    async def create_websocket_response(
        self, request: web.Request, subprotocol: str | None
    ) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(
            protocols=[subprotocol] if subprotocol else [], heartbeat=self.heartbeat
        )
        await ws.prepare(request)
        self.sockets.append(ws)
        return ws

    async def on_ws_connect(self, context: Any) -> Any:
        if "wrong" in (context["connection_params"] or {}):
            raise ConnectionRejectionError
        return await super().on_ws_connect(context)


async def network_breaks(host: Host) -> None:
    client = await host.acknowledged()
    client.reset()


async def does_not_answer_a_ping(host: Host) -> None:
    client = await host.acknowledged()
    await client.until_end()


async def goes_away(client: Client) -> None:
    """Read the server's close frame, and leave without an answer."""
    await client.closing()
    client.reset()


async def sends_a_frame_that_is_too_big(host: Host) -> None:
    client = await host.acknowledged()
    client.send(Frame(Opcode.TEXT, TOO_BIG))
    await goes_away(client)


async def sends_a_message_that_is_not_allowed(host: Host) -> None:
    client = await host.acknowledged()
    client.json({"type": "unknown"})
    await goes_away(client)


async def is_refused(host: Host) -> None:
    client = await host.connect()
    client.json({"type": "connection_init", "payload": {"wrong": True}})
    await goes_away(client)


CAUSES: dict[str, Callable[[Host], Awaitable[None]]] = {
    "the client's network broke": network_breaks,
    "the client did not answer a PING": does_not_answer_a_ping,
    "the client sent a frame that is too big, and went away": sends_a_frame_that_is_too_big,
    "the client sent a message that is not allowed, and went away": (
        sends_a_message_that_is_not_allowed
    ),
    "the server refused the login, and the client went away": is_refused,
}


@pytest.mark.parametrize("row", README.rows(TITLE), ids=lambda row: row[0])
async def test_the_host_says_1006_and_the_library_says_why(
    row: list[str], telemetry: Telemetry
) -> None:
    what, outcome, code, fault = row
    heartbeat = 0.1 if "PING" in what else None
    members = {"otel_config": config(telemetry), "sockets": [], "heartbeat": heartbeat}
    view: Any = type("View", (Hasty,), members)(schema=documented.schema)
    async with hosting(view) as host, asyncio.timeout(30):
        await CAUSES[what](host)
    [ws] = view.sockets
    assert ws.close_code == 1006
    [span] = telemetry.spans(CONNECTION)
    attributes = attributes_of(span)
    assert [attributes["websocket.close.outcome"]] == codes(outcome)
    assert attributes["websocket.close.code"] == int(code)
    assert [attributes["websocket.close.fault"]] == codes(fault)


def test_five_outcomes_are_told() -> None:
    assert [row[0] for row in README.rows(TITLE)] == list(CAUSES)


# --- Beside other instrumentations -----------------------------------------------------------


async def test_the_hosts_extension_has_a_span_for_each_resolver_and_none_for_the_connection(
    telemetry: Telemetry,
) -> None:
    theirs = partial(
        opentelemetry.OpenTelemetryExtension, tracer_provider=telemetry.tracer_provider
    )
    schema = strawberry.Schema(documented.Query, extensions=[theirs])
    async with hosting(GraphQLView(schema=schema)) as host:
        client = await host.acknowledged()
        client.json({"id": "a", "type": "subscribe", "payload": {"query": "{ hello }"}})
        await client.message("complete")
    names = [span.name for span in telemetry.spans()]
    assert names[0] == "GraphQL Query"
    assert "GraphQL Resolving: hello" in names


def test_the_hosts_extension_has_no_metrics() -> None:
    assert "get_meter" not in inspect.getsource(opentelemetry)
    assert "get_tracer" in inspect.getsource(opentelemetry)

"""Whatever an untrusted client sends to a real server is bounded before it is recorded."""

import logging

import pytest
from aiohttp import web
from opentelemetry.sdk.trace import TracerProvider

from tests.attacks.hostile.bounds import (
    unbounded,
    unbounded_labels,
    unbounded_record,
    unbounded_span,
)
from tests.support.expected import CONNECTION
from tests.support.hosting import Handler, hosting, part
from tests.support.schema import make_schema
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import instrumented

WORST = ("x" * 4000, "\xff" * 4000, "\xed\xa0\x80")


@pytest.mark.parametrize("worst", WORST)
@pytest.mark.parametrize("header", ["User-Agent", "Host", "X-Forwarded-For"])
async def test_headers_are_cut_also_where_the_application_makes_an_address_of_one(
    header: str, worst: str, telemetry: Telemetry
) -> None:
    @web.middleware
    async def forwarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        address = request.headers.get("X-Forwarded-For", "192.0.2.1")
        return await handler(request.clone(remote=address))

    async with hosting(instrumented(telemetry)(schema=make_schema()), forwarded) as host:
        await part(await host.acknowledged(headers={header: worst}))
        await host.served()
    [connection] = telemetry.spans(CONNECTION)
    assert attributes_of(connection)["client.address"]
    assert [wrong for span in telemetry.spans() for wrong in unbounded_span(span)] == []


@pytest.mark.parametrize(
    "attributes",
    [
        {"user_agent.original": "x" * 257},
        {"user_agent.original": "\ud800"},
        {"websocket.close.reason": "\N{EURO SIGN}" * 42},
        {"websocket.close.outcome": "strange"},
        {"websocket.close.code": 1 << 63},
        {"websocket.close.code": "1000"},
        {"nobody.knows": 1},
    ],
)
def test_the_check_sees_what_is_not_bounded(attributes: dict[str, object]) -> None:
    assert len(list(unbounded(attributes))) == 1


def test_the_check_sees_unknown_names() -> None:
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("x" * 300)
    span.add_event("strange", {"nobody.knows": 1})
    span.end()
    assert len(list(unbounded_span(span))) == 3  # type: ignore[arg-type]  # it is the SDK's
    assert len(list(unbounded_labels({"m": {frozenset({("user_agent.original", "a")}): 1}}))) == 1
    record = logging.makeLogRecord({"msg": "a\nb", "websocket.close.reason": "x" * 200})
    assert len(list(unbounded_record(record))) == 2

"""Whatever the application does to OpenTelemetry's context, an operation over HTTP is recorded.

With the view's configuration, below the span that the application left current, and its caller
finds the context as on the bare host.
"""

from typing import Any

import pytest

from strawberry_ws_otel import OTelExtension
from tests.support.applications.context_changes import (
    ACTS,
    QUERY,
    REMOTE,
    SUBSCRIPTION,
    After,
    bring_value,
    doing,
    schema,
)
from tests.support.clock import stop_clock
from tests.support.expected import (
    EXECUTION,
    PARSING,
    VALIDATION,
    SpanDict,
    executed,
    phases,
    recorded,
)
from tests.support.hosting import Host, hosting
from tests.support.log import LogKeeper
from tests.support.telemetry import Telemetry
from tests.support.views import View, extension, instrumented

HEADERS = f"{0xA:032x}-{0xA1:016x}"
CARRIED = {"traceparent": f"00-{HEADERS}-01"}
STREAM = {"Accept": "multipart/mixed;boundary=graphql;subscriptionSpec=1.0,application/json"}

PROTOCOLS = ["multipart-subscription"]

BEFORE = ["get_root_value", "get_context", "decode_json", "first extension"]
"""Places that are reached before the extension begins the operation."""
WITHIN = ["last extension", "resolver"]

Made = tuple[View, View]
"""The view that is recorded, and the bare one."""


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


def with_mixin(telemetry: Telemetry, base: type[View]) -> Made:
    view = instrumented(telemetry, base)
    return (
        view(schema=schema(OTelExtension), subscription_protocols=PROTOCOLS),
        base(schema=schema(), subscription_protocols=PROTOCOLS),
    )


def with_extension_alone(telemetry: Telemetry, base: type[View]) -> Made:
    return base(schema=schema(extension(telemetry))), base(schema=schema())


async def streamed(host: Host, headers: dict[str, str]) -> tuple[int, str]:
    body = {"query": SUBSCRIPTION}
    async with host.session.post(host.url, json=body, headers={**headers, **STREAM}) as response:
        return response.status, await response.text()


async def ask(view: View, headers: dict[str, str], *, stream: bool) -> Any:
    """The answers to a request in which the place is reached, and to the next one."""
    after = After()
    async with hosting(view, after.middleware, bring_value) as host:
        answers: list[Any] = []
        for _ in range(2):
            if stream:
                answers.append(await streamed(host, headers))
            else:
                answers.append(await host.post({"query": QUERY}, headers))
    return answers, after.saw


def expected_both(
    document: str, first: str | None, second: str | None, route: str | None = "/graphql"
) -> list[SpanDict]:
    """The spans of two requests, below these parents."""
    name = document.partition(" ")[0]
    names = (PARSING, VALIDATION, EXECUTION) if name == "query" else ()
    return [
        each
        for label, parent in ((name, first), (f"{name} 2", second))
        for each in (
            executed(document, name="Seen", parent=parent, route=route),
            *phases(label, *names),
        )
    ]


@pytest.mark.parametrize("headers", [{}, CARRIED], ids=["no headers", "headers"])
@pytest.mark.parametrize("place", [*BEFORE, *WITHIN])
@pytest.mark.parametrize("act", ACTS)
async def test_a_query_is_recorded_whatever_is_attached_where(
    act: str, place: str, headers: dict[str, str], telemetry: Telemetry, library_log: LogKeeper
) -> None:
    view, bare = with_mixin(telemetry, doing({place: ACTS[act]}))
    expected = await ask(doing({place: ACTS[act]})(schema=schema()), {}, stream=False)
    assert await ask(bare, headers, stream=False) == expected
    assert await ask(view, headers, stream=False) == expected

    carried = HEADERS if headers else None
    joins = act == "extracted" and place in BEFORE
    assert recorded(telemetry) == expected_both(QUERY, REMOTE if joins else carried, carried)
    count = telemetry.total("graphql.server.request.duration", graphql__operation__type="query")
    assert count == 2
    assert library_log.records == []


@pytest.mark.parametrize("place", ["get_context", "first extension", "last extension", "source"])
@pytest.mark.parametrize("act", ACTS)
async def test_a_stream_is_recorded_whatever_is_attached_where(
    act: str, place: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    view, bare = with_mixin(telemetry, doing({place: ACTS[act]}))
    answers, after = await ask(view, {}, stream=True)
    assert (answers, after) == await ask(bare, {}, stream=True)
    assert [text.count('"seen":') for _, text in answers] == [2, 2]

    joins = act == "extracted" and place in BEFORE
    assert recorded(telemetry) == expected_both(SUBSCRIPTION, REMOTE if joins else None, None)
    assert telemetry.total("graphql.server.subscription.event_count") == 4
    assert telemetry.total("graphql.server.subscription.active") == 0
    assert library_log.records == []


@pytest.mark.parametrize("place", ["get_context", "first extension", "last extension", "resolver"])
@pytest.mark.parametrize("act", ["extracted", "fresh"])
async def test_the_extension_alone_records_whatever_is_attached_where(
    act: str, place: str, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    view, bare = with_extension_alone(telemetry, doing({place: ACTS[act]}))
    assert await ask(view, {}, stream=False) == await ask(bare, {}, stream=False)

    joins = act == "extracted" and place in BEFORE
    assert recorded(telemetry) == expected_both(QUERY, REMOTE if joins else None, None, None)
    assert library_log.records == []


@pytest.mark.parametrize("act", ["extracted", "fresh"])
@pytest.mark.parametrize("place", ["get_root_value", "get_context"])
async def test_the_operations_of_a_batch_use_the_configuration_of_the_view(
    place: str, act: str, telemetry: Telemetry
) -> None:
    """The host executes them in tasks of their own."""

    async def batch(view: View) -> Any:
        view.schema.config.batching_config = {"max_operations": 2}
        async with hosting(view, bring_value) as host:
            return await host.post([{"query": QUERY}, {"query": QUERY}])

    view, bare = with_mixin(telemetry, doing({place: ACTS[act]}))
    answer = await batch(view)
    assert answer == await batch(bare)
    assert [each["data"].keys() for each in answer[1]] == [{"seen"}, {"seen"}]
    parents = [each["parent"] for each in recorded(telemetry, "query")]
    assert parents == [REMOTE if act == "extracted" else None] * 2

"""One name has one type on spans, their events, metrics and log records."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import strawberry
from graphql import GraphQLError

from strawberry_ws_otel import OTelExtension, _semconv
from tests.support.cases import REPRESENTATIVE, converse, traced
from tests.support.event_loop import Run
from tests.support.flood import flooded, flooding
from tests.support.hosting import hosting
from tests.support.log import LogKeeper
from tests.support.schema import make_schema
from tests.support.telemetry import Telemetry, attributes_of, events_of
from tests.support.views import Ends, instrumented

ELSEWHERE = ("SCOPE", "OTHER", "SPAN_", "EVENT_", "METRIC_", "LOG_")
"""What is no attribute, or one of log records only."""

ATTRIBUTES = {
    value
    for key, value in vars(_semconv).items()
    if key.isupper() and not key.startswith(ELSEWHERE)
}


@strawberry.type
class Query:
    @strawberry.field
    def coded(self) -> int | None:
        raise GraphQLError("coded", extensions={"code": "TEAPOT"})


def attributes(telemetry: Telemetry, log: LogKeeper) -> Iterator[Mapping[str, Any]]:
    """The attributes of all that was recorded, each with those of its own."""
    for span in telemetry.spans():
        yield from (attributes_of(span), *events_of(span))
        yield from (dict(link.attributes or {}) for link in span.links)
    yield from map(dict, chain.from_iterable(telemetry.metrics().values()))
    for record in log.records:
        yield {key: value for key, value in vars(record).items() if "." in key}


async def failing(telemetry: Telemetry) -> None:
    """Ask for an error with a code and a path."""
    view = instrumented(telemetry)(schema=strawberry.Schema(Query, extensions=[OTelExtension]))
    async with hosting(view) as host:
        await host.post({"query": "{ coded }"})


async def stalling(telemetry: Telemetry) -> None:
    """Ask for more than is read."""
    async with hosting(flooding(telemetry)) as host:
        await flooded(host, telemetry)


async def living_long(telemetry: Telemetry) -> None:
    """Stay until the first segment of the connection has ended."""
    view = instrumented(telemetry, segment_duration=0.001)
    ends = Ends(telemetry)
    async with hosting(view(schema=make_schema(OTelExtension))) as host:
        await host.acknowledged()
        await ends.of(_semconv.SPAN_CONNECTION)


def test_one_name_has_one_type(run: Run[Any], telemetry: Telemetry, library_log: LogKeeper) -> None:
    providers = telemetry.tracer_provider, telemetry.meter_provider
    arm = traced(*providers, capture_document=True)
    for case in REPRESENTATIVE:
        run(converse(case, arm))
    run(failing(telemetry))
    run(stalling(telemetry))
    run(living_long(telemetry))

    types: dict[str, set[type]] = {}
    for each in attributes(telemetry, library_log):
        for name, value in each.items():
            types.setdefault(name, set()).add(type(value))
    assert types.keys() == ATTRIBUTES
    mixed = {name: found for name, found in types.items() if len(found) > 1}
    assert mixed == {}
    assert set.union(*types.values()) == {bool, int, float, str}

"""Cases: scenarios over a subprotocol, on a server without the library or with it."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import pytest
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin
from tests.support.raw_client import Client
from tests.support.scenarios import SCENARIOS
from tests.support.scenarios.model import Scenario, play
from tests.support.server import PlainView, Server, Socket, serving


@dataclass(frozen=True)
class Arm:
    """A view class and the extensions of its schema."""

    view_class: type[PlainView] = PlainView
    extensions: tuple[Any, ...] = ()


BARE = Arm()


def traced(tracer_provider: TracerProvider, meter_provider: MeterProvider, **options: Any) -> Arm:
    class TracedView(OTelViewMixin, PlainView):
        otel_config = OTelConfig(
            tracer_provider=tracer_provider, meter_provider=meter_provider, **options
        )

    return Arm(TracedView, (OTelExtension,))


@dataclass(frozen=True)
class Case:
    """A scenario over one subprotocol, under one setting of aiohttp."""

    scenario: Scenario
    protocol: str | None
    handler_cancellation: bool

    def __str__(self) -> str:
        cancelling = ", handler_cancellation" if self.handler_cancellation else ""
        return f"{self.scenario.name} [{self.protocol}{cancelling}]"

    @property
    def is_first(self) -> bool:
        """Whether it is its scenario with the first of its subprotocols and settings."""
        scenario = self.scenario
        first = (scenario.protocols[0], scenario.cancellations[0])
        return (self.protocol, self.handler_cancellation) == first

    @property
    def is_distinct(self) -> bool:
        """Whether it can fail where the other cases of its scenario pass.

        aiohttp's setting matters only where the transport may go while the handler runs, and the
        subprotocol only where the host reads what the client sent.
        """
        scenario = self.scenario
        verdict = scenario.verdict
        is_cancelled = verdict.initiator == "none" and verdict.outcome != "invalid_message"
        if self.handler_cancellation != scenario.cancellations[0] and not is_cancelled:
            return False
        return not scenario.read_by_aiohttp or self.protocol == scenario.protocols[0]


STRAWBERRY = tuple(map(int, version("strawberry-graphql").split(".")[:2]))
CASES = [
    Case(scenario, protocol, cancellation)
    for scenario in SCENARIOS
    if scenario.since <= STRAWBERRY
    for protocol in scenario.protocols
    for cancellation in scenario.cancellations
]
REPRESENTATIVE = [case for case in CASES if case.scenario.representative]
ONE_EACH = [case for case in REPRESENTATIVE if case.is_first and not case.scenario.floods]

FEW_NAMES = frozenset(
    {
        "three operations at once",
        "client closes 4499",
        "client resets",
        "client sends bad UTF-8",
        "a syntax error, and the client answers a transport that is gone",
        "application closes 4500 from another task",
        "application cancels the handler",
        "a source that the client stops",
        "a subscription with a broken field",
        "application closes twice",
    }
)
FEW = list({case.scenario.name: case for case in CASES if case.scenario.name in FEW_NAMES}.values())
"""Conversations that reach every part of the library, for tests that repeat them often."""


def rows(cases: Iterable[Case], by_default: Callable[[Case], bool]) -> pytest.MarkDecorator:
    """Parametrize a test by these cases, of which the others run with `-m matrix` only."""
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(case, id=str(case), marks=[] if by_default(case) else [pytest.mark.matrix])
            for case in cases
        ],
    )


few_or_one_each = pytest.mark.parametrize(
    "cases",
    [pytest.param(FEW, id="few"), pytest.param(ONE_EACH, id="one each", marks=pytest.mark.matrix)],
)


def is_first(case: Case) -> bool:
    return case.is_first


def is_distinct(case: Case) -> bool:
    return case.is_distinct


def is_of_few(case: Case) -> bool:
    return case.scenario.name in FEW_NAMES


def is_first_of_few(case: Case) -> bool:
    return case.is_first and is_of_few(case)


def is_distinct_or_representative(case: Case) -> bool:
    """Whether it is distinct, under the other setting of aiohttp only if it is representative."""
    scenario = case.scenario
    is_other = case.handler_cancellation != scenario.cancellations[0]
    return case.is_distinct and (scenario.representative or not is_other)


def is_representative(case: Case) -> bool:
    return case.is_first and case.scenario.representative


@dataclass(frozen=True)
class Played:
    """A conversation that is over, its server stopped; `tasks` are what it left behind."""

    client: Client
    server: Server
    tasks: int


async def converse(case: Case, arm: Arm = BARE) -> Played:
    setup = replace(case.scenario.setup, handler_cancellation=case.handler_cancellation)
    async with serving(setup, arm.view_class, arm.extensions) as server:
        client = await play(case.scenario, server, case.protocol)
    return Played(client, server, len(asyncio.all_tasks()) - 1)


def on(socket_class: type[Socket], case: Case) -> Case:
    setup = replace(case.scenario.setup, socket_class=socket_class)
    return replace(case, scenario=replace(case.scenario, setup=setup))

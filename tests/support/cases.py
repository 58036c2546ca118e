"""The arms of a comparison: the same view without the library and with it."""

import asyncio
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

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


STRAWBERRY = tuple(map(int, version("strawberry-graphql").split(".")[:2]))
CASES = [
    Case(scenario, protocol, cancellation)
    for scenario in SCENARIOS
    if scenario.since <= STRAWBERRY
    for protocol in scenario.protocols
    for cancellation in scenario.cancellations
]
REPRESENTATIVE = [case for case in CASES if case.scenario.representative]


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

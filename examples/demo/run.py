"""Sends every client to one server, and reports as each of them comes home."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import ClientSession

from examples.demo.scenarios import LAST_VISIT, VISITS, Scenario
from examples.demo.server import Server, serving
from examples.demo.visitor import Visitor

PATIENCE: Final = 10.0
"""Seconds after which a visit that hangs is given up."""

Report = Callable[[Scenario, str | None], None]
"""Told once per visit, with what went wrong on the client's side, if anything did."""


async def make_visit(
    scenario: Scenario, server: Server, session: ClientSession, report: Report
) -> None:
    """Make one visit; whatever happens to it, the others go on."""
    visitor = Visitor(scenario.user_agent, server.port, server.url, session, server.stop)
    trouble = None
    try:
        async with asyncio.timeout(PATIENCE):
            await scenario.visit(visitor)
    except Exception as error:  # noqa: BLE001 - it is reported, and the run then fails
        trouble = f"{type(error).__name__}: {error}"
    report(scenario, trouble)


async def visit_all(port: int, report: Report) -> None:
    """Serve the ticker until its last visitor has gone."""
    async with serving(port) as server, ClientSession() as session:
        await asyncio.gather(*(make_visit(one, server, session, report) for one in VISITS))
        await make_visit(LAST_VISIT, server, session, report)

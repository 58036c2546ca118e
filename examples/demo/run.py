"""Sends every client to one server, and reports each of them when it is done."""

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from aiohttp import ClientSession

from examples.demo.scenarios import LAST_VISIT, VISITS, Scenario
from examples.demo.server import Server, serving
from examples.demo.visitor import Visitor

PATIENCE: Final = 10.0
"""Timeout of a visit, in seconds."""

Report = Callable[[Scenario, str | None], None]
"""Called once for each visit, with the error on the client's side, if there was one."""


async def make_visit(
    scenario: Scenario, server: Server, session: ClientSession, report: Report
) -> None:
    """Make one visit. If it fails, the others continue."""
    visitor = Visitor(scenario.user_agent, server.port, server.url, session, server.stop)
    trouble = None
    try:
        async with asyncio.timeout(PATIENCE):
            await scenario.visit(visitor)
    except Exception as error:  # noqa: BLE001 - it is reported, and the run then fails
        trouble = f"{type(error).__name__}: {error}"
    report(scenario, trouble)


async def visit_all(port: int, scenarios: Collection[Scenario], report: Report) -> None:
    """Serve the ticker until the last client of these scenarios has left."""
    together = [one for one in VISITS if one in scenarios]
    async with serving(port) as server, ClientSession() as session:
        await asyncio.gather(*(make_visit(one, server, session, report) for one in together))
        if LAST_VISIT in scenarios:
            await make_visit(LAST_VISIT, server, session, report)

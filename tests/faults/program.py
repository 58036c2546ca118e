"""A server that dies of something that is nobody's to stop: a program for tests.

`python -m tests.faults.program ARM DEATH PROTOCOL` serves one client on a loop of its own, and prints
as JSON what became of it: what left the loop, and what the client saw.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import strawberry

from strawberry_ws_otel import _semconv as name
from tests.arms import BARE, Arm, traced
from tests.scenarios.steps import acknowledged, asks, live, steps
from tests.schema import TICKS, Query, Subscription
from tests.server import Server, Setup, Socket, serving
from tests.telemetry import Telemetry, attributes_of
from tests.wire import Client

TELEMETRY = Telemetry()
ARMS: dict[str, Callable[[], Arm]] = {
    "bare": lambda: BARE,
    "traced": lambda: traced(TELEMETRY.tracer_provider, TELEMETRY.meter_provider),
}
ERRORS: dict[str, type[BaseException]] = {
    "KeyboardInterrupt": KeyboardInterrupt,
    "SystemExit": SystemExit,
}


class Dying(Socket):
    """A socket whose sends of a result raise what is nobody's to stop."""

    error: type[BaseException]

    async def send_str(self, data: str, *args: Any, **kwargs: Any) -> None:
        if '"ticks"' in data:
            raise self.error(3)
        await super().send_str(data, *args, **kwargs)


def in_a_send(error: type[BaseException]) -> Setup:
    return Setup(socket_class=type("Dying", (Dying,), {"error": error}))


def in_the_login(error: type[BaseException]) -> Setup:
    async def hook(_server: Server) -> NoReturn:
        raise error(3)

    return Setup(connect=hook)


def in_the_context(error: type[BaseException]) -> Setup:
    async def hook(_server: Server) -> NoReturn:
        raise error(3)

    return Setup(context=hook)

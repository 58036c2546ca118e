"""A program for tests: it ends while a client with a subscription is connected.

The argument says how. Each span that is exported is a line of what it prints: by whom, its name,
and whether it is continued.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from tests.support.global_provider_program import view
from tests.support.hosting import hosting
from tests.support.scenarios.steps import subscribe
from tests.support.schema import FOREVER
from tests.support.telemetry import RESOURCE, attributes_of

PARENT = os.getpid()


class Printing(SpanExporter):
    """Prints what it is given."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        who = "parent" if os.getpid() == PARENT else "child"
        for span in spans:
            continued = attributes_of(span).get("graphql.ws.segment.continued")
            print(f"{who}: {span.name}, {continued}", flush=True)  # noqa: T201  # a program
        return SpanExportResult.SUCCESS


def set_provider() -> None:
    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(BatchSpanProcessor(Printing(), schedule_delay_millis=600_000))
    trace.set_tracer_provider(provider)


async def connected(stack: AsyncExitStack) -> None:
    """Let a client connect and subscribe."""
    host = await stack.enter_async_context(hosting(view()))
    client = await host.acknowledged()
    client.json(subscribe(client, "a", FOREVER))
    await client.message("next")


KEPT: list[Any] = []
"""What lives until the process ends."""


def in_a_loop_that_is_left() -> None:
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()
    KEPT.extend((loop, stack))
    loop.run_until_complete(connected(stack))


def in_a_thread() -> None:
    ready = threading.Event()

    async def serve() -> None:
        async with AsyncExitStack() as stack:
            await connected(stack)
            ready.set()
            await asyncio.Event().wait()

    threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()
    ready.wait()


def in_good_order() -> None:
    async def serve() -> None:
        async with AsyncExitStack() as stack:
            await connected(stack)

    asyncio.run(serve())


def under_a_fork() -> None:
    """The child ends first, in order, and the client is not its own."""
    in_a_loop_that_is_left()
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)


WAYS = {
    "in a loop that is left": in_a_loop_that_is_left,
    "in a thread": in_a_thread,
    "in good order": in_good_order,
    "under a fork": under_a_fork,
}

if __name__ == "__main__":
    set_provider()
    WAYS[sys.argv[1]]()

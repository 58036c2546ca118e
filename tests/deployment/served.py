"""A program for tests: it serves a client, forks, and lets its child report what it counts.

The argument says what the child records into. What it prints is one JSON object.
"""

import asyncio
import sys
from collections.abc import Callable

from tests.deployment.forking import in_child, say, serve, serve_into
from tests.support import global_provider_program as global_provider
from tests.support.global_provider_program import TELEMETRY, implicit, report, set_providers
from tests.support.hosting import hosting, one_subscription, part
from tests.support.telemetry import Telemetry


def providers_of_the_parent() -> Callable[[], None]:
    """They were set before the parent has served."""
    set_providers()
    view = implicit()
    asyncio.run(one_subscription(view))
    return lambda: serve_into(TELEMETRY, view)


def providers_set_in_the_child() -> Callable[[], None]:
    """The parent has served without any, and the view finds them."""
    view = implicit()
    asyncio.run(one_subscription(view))
    return lambda: serve(view)


def view_and_providers_of_its_own() -> Callable[[], None]:
    """The child has nothing of the parent's but the modules."""
    providers_of_the_parent()

    def child() -> None:
        telemetry = Telemetry()
        view = global_provider.view(
            tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider
        )
        serve_into(telemetry, view)

    return child


async def fork_under_a_client() -> int:
    """The child only reports: the client is the parent's."""
    set_providers()
    async with hosting(implicit()) as host:
        client = await host.acknowledged()
        status = in_child(lambda: say(report(TELEMETRY)))
        await part(client)
    return status


WAYS = {
    "providers of the parent": providers_of_the_parent,
    "providers set in the child": providers_set_in_the_child,
    "a view and providers of its own": view_and_providers_of_its_own,
}


def main(how: str) -> int:
    if how == "under a client":
        return asyncio.run(fork_under_a_client())
    return in_child(WAYS[how]())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""The server process of the load: a recorded view, and what its telemetry says of it."""

import asyncio
import gc
import logging
import sys
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.attacks.load.counting import CountingExporter
from tests.benchmarks.arms import BOTH, find
from tests.benchmarks.pipes import Tracing
from tests.benchmarks.serving import Served, serving
from tests.support.file_limit import raise_file_limit
from tests.support.garbage import freeze
from tests.support.log import LogKeeper, is_internal, keeping_log
from tests.support.memory import resident, trim
from tests.support.telemetry import read
from tests.support.worker import answer_jobs


class LoadedServer:
    """What the load asks the server for."""

    def __init__(self, served: Served, exporter: CountingExporter, errors: LogKeeper) -> None:
        self._served = served
        self._exporter = exporter
        self._errors = errors

    async def ports(self) -> list[int]:
        """Where it listens."""
        return self._served.ports

    async def settled(self, connections: int) -> None:
        """Wait until so many further connections have ended."""
        await self._served.ended(connections)

    async def look(self) -> dict[str, Any]:
        """How it is doing."""
        return {"spans": len(self._exporter.ids), "resident": resident()}

    async def freeze(self) -> None:
        """Take what is there for what will stay, as a server of so many does well to.

        Else the collector looks through all of it again and again, for a third of the CPU time.
        """
        freeze()

    async def unfreeze(self) -> None:
        """Give the collector back what was there."""
        gc.unfreeze()

    async def memory(self) -> dict[str, Any]:
        """What there is of each, garbage apart.

        Resident bytes, blocks that Python's allocator has given out, objects that the collector
        knows, and tasks.
        """
        # The loop has yet to close what the handlers left.
        await asyncio.sleep(0.1)
        trim()
        return {
            "resident": resident(),
            "blocks": sys.getallocatedblocks(),
            "objects": len(gc.get_objects()),
            "tasks": len(asyncio.all_tasks()),
        }

    async def recorded(self) -> dict[str, Any]:
        """What spans and metrics say of all connections so far, and what failed inside."""
        return {
            "spans": self._exporter.summary(),
            "metrics": {
                name: [[dict(attributes), value] for attributes, value in points.items()]
                for name, points in read(self._served.pipe.reader).items()
            },
            "internal": list(map(logging.Formatter().format, self._errors.records)),
        }


async def main(ports: int) -> None:
    """Serve until there are no more jobs."""
    exporter = CountingExporter()
    with keeping_log(is_internal) as errors:
        async with serving(find(BOTH, Tracing.SAMPLED), ports) as served:
            provider = served.pipe.tracer_provider
            assert isinstance(provider, TracerProvider)
            provider.add_span_processor(SimpleSpanProcessor(exporter))
            await answer_jobs(LoadedServer(served, exporter, errors))


if __name__ == "__main__":
    # Nobody reads what it logs of each lost connection.
    logging.basicConfig(handlers=[logging.NullHandler()])
    raise_file_limit()
    asyncio.run(main(int(sys.argv[1])))

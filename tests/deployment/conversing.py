"""A program for tests: it plays scenarios, and prints what the interpreter complains of, as JSON.

It is for `python -X dev -W error`. A warning is an exception then, and one that nobody can catch,
such as that of a socket left open, reaches the hook. With "leak" it leaves one open itself. With
"segments" the segments of all spans are short.
"""

import asyncio
import gc
import json
import logging
import socket
import sys
from typing import Any

from tests.support.cases import FEW, ONE_EACH, Case, converse, traced
from tests.support.telemetry import Telemetry


async def play(case: Case, **options: Any) -> None:
    telemetry = Telemetry()
    await converse(case, traced(telemetry.tracer_provider, telemetry.meter_provider, **options))
    telemetry.shutdown()


def main() -> None:
    complaints: list[str] = []

    def complain(unraisable: Any) -> None:
        complaints.append(unraisable.exc_type.__name__)

    sys.unraisablehook = complain
    logging.disable(logging.CRITICAL)  # what the host says of its clients
    options = {"segment_duration": 0.001} if "segments" in sys.argv else {}
    for case in FEW if sys.argv[1:] else ONE_EACH:
        asyncio.run(play(case, **options))
    if "leak" in sys.argv:
        socket.socket()
    gc.collect()
    sys.stdout.write(json.dumps(complaints))


if __name__ == "__main__":
    main()

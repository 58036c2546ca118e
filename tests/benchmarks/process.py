"""One server process of the benchmark: `python -m tests.benchmarks.process JSON`.

It prints a line of JSON for each step that is done, and at last one with the result.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from tests.benchmarks.memory import collection, growth, memory
from tests.benchmarks.ratios import Prices, ratios
from tests.benchmarks.scale import scale
from tests.benchmarks.segments import segments
from tests.support.file_limit import raise_file_limit

TASKS: Final[Mapping[str, Callable[..., Coroutine[Any, Any, Prices]]]] = {
    "ratios": ratios,
    "memory": memory,
    "growth": growth,
    "collection": collection,
    "scale": scale,
    "segments": segments,
}

SDK: Final = "opentelemetry.sdk"


def forbid_the_sdk() -> None:
    """Make the SDK as good as not installed: importing it raises ModuleNotFoundError.

    Raises:
        RuntimeError: it has been imported before.
    """
    if any(name.startswith(SDK) for name in sys.modules):
        raise RuntimeError("the SDK has been imported already")
    sys.modules[SDK] = None  # type: ignore[assignment]  # how Python marks what is not to be found


def say(line: object) -> None:
    """Tell the process that started this one."""
    print(json.dumps(line), flush=True)  # noqa: T201  # that is how it listens


def main(task: str, arguments: dict[str, Any]) -> None:
    """Do a task, with the SDK or without."""
    raise_file_limit()
    if arguments.get("sdk") is False:
        forbid_the_sdk()
    prices = asyncio.run(TASKS[task](**arguments, progress=lambda: say({"step": 1})))
    say({"prices": prices})


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    main(asked.pop("task"), asked)

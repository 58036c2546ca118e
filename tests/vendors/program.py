"""Plays the conversations under one vendor: `python -m tests.vendors.program NAME`.

It prints the versions, then what is wrong, and ends with 1 if anything is. Nothing of OpenTelemetry
is imported before the recipe has run: some vendors have to come first.
"""

import asyncio
import logging
import os
import platform
import sys
import time
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from tests.vendors.page import Recipe
from tests.vendors.receiver import Receiver, receive
from tests.vendors.stack import Stack

FOREIGN: Final = (
    "APPLICATIONINSIGHTS_",
    "DD_",
    "ELASTIC_",
    "HONEYCOMB_",
    "LOGFIRE_",
    "OTEL_",
    "SENTRY_",
)
"""How the variables begin that lead telemetry elsewhere."""


def lead_to(endpoint: str, stack: Stack) -> None:
    """Lead all that is exported to the receiver, and keep the rest from leaving the machine."""
    for name in list(os.environ):
        if name.startswith(FOREIGN):
            del os.environ[name]
    os.environ.update(dict.fromkeys(("http_proxy", "https_proxy"), endpoint))
    os.environ.update(dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost"))
    os.environ.update(stack.environment(endpoint))


def versions(stack: Stack) -> str:
    return " · ".join(_version(package) for package in stack.packages)


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def play(stack: Stack, recipe: Recipe, receiver: Receiver) -> list[str]:
    """Play the conversations; return what is wrong."""
    # What follows is for after the recipe.
    from opentelemetry import metrics, trace  # noqa: PLC0415

    from strawberry_ws_otel import OTelConfig  # noqa: PLC0415
    from tests.vendors import application, judging  # noqa: PLC0415

    records: list[tuple[str, str]] = []
    keeper = logging.Handler()
    keeper.emit = lambda record: records.append(_read(record))  # type: ignore[method-assign]
    logging.getLogger("strawberry_ws_otel").addHandler(keeper)

    names = recipe.names
    began = time.time()
    heard = asyncio.run(
        application.serve(
            names.get("otel_config", OTelConfig()),
            names.get("instrument", lambda _app: None),
            stack.carrier,
        )
    )
    for provider in trace.get_tracer_provider(), metrics.get_meter_provider():
        getattr(provider, "force_flush", lambda: None)()
    recipe.finish()
    arrivals = stack.read(receiver)
    return [
        *judging.heard_problems(heard),
        *judging.problems(stack, arrivals, (began, time.time())),
        *judging.log_problems(stack, records, arrivals),
    ]


def _read(record: logging.LogRecord) -> tuple[str, str]:
    cause = f": {record.exc_info[1]!r}" if record.exc_info else ""
    return record.levelname, record.getMessage() + cause


def main(name: str) -> int:
    stack: Stack = import_module(f"tests.vendors.{name}").STACK
    print(f"{versions(stack)} · Python {platform.python_version()}", flush=True)  # noqa: T201
    receiver = receive(stack.answer)
    lead_to(receiver.endpoint, stack)
    recipe = Recipe(stack.section)
    recipe.follow()
    wrong = play(stack, recipe, receiver)
    for each in wrong:
        print(each)  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

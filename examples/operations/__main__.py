"""Run the operator's kit: `python -m examples.operations`, with `--check` as a test of itself."""

import argparse
import asyncio
import logging
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from examples.demo.server import CONNECTIONS_PATH, PATH
from examples.deployment.log import with_ids
from examples.operations import rules
from examples.operations.binaries import HERE, MissingError
from examples.operations.drill import CAUSED, LIMIT, Drill, MissedError, Watch
from examples.operations.jaeger import Jaeger
from examples.operations.kit import kit, telemetry
from examples.operations.ports import PortError, Ports, url
from examples.operations.process import Process, ServerError
from examples.operations.traffic import traffic
from examples.operations.webhook import Notice, receiving

COMPLAINTS: Final = 3
"""How many kinds of trouble are printed. A busy machine causes some, such as late heartbeats."""

AGAIN: Final = "What happened within the last day (24 minutes here) is less unusual."
"""Why an alert may stay silent when a drill is repeated."""

LOGS: Final = HERE.parents[1] / "build" / "operations"
"""The folder of the ticker's log, which stays when the kit has ended."""

WELCOME: Final = """
Price ticker  {ticker}
Open now      {connections}
Its log       {log}
Jaeger        {jaeger}
Prometheus    {prometheus}
Alertmanager  {alertmanager}

Time is short here: a minute of the alerting rules is a second. Ctrl-C ends all of it. The log
stays until the kit starts again.
"""


def say(line: str) -> None:
    """Print a line with the time."""
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


def report(notice: Notice) -> None:
    """Print an alert as it reaches the webhook."""
    severity, summary = notice.labels.get("severity", ""), notice.annotations.get("summary", "")
    say(f"{notice.status.upper():8}  {severity} {notice.alert}: {summary}")
    if notice.status == "firing":
        for name in ("description", "jaeger", "runbook_url"):
            if text := notice.annotations.get(name):
                print(f"                    {text}", flush=True)


async def drills(ports: Ports, processes: Mapping[str, Process], *, check: bool) -> None:
    """Run one drill, or one after the other.

    Raises:
        MissedError: In a check, something did not come in time.

    """
    watch, complaints = Watch(report), Counter[str]()

    def complain(what: str) -> None:
        complaints[what] += 1

    async with receiving(ports.webhook, watch.see), traffic(ports.demo, complain) as ticker:
        drill = Drill(
            ticker,
            Jaeger(url(ports.jaeger_query)),
            processes["Collector"],
            tuple(processes.values()),
            watch,
            say,
        )
        while True:
            try:
                await drill.run()
            except MissedError as missed:
                if check:
                    raise
                say(f"{missed}. {AGAIN}")
            finally:
                for what, times in complaints.most_common(COMPLAINTS):
                    say(f"{times} clients failed on their side: {what}")
            if check:
                return
            complaints.clear()
            watch.forget()


def run(ports: Ports, folder: Path, *, check: bool) -> None:
    """Run the kit until it is stopped or checked."""
    began = time.monotonic()
    rules.write(folder, ports, shorter=True)
    with kit(ports, folder, say) as processes, telemetry(ports):
        print(
            WELCOME.format(
                ticker=url(ports.demo, PATH),
                connections=url(ports.demo, CONNECTIONS_PATH),
                log=start_log(check=check),
                jaeger=url(ports.jaeger_query),
                prometheus=url(ports.prometheus),
                alertmanager=url(ports.alertmanager),
            ),
            flush=True,
        )
        try:
            asyncio.run(drills(ports, processes, check=check))
        except MissedError:
            for process in processes.values():
                print(process.end_of_log(), file=sys.stderr)
            raise
    took = time.monotonic() - began
    say(f"{len(CAUSED)} alerts have fired and resolved, within {took:.0f} s")


def start_log(*, check: bool) -> Path:
    """Begin the ticker's log, instead of the one of the last time, and return its file."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / ("check.log" if check else "ticker.log")
    handler = logging.FileHandler(log, mode="w", encoding="utf-8")
    logging.basicConfig(handlers=[with_ids(handler)])
    return log


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.operations",
        description="Jaeger, a Collector, Prometheus and Alertmanager around the demo's server.",
        epilog="Choose ports in the environment, for example with PROMETHEUS_PORT=9091.",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="end once every kind of abnormal close was seen in Jaeger, every alert that a drill"
        " causes has fired, led to its client and resolved, or one of the steps has taken"
        f" {LIMIT:.0f} s; on any free ports",
    )
    return parser.parse_args()


def main() -> int:
    """Run the command; return its exit status."""
    check = parse().check
    # A shell makes its background processes ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # SIGTERM stops the kit like Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with tempfile.TemporaryDirectory(prefix="operations-") as name:
            run(Ports.free() if check else Ports.chosen(), Path(name), check=check)
    except MissedError as missed:
        print(missed, file=sys.stderr)
        return 1
    except (MissingError, PortError, ServerError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130 if check else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Writes the files of Prometheus and Alertmanager, optionally with shorter durations.

An alert looks at minutes, hours or days, and nobody waits that long to see it fire. So every
duration in the files (`for`, ranges, offsets, the intervals of scraping, evaluating and notifying)
can be divided by the same number, and so can the minutes and hours for which a connection lasted
that an alert's search finds. The expressions and their thresholds stay the same: what runs at 60
times the speed here is what runs in production. The texts of the alerts also stay the same, and
still name minutes.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from examples.operations.binaries import HERE
from examples.operations.ports import Ports

SHORTER: Final[Mapping[str, int]] = {
    # Once a second: a scrape fails if it takes longer than its interval.
    "prometheus.yml": 15,
    "alertmanager.yml": 60,
    "rules/recording.yml": 60,
    "rules/alerts.yml": 60,
    # A day takes 40 seconds.
    "rules/alerts-slow.yml": 2160,
}
"""Every file, and the number that divides its durations in the kit."""

OPTIONAL: Final = ("rules/slo.yml",)
"""The files of rules that the kit does not run."""

MILLISECONDS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DURATION: Final = re.compile(
    r"(?P<before>\[|\boffset |\b(?:for|\w+_for|\w+_wait|interval|\w+_interval): "
    r"|&(?:min|max)Duration=(?=\d+[mh]))"
    r"(?P<number>\d+)(?P<unit>[smhd])\b"
)
"""A duration that Prometheus or Alertmanager reads, not one in names and texts.

In the address of a search it is one of minutes or hours: seconds are the same for everybody.
"""

ALERT: Final = re.compile(r"^ +- alert: (\w+)$", re.MULTILINE)


def shortened(text: str, times: int) -> str:
    """Divide every duration in a file of Prometheus or Alertmanager."""

    def shorter(found: re.Match[str]) -> str:
        milliseconds = int(found["number"]) * MILLISECONDS[found["unit"]] // times
        return f"{found['before']}{milliseconds}ms"

    return text if times == 1 else DURATION.sub(shorter, text)


def write(folder: Path, ports: Ports, *, shorter: bool = False) -> None:
    """Write all files to `folder`, with these ports, and optionally with shorter durations.

    `prometheus.yml` finds the rules by itself.
    """
    for name, times in SHORTER.items():
        text = ports.applied_to((HERE / name).read_text(encoding="utf-8"))
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(shortened(text, times if shorter else 1), encoding="utf-8")


def alerts() -> tuple[str, ...]:
    """Return the names of all alerts."""
    texts = ((HERE / name).read_text(encoding="utf-8") for name in (*SHORTER, *OPTIONAL))
    # An alert of two severities has two rules.
    return tuple(dict.fromkeys(alert for text in texts for alert in ALERT.findall(text)))

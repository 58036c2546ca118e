"""Gives Prometheus and Alertmanager their files, if need be with shorter durations.

An alert looks at minutes, hours or days, and nobody waits that long to see it fire. So every
duration in the files (`for`, ranges, offsets, the intervals of scraping, evaluating and notifying)
can be divided by the same number. The expressions and their thresholds stay as they are: what is
tried out at 60 times the speed is what runs in production. The texts of the alerts stay too, and go
on to speak of minutes.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from examples.operations.binaries import HERE
from examples.operations.ports import Ports

SHORTER: Final[Mapping[str, int]] = {
    # Once a second: a scrape that takes longer than its interval fails.
    "prometheus.yml": 15,
    "alertmanager.yml": 60,
    "rules/recording.yml": 60,
    "rules/alerts.yml": 60,
    # A day in 40 seconds.
    "rules/alerts-slow.yml": 2160,
}
"""Every file, and by what its durations are divided for trying out."""

MILLISECONDS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DURATION: Final = re.compile(
    r"(?P<before>\[|\boffset |\b(?:for|\w+_for|\w+_wait|\w+_interval): )"
    r"(?P<number>\d+)(?P<unit>[smhd])\b"
)
"""A duration where Prometheus or Alertmanager reads one: not in names, texts and addresses."""

ALERT: Final = re.compile(r"^ +- alert: (\w+)$", re.MULTILINE)


def shortened(text: str, times: int) -> str:
    """Divide every duration in a file of Prometheus or Alertmanager."""

    def shorter(found: re.Match[str]) -> str:
        milliseconds = int(found["number"]) * MILLISECONDS[found["unit"]] // times
        return f"{found['before']}{milliseconds}ms"

    return text if times == 1 else DURATION.sub(shorter, text)


def write(folder: Path, ports: Ports, *, shorter: bool = False) -> None:
    """Write all files to `folder`, with these ports, and for trying out with shorter durations.

    `prometheus.yml` finds the rules by itself.
    """
    for name, times in SHORTER.items():
        text = ports.applied_to((HERE / name).read_text(encoding="utf-8"))
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(shortened(text, times if shorter else 1), encoding="utf-8")


def alerts() -> tuple[str, ...]:
    """Name every alert there is."""
    texts = ((HERE / name).read_text(encoding="utf-8") for name in SHORTER)
    return tuple(alert for text in texts for alert in ALERT.findall(text))

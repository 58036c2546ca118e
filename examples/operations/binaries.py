"""Finds the programs of the kit: Jaeger where `tools/install` puts it, the others on the PATH."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
INSTALL: Final = "examples/operations/tools/install"

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "Jaeger": ("jaeger",),
    "Prometheus": ("prometheus",),
    "promtool": ("promtool",),
    # Debian's name for it, then the usual one.
    "Alertmanager": ("prometheus-alertmanager", "alertmanager"),
    "amtool": ("amtool",),
}
"""The possible file names of each program."""


class MissingError(Exception):
    """A program is not installed; the message says how to install it."""


def jaeger_version() -> str:
    """Read the version of Jaeger that the kit is made for."""
    go_mod = (HERE / "tools" / "go.mod").read_text(encoding="utf-8")
    found = re.search(r"github\.com/jaegertracing/jaeger (v\S+)", go_mod)
    if not found:
        raise ValueError("tools/go.mod names no version of Jaeger")
    return found[1]


def installed_jaeger() -> Path:
    """Return the path at which `tools/install` puts Jaeger."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "strawberry-ws-otel" / f"jaeger-{jaeger_version()}"


def find(program: str) -> str:
    """Return the path of a program of `NAMES`.

    Raises:
        MissingError: It is not installed.

    """
    if program == "Jaeger" and (installed := installed_jaeger()).is_file():
        return str(installed)
    for name in NAMES[program]:
        if path := shutil.which(name):
            return path
    raise MissingError(f"{program} is not installed. Install all that is missing with: {INSTALL}")


def missing() -> list[str]:
    """Name every program that is not installed."""

    def is_missing(program: str) -> bool:
        try:
            find(program)
        except MissingError:
            return True
        return False

    return [program for program in NAMES if is_missing(program)]

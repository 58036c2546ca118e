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


def installed(name: str, module: str, go_mod: str) -> Path:
    """Return the path at which `tools/install` puts what comes from a Go module.

    Args:
        name: What it is called there, before its version.
        module: The path of the module.
        go_mod: The file in `tools` that pins the version.

    """
    text = (HERE / "tools" / go_mod).read_text(encoding="utf-8")
    found = re.search(rf"\b{re.escape(module)} (v\S+)", text)
    if not found:
        raise ValueError(f"tools/{go_mod} names no version of {module}")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "strawberry-ws-otel" / f"{name}-{found[1]}"


def installed_jaeger() -> Path:
    """Return the path at which `tools/install` puts Jaeger."""
    return installed("jaeger", "github.com/jaegertracing/jaeger", "go.mod")


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

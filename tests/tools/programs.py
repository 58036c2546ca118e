"""Finds the programs that some tests need and that are no Python packages."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
INSTALL: Final = "tests/tools/install"

NAMES: Final = {"node": ("node", "nodejs"), "chromium": ("chromium",), "nginx": ("nginx",)}
"""What the file of each program may be called."""

MODULES: Final = ("tests/clients/node/node_modules", "examples/browser/node_modules")
"""What npm installs, in this checkout."""

DEBIAN_PLACES: Final = "/usr/sbin"
"""Where Debian puts servers, which is not on everybody's path."""


def _path(program: str) -> str | None:
    for name in NAMES[program]:
        if path := shutil.which(name) or shutil.which(name, path=DEBIAN_PLACES):
            return path
    return None


def find(program: str) -> str:
    """Return the path of a program of `NAMES`.

    Raises:
        FileNotFoundError: It is not installed.

    """
    if path := _path(program):
        return path
    raise FileNotFoundError(f"{program} is not installed: {INSTALL}")


def missing(programs: Iterable[str]) -> list[str]:
    """Name what is not installed of these programs, and for Node what npm did not install."""
    names = [program for program in programs if _path(program) is None]
    if "node" in programs:
        names += [folder for folder in MODULES if not (ROOT / folder).is_dir()]
    return names

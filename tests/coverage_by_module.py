"""Check that each module is covered by the unit tests of its own name.

`python -m tests.coverage_by_module` checks every module, with `_close` behind it only that one. The
tests of a module run in a process of their own: what others import, cache or leave behind covers
nothing here.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from tests.support.library import MODULES, ROOT, tree_of

CHECKOUT: Final = Path(__file__).parents[1]
NOT_COVERED: Final = 2
"""How `coverage report` exits below `fail_under`."""


class Elsewhere(NamedTuple):
    """Why the unit tests of a module do not cover it, and which tests do."""

    reason: str
    tests: tuple[str, ...]


EXCEPTIONS: Final = {
    "_aiohttp/view": Elsewhere(
        "it needs a server", ("tests/aiohttp", "tests/contract", "tests/attacks/faults")
    ),
    "_aiohttp/websocket": Elsewhere(
        "it needs a socket", ("tests/aiohttp", "tests/contract", "tests/attacks/faults")
    ),
}


def unit_test_of(module: str) -> str:
    """Return the unit test of a module, from the checkout: that of `_close` is `test_close.py`.

    That of a package with code, such as `console/__init__`, has the name of the package.
    """
    return f"tests/unit/test_{module.removesuffix('/__init__').rpartition('/')[2].strip('_')}.py"


def has_code(module: str) -> bool:
    """Whether a module is more than a docstring."""
    return len(tree_of(module).body) > 1


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run coverage with these arguments; what it prints is kept, in order."""
    return subprocess.run(  # noqa: S603  # our own arguments
        [sys.executable, "-m", "coverage", *arguments],
        cwd=CHECKOUT,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def uncovered(module: str) -> str | None:
    """Return what the unit tests of a module leave uncovered in it, as coverage reports it.

    Raises:
        RuntimeError: the tests fail, or coverage does.
    """
    if not (CHECKOUT / unit_test_of(module)).exists():
        return f"there is no {unit_test_of(module)}"
    with TemporaryDirectory() as folder:
        data = f"--data-file={folder}/coverage"
        tests = run("run", data, "-m", "pytest", "-q", "-n", "0", unit_test_of(module))
        if tests.returncode:
            raise RuntimeError(tests.stdout)
        report = run("report", data, f"--include={ROOT / module}.py")
    if report.returncode not in {0, NOT_COVERED}:
        raise RuntimeError(report.stdout)
    return report.stdout if report.returncode else None


def complaint(module: str) -> str | None:
    """Return what is wrong with the unit tests of a module."""
    try:
        left = uncovered(module)
    except RuntimeError as error:
        return f"{unit_test_of(module)} fails:\n{error}"
    exception = EXCEPTIONS.get(module)
    if exception is None:
        return left and f"{module} is not covered by its unit tests:\n{left}"
    return None if left else f"{module} needs no exception: its unit tests cover it"


def check(modules: Sequence[str]) -> bool:
    """Check these modules, several at a time; return whether all are as they have to be."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        complaints = dict(zip(modules, pool.map(complaint, modules), strict=True))
    for each in filter(None, complaints.values()):
        sys.stdout.write(f"{each}\n")
    passed = {module for module, each in complaints.items() if not each}
    sys.stdout.write(
        f"{len(passed)} of {len(modules)} modules passed,"
        f" {len(passed & EXCEPTIONS.keys())} of them by an exception\n"
    )
    return len(passed) == len(modules)


def main() -> None:
    """Check what the command line names."""
    known = sorted(filter(has_code, MODULES))
    parser = argparse.ArgumentParser(
        prog="python -m tests.coverage_by_module", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="such as _strawberry/errors")
    modules = parser.parse_args().modules or known
    if unknown := {*modules, *EXCEPTIONS}.difference(known):
        parser.error(f"there are no modules {', '.join(sorted(unknown))}")
    sys.exit(not check(modules))


if __name__ == "__main__":
    main()

"""Plays the conversations under every vendor: `python -m tests.vendors [VENDOR...]`.

Each vendor gets a virtual environment, with the project and exactly what its constraint file pins.
It needs nothing but the standard library. A vendor that cannot be installed has failed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
ITS_OWN: Final = frozenset(
    {"pip", "setuptools", "strawberry-ws-otel", "strawberry_ws_otel", "wheel"}
)
"""What no constraint file has to pin: the project, and what a new environment comes with."""
INSTALL_SECONDS: Final = 900
PROGRAM_SECONDS: Final = 180


@dataclass(frozen=True)
class Result:
    """What became of one vendor."""

    vendor: str
    versions: str
    seconds: float
    failure: str = ""

    def __str__(self) -> str:
        word = "FAILED" if self.failure else "passed"
        line = f"{self.vendor:<10} {word} in {self.seconds:3.0f} s · {self.versions}"
        return f"{line}\n{self.failure.rstrip()}\n" if self.failure else line


class Failure(Exception):  # noqa: N818  # what it says is what failed
    """A step of one vendor that went wrong, with what it printed."""


def vendors() -> list[str]:
    """Those that have a constraint file."""
    return sorted(file.stem for file in HERE.glob("*.txt"))


def programs(vendor: str) -> list[str]:
    """The modules of one vendor: one for each way to set it up."""
    return sorted(file.stem for file in (*HERE.glob(f"{vendor}.py"), *HERE.glob(f"{vendor}_*.py")))


def run(vendor: str, folder: Path, project: str) -> Result:
    began = time.monotonic()
    versions, failures = "", []
    try:
        python = install(vendor, folder / vendor, project)
        for program in programs(vendor):
            command = python, "-m", "tests.vendors.program", program
            done = call(command, PROGRAM_SECONDS, folder=folder)
            versions = versions or done.stdout.partition("\n")[0]
            if done.returncode:
                failures.append(f"{program} ended with {done.returncode}\n{output(done)}")
    except Failure as error:
        failures.append(str(error))
    return Result(vendor, versions, time.monotonic() - began, "\n".join(failures))


def install(vendor: str, place: Path, project: str) -> Path:
    """Make the environment of a vendor; return its interpreter."""
    venv.create(place, with_pip=True, clear=True)
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    pins = HERE / f"{vendor}.txt"
    pip = python, "-m", "pip", "--disable-pip-version-check"
    installed = call((*pip, "install", "--quiet", "--requirement", pins, project), INSTALL_SECONDS)
    if installed.returncode:
        raise Failure(f"pip install ended with {installed.returncode}\n{output(installed)}")
    frozen = call((*pip, "freeze", "--all"), INSTALL_SECONDS).stdout.splitlines()
    pinned = {line for line in pins.read_text().splitlines() if line and not line.startswith("#")}
    found = {line for line in frozen if line in pinned or name(line) not in ITS_OWN}
    if pinned != found:
        raise Failure(f"{pins.name} is not what was installed: {sorted(pinned ^ found)}")
    return python


def name(requirement: str) -> str:
    """The package that a line of `pip freeze` is about."""
    return re.split("[ =@]", requirement, maxsplit=1)[0]


def call(
    command: Sequence[str | Path], seconds: float, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    try:
        return subprocess.run(  # noqa: S603  # our own commands
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Failure(f"{' '.join(map(str, command))} took longer than {seconds} s") from error


def output(done: subprocess.CompletedProcess[str]) -> str:
    """What a command printed, the log last."""
    return f"{done.stdout}{done.stderr}"


@contextmanager
def workplace(kept: Path | None) -> Iterator[Path]:
    """A folder with the programs, but not with the package: that comes from the environment."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = (kept or Path(temporary)).resolve()
        for part in (
            HERE,
            ROOT / "tests" / "__init__.py",
            ROOT / "docs" / "recipes" / "vendors.md",
        ):
            target = folder / part.relative_to(ROOT)
            if part.is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(part, target, ignore=ignore, dirs_exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(part, target)
        yield folder


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.vendors", description=__doc__)
    parser.add_argument("vendors", nargs="*", metavar="VENDOR", help=", ".join(vendors()))
    parser.add_argument(
        "--install", default=str(ROOT), help="the project: a wheel or a folder (this checkout)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="vendors at a time (2)")
    parser.add_argument("--keep", type=Path, help="a folder for the environments, which stay")
    chosen = parser.parse_args()
    if unknown := set(chosen.vendors) - set(vendors()):
        parser.error(f"no such vendor: {', '.join(sorted(unknown))}")
    if Path(chosen.install).exists():
        chosen.install = str(Path(chosen.install).resolve())
    return chosen


def main() -> int:
    chosen = arguments()
    names = chosen.vendors or vendors()
    failed = 0
    with workplace(chosen.keep) as folder, ThreadPoolExecutor(chosen.jobs) as pool:
        running = [pool.submit(run, name, folder, chosen.install) for name in names]
        for each in as_completed(running):
            result = each.result()
            failed += bool(result.failure)
            print(result, flush=True)  # noqa: T201
    print(f"{len(names) - failed} passed, {failed} failed")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""A program for tests that runs another one several times, each time in a child of its own.

To import the hosts takes a second, to fork takes none. What a program changes in its process stays
in the child. `python -m tests.support.forked MODULE JSON` takes lists of arguments, one a run, and
prints a list of runs.
"""

import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import NamedTuple


class Run(NamedTuple):
    """How one run of a program ended."""

    status: int
    output: str
    errors: str


def run_each(
    module: str, arguments: Iterable[tuple[str, ...]], **environment: str
) -> Mapping[tuple[str, ...], Run]:
    """Run a module with each of these lists of arguments, one after the other."""
    arguments = list(arguments)
    done = subprocess.run(  # noqa: S603  # programs of ours
        [sys.executable, "-m", __name__, module, json.dumps(arguments)],
        capture_output=True,
        check=False,
        encoding="utf-8",
        env=os.environ | environment,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    runs = (Run(*run) for run in json.loads(done.stdout))
    return dict(zip(arguments, runs, strict=True))


def run(module: str, arguments: list[str]) -> Run:
    """Fork, run the module in the child, and wait for it."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        pid = os.fork()
        if pid == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            os._exit(run_here(module, arguments))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        written = []
        for file in (output, errors):
            file.seek(0)
            written.append(file.read().decode())
    return Run(status, *written)


def run_here(module: str, arguments: list[str]) -> int:
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as error:
        return int(error.code or 0)
    except BaseException:  # noqa: BLE001  # reported as the interpreter reports it
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def main(module: str, arguments: str) -> None:
    import_module(module)
    del sys.modules[module]
    runs = [run(module, each) for each in json.loads(arguments)]
    sys.stdout.write(json.dumps(runs))


if __name__ == "__main__":
    main(*sys.argv[1:])

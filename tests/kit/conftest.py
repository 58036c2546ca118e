"""Servers for the tests of the operator's kit, or the reason why there are none."""

import os
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from examples.operations.binaries import INSTALL, missing
from examples.operations.ports import Ports
from examples.operations.process import Process, Server, running
from tests.support.kit.servers import Start

REQUIRED = "REQUIRE_OPERATIONS"
"""With this variable set, a missing program fails the tests that need it."""

RUNNING = pytest.StashKey[list[Process]]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if any(map(item.get_closest_marker, ("operations", "rules"))):
        require(missing())


def require(programs: Sequence[str]) -> None:
    """Skip the test if programs are missing, or fail it."""
    if not programs:
        return
    reason = f"not installed: {', '.join(programs)}; see {INSTALL}"
    if os.environ.get(REQUIRED):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        for process in item.session.stash.get(RUNNING, []):
            report.sections.append((process.server.name, process.end_of_log()))
    return report


@pytest.fixture
def curl_and_jq() -> None:
    require([program for program in ("curl", "jq") if not shutil.which(program)])


@pytest.fixture(scope="module")
def ports() -> Ports:
    return Ports.free()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers of a module keep their logs and data."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="module")
def start(request: pytest.FixtureRequest, folder: Path) -> Iterator[Start]:
    """Starts a server, which runs until the module's last test is over."""
    processes = request.session.stash.setdefault(RUNNING, [])
    with ExitStack() as stack:

        def start(server: Server) -> Process:
            process = stack.enter_context(running(server, folder))
            processes.append(process)
            return process

        yield start
    processes.clear()

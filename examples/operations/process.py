"""Runs a server program: checks its ports, waits until it is ready, and stops it."""

import errno
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

from examples.demo.server import HOST
from examples.operations.binaries import HERE
from examples.operations.ports import PortError

PATIENCE: Final = 30.0
"""Seconds until a server has to be ready."""

GRACE: Final = 10.0
"""Seconds until a server has to end after SIGTERM."""

PAUSE: Final = 0.05
SHOWN_LINES: Final = 20


class ServerError(Exception):
    """A server did not start, or has ended; the message ends with the last lines of its log."""


@dataclass(frozen=True)
class Server:
    """A program that serves: its command, its ports, and how to see that it is ready.

    `ports` are named by their variables, such as `PROMETHEUS_PORT`. `ready` is the port and the
    path that answer 200 as soon as the server is ready.
    """

    name: str
    command: tuple[str, ...]
    ports: Mapping[str, int]
    ready: tuple[int, str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Process:
    """A running server, and its log file."""

    server: Server
    child: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise a ServerError if it has ended."""
        if (status := self.child.poll()) is not None:
            raise ServerError(
                f"{self.server.name} ended with status {status}.\n{self.end_of_log()}"
            )

    def end_of_log(self) -> str:
        """Return the last lines of its log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"The end of {self.log}:", *lines[-SHOWN_LINES:]])

    def is_ready(self) -> bool:
        """Return whether it is ready."""
        port, path = self.server.ready
        connection = HTTPConnection(HOST, port, timeout=1)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200  # noqa: PLR2004 - HTTP's OK
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def wait_until_ready(self) -> None:
        """Wait until it is ready; raise a ServerError if it never is."""
        deadline = time.monotonic() + PATIENCE
        while not self.is_ready():
            self.check()
            if time.monotonic() > deadline:
                late = f"{self.server.name} was not ready within {PATIENCE:.0f} s."
                raise ServerError(f"{late}\n{self.end_of_log()}")
            time.sleep(PAUSE)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the process by a signal while the block runs, so that it hangs."""
        self.child.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.child.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Terminate it; kill it if it does not end."""
        self.child.terminate()
        try:
            self.child.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


@contextmanager
def running(server: Server, folder: Path) -> Iterator[Process]:
    """Run a server until the block ends. It logs to `folder` and keeps its data there.

    Raises:
        PortError: One of its ports is taken.
        ServerError: The server was not ready in time.

    """
    for variable, port in server.ports.items():
        check_port(server.name, variable, port)
    log = folder / f"{server.name.lower().replace(' ', '-')}.log"
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 - the kit's own programs
            [*tied_to_us(), *server.command],
            cwd=HERE,
            # No other variables: one of another program could change what it does.
            env={"PATH": os.environ["PATH"], "TMPDIR": str(folder), **server.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C reaches this process only, which stops the servers in order.
            process_group=0,
        )
    process = Process(server, child, log)
    try:
        process.wait_until_ready()
        yield process
    finally:
        process.stop()


def tied_to_us() -> list[str]:
    """Return the command that kills a program when this process ends; nothing without `setpriv`."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def check_port(name: str, variable: str, port: int) -> None:
    """Raise a PortError if a port cannot be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            reason = "another program listens there" if taken else error.strerror
            raise PortError(
                f"{name} cannot use port {port} of {HOST}: {reason}."
                f" Choose another one with {variable}={port + 1}."
            ) from error

"""nginx in front of a server, with the configuration of the example."""

import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.deployment.programs import ROOT, Program, running, until
from tests.support.ports import free_port
from tests.tools.programs import find

CONFIGURATION = ROOT / "examples" / "deployment" / "nginx.conf"
OF_THE_UPGRADE = (
    "            proxy_set_header Upgrade $http_upgrade;\n",
    "            proxy_set_header Connection $connection_upgrade;\n",
)


@dataclass(frozen=True)
class Settings:
    """Where the nginx of a test differs from the example."""

    idle: str = "60s"
    shutdown: str = "60s"
    upgrades: bool = True

    def applied_to(self, text: str, upstream: int, port: int, folder: Path) -> str:
        """The configuration with these settings; each of them is changed where it stands."""
        paths = "".join(
            f"    {each}_temp_path {folder / each};\n"
            for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        changes = {
            "127.0.0.1:8000": f"127.0.0.1:{upstream}",
            "127.0.0.1:8080": f"127.0.0.1:{port}",
            "proxy_read_timeout 60s": f"proxy_read_timeout {self.idle}",
            "worker_shutdown_timeout 60s": f"worker_shutdown_timeout {self.shutdown}",
            "http {\n": f"http {{\n    access_log off;\n{paths}",
        }
        if not self.upgrades:
            changes |= dict.fromkeys(OF_THE_UPGRADE, "")
        for before, after in changes.items():
            assert text.count(before) == 1, before
            text = text.replace(before, after)
        return text


@dataclass(frozen=True)
class Proxy:
    """An nginx that runs."""

    port: int
    program: Program

    def workers(self) -> set[int]:
        pid = self.program.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return set(map(int, children.split()))

    def tell(self, sign: signal.Signals) -> None:
        self.program.process.send_signal(sign)

    async def reload(self) -> None:
        """Let new workers take over from the old ones, which keep the connections they have."""
        before = self.workers()
        self.tell(signal.SIGHUP)
        await until(lambda: bool(self.workers() - before), "there are new workers")

    def kill_workers(self) -> None:
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def proxying(upstream: int, folder: Path, settings: Settings) -> AsyncIterator[Proxy]:
    """Run nginx in the foreground, on a port of ours, until the block ends."""
    port, path = free_port(), folder / "nginx.conf"
    text = CONFIGURATION.read_text(encoding="utf-8")
    path.write_text(settings.applied_to(text, upstream, port, folder), encoding="utf-8")
    main = f"daemon off; pid {folder / 'pid'}; error_log stderr;"
    async with running(
        *(find("nginx"), "-e", "stderr", "-p", str(folder), "-c", str(path), "-g", main),
        output=folder / "log",
    ) as program:
        proxy = Proxy(port, program)
        await until(lambda: _listens(port) and bool(proxy.workers()), program.printed)
        yield proxy


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

"""The folder that a reader of the tutorial has after each step, on ports of the test's own."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.support.diffs import applied
from tests.support.pages import Page

PAGE: Final = Page("docs/tutorial.md")
SERVED: Final = b"Running on"


class Folder:
    """The files of the page, with the changes that it has made so far."""

    def __init__(self, path: Path, *, port: int, metrics: int, prometheus: int) -> None:
        self.path: Final = path
        self._ports: Final = {"8000": port, "9464": metrics, "9090": prometheus}
        for block in PAGE.all_blocks:
            if block.title:
                self.write(block.title, self.on_these_ports(block.code))
        self._changes = list(map(applied, map(self.on_these_ports, PAGE.blocks("diff"))))

    def on_these_ports(self, text: str) -> str:
        for written, port in self._ports.items():
            text = text.replace(written, str(port))
        return text

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text, encoding="utf-8")

    def change(self, count: int) -> None:
        """Make the next changes of the page to `app.py`."""
        for before, after in self._changes[:count]:
            text = (self.path / "app.py").read_text(encoding="utf-8")
            assert text.count(before) == 1, before
            self.write("app.py", text.replace(before, after))
        del self._changes[:count]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run `app.py` until the block ends."""
        process = await self.run("app.py")
        assert process.stdout is not None
        try:
            async with asyncio.timeout(30):
                assert SERVED in await process.stdout.readline()
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def vanish(self) -> None:
        """Run the client that disappears."""
        async with asyncio.timeout(30):
            process = await self.run("vanish.py")
            output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        assert output.decode().count("'next'") == 3  # as the page says

    async def run(self, name: str) -> asyncio.subprocess.Process:
        ours = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-u", name),
            cwd=self.path,
            env=ours,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

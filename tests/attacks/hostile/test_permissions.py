"""The library opens, starts and reads nothing itself: Python's own audit says so."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.library import MODULES, imports_of

REACHING_OUT: Final = (
    *("concurrent", "ctypes", "glob", "importlib", "io", "multiprocessing", "os", "pathlib"),
    *("pickle", "shutil", "socket", "ssl", "subprocess", "tempfile", "urllib.request"),
)
ALLOWED: Final = {
    # The class of the sockets that aiohttp has opened, which are asked whether they still are.
    "_aiohttp/websocket": {"socket.socket"},
    # For `register_at_fork`, which not every system has.
    "_metrics": {"os"},
    "_open": {"os"},
    "_segments": {"os"},
    # For `getpid`, by which the child of a fork is recognised.
    "_fuse": {"os"},
    "console/_exporter": {"os"},
    # For `NO_COLOR` and `COLUMNS`.
    "console/_terminal": {"os"},
    # For whether aiohttp is installed, before the mixin is imported.
    "__init__": {"importlib.util.find_spec"},
    # For whether the SDK is turned off, before it warns that there is none.
    "_recording": {"os.environ"},
    # For the options of an application that does not know the library.
    "instrumentor": {"os.environ"},
}
ROOT: Final = Path(__file__).parents[3]

PROGRAM: Final = '''
import asyncio, json, os, sys
from pathlib import Path
import strawberry_ws_otel
from tests.support.hosting import hosting, part
from tests.support.views import instrumented
from tests.support.schema import TICKS, make_schema
from tests.support.telemetry import Telemetry
from strawberry_ws_otel import OTelExtension

PAYLOAD = {"query": TICKS, "variables": {"to": 2}}
PACKAGE = str(Path(strawberry_ws_otel.__file__).parent)
WATCHED = ("open", "os.", "socket.", "subprocess.", "shutil.", "compile", "exec", "import",
           "_thread.", "ctypes.", "pty.", "tempfile.", "glob.", "urllib.", "sqlite3.")
seen, calls = set(), set()

def caller():
    """The function that called, over the frozen machinery."""
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith("<frozen"):
        frame = frame.f_back
    return frame

def watch(event, arguments):
    if event.startswith(WATCHED):
        frame = caller()
        seen.add(event)
        if frame is not None and frame.f_code.co_filename.startswith(PACKAGE):
            calls.add(f"{event} in {frame.f_code.co_name}")

class Environment(dict):
    """The environment, which notes when the library reads it."""
    def __getitem__(self, key):
        self.note()
        return super().__getitem__(key)
    def get(self, key, default=None):
        self.note()
        return super().get(key, default)
    def note(self):
        if sys._getframe(2).f_code.co_filename.startswith(PACKAGE):
            calls.add("environment")

async def converse(telemetry):
    view = instrumented(telemetry)(schema=make_schema(OTelExtension))
    async with hosting(view) as host:
        for protocol in ("graphql-transport-ws", "graphql-ws"):
            client = await host.acknowledged(protocol)
            start = "subscribe" if protocol.startswith("graphql-t") else "start"
            client.json({"type": start, "id": "1", "payload": PAYLOAD})
            await client.message("complete")
            await part(client)
        client = await host.acknowledged()
        client.json(5)
        await client.until_end()
        await host.served()

telemetry = Telemetry()
os.environ = Environment(os.environ)
sys.addaudithook(watch)
asyncio.run(converse(telemetry))
telemetry.metrics()
ours = sorted(calls)
spans = len(telemetry.spans())
# The watch works: what a function of the library opens is seen.
exec(compile("open('/dev/null').close()", PACKAGE + "/x.py", "exec"), {})
print(json.dumps({"ours": ours, "spans": spans, "seen": sorted(seen), "then": sorted(calls)}))
'''


def test_a_conversation_opens_starts_and_reads_nothing() -> None:
    done = subprocess.run(  # noqa: S603  # the program above
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    recorded = json.loads(done.stdout)
    assert recorded["ours"] == []
    assert recorded["spans"] == 8
    assert "socket.bind" in recorded["seen"]
    assert recorded["then"] == ["open in <module>"]


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_what_it_would_need_for_that(module: str) -> None:
    reaching_out = tuple(f"{name}." for name in REACHING_OUT)
    found = {name for name in imports_of(module) if f"{name}.".startswith(reaching_out)}
    assert found == ALLOWED.get(module, set())

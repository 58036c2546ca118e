"""Clients that run on Node, each in a process of its own."""

import asyncio
import json
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from tests.clients.model import PATIENCE, Kind, RealClient
from tests.support.scenarios.model import CLOSED, by_client, by_server
from tests.support.scenarios.steps import LEGACY, TRANSPORT
from tests.tools.programs import find

SCRIPTS: Final = Path(__file__).parent / "node"


class NodeClient(RealClient):
    """A program of `node/`, which reads lines of JSON that say what to do, and answers in lines."""

    script: ClassVar = "client.js"

    def __init__(self, *arguments: str) -> None:
        super().__init__()
        self._arguments = arguments
        self._process: Process
        self._reader: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(find("node"), self.script, *self._arguments), cwd=SCRIPTS, stdin=PIPE, stdout=PIPE
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            raise
        finally:
            await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            await self.saw(json.loads(line))
        await self.gone()

    async def tell(self, do: str, **facts: Any) -> None:
        """Tell the program to do something, which it does in its own time."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **facts}).encode() + b"\n")
        await self._process.stdin.drain()

    async def ask(self, id_: str, document: str, **variables: Any) -> None:
        await self.tell("ask", id=id_, document=document, variables=variables)

    async def stop(self, id_: str) -> None:
        await self.tell("stop", id=id_)

    async def leave(self) -> None:
        await self.tell("leave")

    def kill(self) -> None:
        self._process.kill()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)


def _kind(name: str, **habits: Any) -> Kind:
    def connect(url: str, options: Mapping[str, Any]) -> NodeClient:
        return NodeClient(name, url, json.dumps(options))

    return Kind(name=name, connect=connect, **habits)


def _over_graphql_ws(name: str) -> Kind:
    leaving = by_client("normal", 1000, "Normal Closure")
    return _kind(name, protocol=TRANSPORT, leaving=leaving, left=CLOSED)


GRAPHQL_WS: Final = _over_graphql_ws("graphql-ws")
SUBSCRIPTIONS_TRANSPORT_WS: Final = _kind(
    "subscriptions-transport-ws",
    protocol=LEGACY,
    # It sends `connection_terminate`, at which the host closes, and a close frame without a code.
    leaving=by_server("normal", 1000, echo=1005),
    left="client_completed",
)
NODE: Final = (
    GRAPHQL_WS,
    _over_graphql_ws("Apollo Client"),
    _over_graphql_ws("urql"),
    SUBSCRIPTIONS_TRANSPORT_WS,
)

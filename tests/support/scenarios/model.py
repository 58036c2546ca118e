"""What a scenario is: a conversation, and how it closes."""

import asyncio
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.raw_client import Client, Ended
from tests.support.scenarios.steps import LEGACY, TRANSPORT, Step
from tests.support.server import Server, Setup

BOTH = (TRANSPORT, LEGACY)
CLOSED = "connection_closed"
LIVE = (CLOSED,)
FAULTS = {
    "normal": "none",
    "server_shutdown": "none",
    "connection_lost": "network",
    "heartbeat_timeout": "network",
    "invalid_frame": "client",
    "invalid_message": "client",
    "init_timeout": "client",
    "unauthorized": "client",
    "forbidden": "client",
    "subprotocol_rejected": "client",
    "duplicate_operation": "client",
    "duplicate_init": "client",
    "handshake_rejected": "client",
    "client_terminated": "client",
    "client_error": "unknown",
    "server_error": "server",
    "application_code": "unknown",
    "other": "unknown",
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a connection really closed.

    `error` is the class of the exception, if any, and `message` what is recorded of its message on
    the event of a `server_error`.
    """

    outcome: str
    code: int | None
    initiator: str = "none"
    clean: bool = False
    reason: str = ""
    sent: int | None = None
    received: int | None = None
    error: str | None = None
    message: str | None = ""
    http_status: int | None = None

    @property
    def fault(self) -> str:
        return FAULTS[self.outcome]

    @property
    def abnormal(self) -> bool:
        return self.fault != "none"

    @property
    def error_type(self) -> str | None:
        return (self.error or self.outcome) if self.abnormal else None


def by_client(outcome: str, code: int | None, reason: str = "") -> Verdict:
    """The client's close frame came first, and aiohttp answered it with 1000."""
    received = 1005 if code is None else code
    return Verdict(
        outcome=outcome,
        code=received,
        initiator="client",
        clean=True,
        reason=reason,
        sent=1000,
        received=received,
    )


def by_server(
    outcome: str, code: int, reason: str = "", *, echo: int | None = None, error: str | None = None
) -> Verdict:
    """The server's close frame came first; `echo` is the code of the client's answer."""
    return Verdict(
        outcome=outcome,
        code=code,
        initiator="server",
        clean=echo is not None,
        reason=reason,
        sent=code,
        received=echo,
        error=error,
    )


def without_frames(outcome: str, error: str | None = None, message: str | None = "") -> Verdict:
    """Nobody sent a close frame."""
    return Verdict(outcome=outcome, code=1006, error=error, message=message)


def unwritable(error: str, code: Any, reason: Any = b"") -> Verdict:
    """The server was to close with a code or a reason of which no frame can be made.

    What the exception of class `error` says of that depends on the Python.
    """
    message = None
    try:
        struct.pack("!H", code) + (reason.encode() if isinstance(reason, str) else reason)
    except Exception as raised:  # noqa: BLE001  # whatever the arguments lead to
        message = str(raised)
    return without_frames("server_error", error, message)


def refused(
    outcome: str, status: int | None, error: str | None = None, message: str | None = ""
) -> Verdict:
    """The handshake never became a WebSocket."""
    return Verdict(outcome=outcome, code=None, http_status=status, error=error, message=message)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a connection really ended.

    `operations` are the end reasons of its operations in the order in which they began, and
    `redundant` is how often somebody closed it again.
    """

    verdict: Verdict
    operations: tuple[str, ...] = ()
    redundant: int = 0

    @property
    def interrupted(self) -> int:
        return self.operations.count(CLOSED)


@dataclass(frozen=True, kw_only=True)
class Scenario(Ending):
    """One row of the matrix.

    `cancellations` are the settings of aiohttp's `handler_cancellation` under which it holds, and
    `since` is the Strawberry from which on it does: an older host behaves in another way. A
    scenario that `floods` leaves open how many frames arrive, and one that is `representative`
    also runs on uvloop. One that is `read_by_aiohttp` ends with a frame that aiohttp reads and
    answers before it asks the host: it does the same for both subprotocols.
    """

    name: str
    talk: Step
    protocols: tuple[str | None, ...] = BOTH
    cancellations: tuple[bool, ...] = (False, True)
    since: tuple[int, ...] = ()
    setup: Setup = Setup()  # noqa: RUF009  # frozen
    headers: Mapping[str, str] = field(default_factory=dict)
    floods: bool = False
    read_by_aiohttp: bool = False
    representative: bool = False


async def play(
    scenario: Scenario,
    server: Server,
    protocol: str | None,
    *,
    pause: float = 0.0,
    limit: float = 20.0,
) -> Client:
    """Hold the conversation of a scenario until both sides are done with it.

    Args:
        scenario: what is said.
        server: whom it is said to.
        protocol: the subprotocol that the client asks for.
        pause: seconds between the connection and the conversation.
        limit: seconds within which both must be done.
    """
    async with asyncio.timeout(limit):
        client = await server.connect(protocol=protocol, headers=scenario.headers)
        await asyncio.sleep(pause)
        try:
            await scenario.talk(client, server)
        except Ended as error:
            raise AssertionError(f"ended too early after {client.frames[-3:]}") from error
        await client.until_end()
        await server.ended.wait()
        return client

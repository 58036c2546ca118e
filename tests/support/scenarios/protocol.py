"""The host enforces its subprotocol: the codes 44xx, and the ways of the legacy protocol."""

from datetime import timedelta
from typing import Any

from strawberry.exceptions import ConnectionRejectionError

from tests.support.frames import close_frame, text_frame
from tests.support.raw_client import Client
from tests.support.scenarios.model import CLOSED, LIVE, Scenario, by_server
from tests.support.scenarios.steps import (
    INIT,
    LEGACY,
    TRANSPORT,
    Step,
    asks,
    handshake,
    live,
    says,
    sends,
    silent,
    steps,
)
from tests.support.schema import HELLO, UNPARSABLE
from tests.support.server import Server, Setup, raises

BAD_INIT = says({"type": "connection_init", "payload": 5})
NO_JSON = says("{")
NOT_JSON = "WebSocket message must be valid JSON"
REJECTING = Setup(connect=raises(ConnectionRejectionError, {"why": "no token"}))
IMPATIENT = Setup(view={"connection_init_wait_timeout": timedelta(seconds=0.05)})
BRISK = Setup(socket={"timeout": 0.05})
TWO = (CLOSED, CLOSED)


def answers(code: int | None) -> Step:
    """Wait for the server's close, and answer with a code of our own."""

    async def run(client: Client, _server: Server) -> None:
        await client.closing()
        client.send(close_frame(code))

    return run


async def leaves(client: Client, _server: Server) -> None:
    """Wait for the server's close, and leave instead of answering it."""
    await client.closing()
    client.fin()


async def hangs_up(client: Client, _server: Server) -> None:
    """Wait for the server's close, and reset."""
    await client.closing()
    client.reset()


def closing(
    name: str, talk: Step, verdict: tuple[str, int, str], *, echo: int | None = None, **more: Any
) -> Scenario:
    """The host closes; `echo` is the client's answer that it lives to read."""
    more.setdefault("protocols", (TRANSPORT,))
    return Scenario(name=name, talk=talk, verdict=by_server(*verdict, echo=echo), **more)


INVALID_JSON = ("invalid_message", 4400, NOT_JSON)
SYNTAX_ERROR = ("invalid_message", 4400, "Syntax Error")
UNAUTHORIZED = ("unauthorized", 4401, "Unauthorized")
UNACCEPTABLE = ("subprotocol_rejected", 4406, "Subprotocol not acceptable")

PROTOCOL = (
    closing(
        "no JSON, and the client answers the close",
        steps(live, NO_JSON),
        INVALID_JSON,
        echo=4400,
        operations=LIVE,
        representative=True,
    ),
    closing(
        "no JSON, and the client answers with another code",
        steps(live, NO_JSON, answers(1000)),
        INVALID_JSON,
        echo=1000,
        operations=LIVE,
    ),
    closing(
        "no JSON, and the client answers without a code",
        steps(live, NO_JSON, answers(None)),
        INVALID_JSON,
        echo=1005,
        operations=LIVE,
    ),
    closing(
        "no JSON, and the client leaves without an answer",
        steps(live, NO_JSON, leaves),
        INVALID_JSON,
        operations=LIVE,
        representative=True,
    ),
    closing(
        "no JSON, and the client resets instead of answering",
        steps(live, NO_JSON, hangs_up),
        INVALID_JSON,
        operations=LIVE,
    ),
    closing(
        "no JSON, and the client's own close right behind it",
        steps(live, silent, sends(text_frame("{"), close_frame(4999))),
        INVALID_JSON,
        echo=4999,
        operations=LIVE,
    ),
    closing(
        "no JSON, and the client never answers",
        steps(live, silent, NO_JSON),
        INVALID_JSON,
        operations=LIVE,
        setup=BRISK,
    ),
    closing(
        "no JSON, and the client goes on talking before it answers",
        steps(live, NO_JSON, says({"type": "ping"}, "[]"), answers(4400)),
        INVALID_JSON,
        echo=4400,
        operations=LIVE,
    ),
    closing(
        "a syntax error, and the client answers a transport that is gone",
        steps(live, asks("bad", UNPARSABLE)),
        SYNTAX_ERROR,
        operations=TWO,
        since=(0, 341),
        representative=True,
    ),
    closing(
        "a syntax error, and the client does not answer",
        steps(live, silent, asks("bad", UNPARSABLE)),
        SYNTAX_ERROR,
        operations=TWO,
        setup=BRISK,
    ),
    closing(
        "an operation name that the document lacks",
        steps(live, silent, asks("bad", HELLO, operationName="Nope")),
        ("invalid_message", 4400, 'Unknown operation named "Nope".'),
        operations=TWO,
        setup=BRISK,
    ),
    closing(
        "an init payload that is no object",
        steps(handshake, BAD_INIT),
        ("invalid_message", 4400, "Invalid connection init payload"),
        echo=4400,
    ),
    closing(
        "an operation before the init",
        steps(handshake, asks("early", HELLO)),
        UNAUTHORIZED,
        echo=4401,
        operations=("rejected",),
        protocols=(TRANSPORT, LEGACY),
        representative=True,
    ),
    closing(
        "a login that on_ws_connect rejects",
        steps(handshake, INIT),
        ("forbidden", 4403, "Forbidden"),
        echo=4403,
        setup=REJECTING,
        representative=True,
    ),
    closing(
        "no subprotocol, or one that the view does not speak",
        handshake,
        UNACCEPTABLE,
        echo=4406,
        protocols=(None, "soap"),
        representative=True,
    ),
    closing(
        "no subprotocol, and the client leaves without an answer",
        steps(handshake, leaves),
        UNACCEPTABLE,
        protocols=(None,),
    ),
    closing(
        "no init in time",
        steps(handshake, silent),
        ("init_timeout", 4408, "Connection initialisation timeout"),
        setup=IMPATIENT,
        representative=True,
    ),
    closing(
        "no init in time, and the client answers a transport that is gone",
        handshake,
        ("init_timeout", 4408, "Connection initialisation timeout"),
        setup=IMPATIENT,
    ),
    closing(
        "an id that is alive already",
        steps(live, asks("live", HELLO)),
        ("duplicate_operation", 4409, "Subscriber for live already exists"),
        echo=4409,
        operations=(CLOSED, "rejected"),
        representative=True,
    ),
    closing(
        "a second init",
        steps(live, INIT),
        ("duplicate_init", 4429, "Too many initialisation requests"),
        echo=4429,
        operations=LIVE,
        representative=True,
    ),
)

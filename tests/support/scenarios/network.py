"""The transport goes, and nobody sends a close frame."""

import inspect

from aiohttp import web

from tests.support.frames import Frame, Opcode
from tests.support.scenarios.model import LIVE, Scenario, refused, without_frames
from tests.support.scenarios.steps import (
    INIT,
    TRANSPORT,
    acknowledged,
    asks,
    closes,
    ends,
    fin,
    flooded,
    handshake,
    live,
    meets,
    noticed,
    opens,
    reset,
    sends,
    steps,
)
from tests.support.schema import UNPARSABLE
from tests.support.server import Setup, wait, wait_and_accept

LOST = without_frames("connection_lost")
SILENT = without_frames("heartbeat_timeout", "TimeoutError")
TOO_LATE = (
    "ConnectionResetError"
    if "ConnectionResetError" in inspect.getsource(web.WebSocketResponse)
    else "AssertionError"
)
"""What aiohttp raises when the transport is gone before the upgrade: a newer one, an older one."""

HELD = Setup(connect=wait_and_accept)
HALF_A_FRAME = Frame(Opcode.TEXT, b"{", fin=False)

NETWORK = (
    Scenario(
        name="client sends FIN",
        talk=steps(live, fin),
        verdict=LOST,
        operations=LIVE,
        representative=True,
    ),
    Scenario(name="client sends FIN before init", talk=steps(handshake, fin), verdict=LOST),
    Scenario(
        name="client sends FIN in the middle of a message",
        talk=steps(acknowledged, sends(HALF_A_FRAME), fin),
        verdict=LOST,
    ),
    Scenario(
        name="client resets",
        talk=steps(live, reset),
        verdict=LOST,
        operations=LIVE,
        representative=True,
    ),
    Scenario(name="client resets before init", talk=steps(handshake, reset), verdict=LOST),
    Scenario(
        name="client resets while the server floods it",
        talk=steps(flooded, reset),
        verdict=LOST,
        operations=LIVE,
        floods=True,
        representative=True,
    ),
    Scenario(
        name="client sends FIN while the server floods it",
        talk=steps(flooded, fin),
        verdict=LOST,
        operations=LIVE,
        floods=True,
    ),
    Scenario(
        name="client leaves after a syntax error, for which the host can close no more",
        talk=steps(acknowledged, asks("a", UNPARSABLE), fin),
        verdict=LOST,
        operations=LIVE,
        protocols=(TRANSPORT,),
    ),
    Scenario(
        name="client resets while on_ws_connect is still at work",
        talk=steps(handshake, INIT, meets, reset, noticed, opens),
        verdict=LOST,
        setup=HELD,
    ),
    Scenario(
        name="client closes and leaves while on_ws_connect is still at work",
        talk=steps(handshake, INIT, meets, closes(1000), fin, ends, opens),
        verdict=LOST,
        setup=HELD,
    ),
    Scenario(
        name="client leaves before the upgrade, which aiohttp then finds impossible",
        talk=steps(meets, fin, ends, opens),
        verdict=refused("connection_lost", None, TOO_LATE),
        cancellations=(False,),
        setup=Setup(root_value=wait),
    ),
    Scenario(
        name="client leaves before the upgrade, and aiohttp cancels the handler",
        talk=steps(meets, fin, ends, opens),
        verdict=refused("connection_lost", None),
        cancellations=(True,),
        setup=Setup(root_value=wait),
    ),
    Scenario(
        name="client misses the heartbeat",
        talk=live,
        verdict=SILENT,
        operations=LIVE,
        setup=Setup(socket={"heartbeat": 0.1}),
        representative=True,
    ),
    Scenario(
        name="client misses the heartbeat while on_ws_connect is still at work",
        talk=steps(handshake, INIT, meets, ends, opens),
        verdict=SILENT,
        setup=Setup(socket={"heartbeat": 0.1}, connect=wait_and_accept),
        representative=True,
    ),
)

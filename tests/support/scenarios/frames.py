"""The client breaks the WebSocket protocol itself, and aiohttp hands over an ERROR frame."""

from typing import Any

from aiohttp import WebSocketError

from tests.support.frames import DEFLATE, Frame, Opcode, close_frame, deflate, text_frame
from tests.support.scenarios.model import LIVE, Scenario, by_server
from tests.support.scenarios.steps import Step, ends, fin, live, sends, silent, steps
from tests.support.server import Setup

WEBSOCKET_ERROR = f"{WebSocketError.__module__}.{WebSocketError.__qualname__}"
COMPRESSED = {"Sec-WebSocket-Extensions": DEFLATE}
SMALL = Setup(socket={"max_msg_size": 1000})


BROKEN: dict[str, tuple[int, Frame]] = {
    "bad UTF-8": (1007, text_frame(b"\xc3\x28")),
    "reserved bits": (1002, Frame(Opcode.TEXT, b"{}", rsv=2)),
    "compression that nobody agreed on": (1002, Frame(Opcode.TEXT, b"{}", rsv=4)),
    "an unknown opcode": (1002, Frame(3, b"{}")),
    "an unknown control opcode": (1002, Frame(11, b"")),
    "a fragmented ping": (1002, Frame(Opcode.PING, b"", fin=False)),
    "a ping of 126 bytes": (1002, Frame(Opcode.PING, b"x" * 126)),
    "a continuation of nothing": (1002, Frame(Opcode.CONTINUATION, b"{}")),
    "close code 0": (1002, close_frame(0)),
    "close code 999": (1002, close_frame(999)),
    "close code 1005 on the wire": (1002, close_frame(1005)),
    "close code 1015 on the wire": (1002, close_frame(1015)),
    "close code 2999": (1002, close_frame(2999)),
    "a close of one byte": (1002, Frame(Opcode.CLOSE, b"\x03")),
    "a close reason that is not UTF-8": (1007, close_frame(1000, b"\xff\xfe")),
    "a close reason of 124 bytes": (1002, close_frame(1000, b"x" * 124)),
    "more than 4 MiB": (1009, text_frame("x" * (4 << 20))),
}
REPRESENTATIVE = {"bad UTF-8", "more than 4 MiB"}


def breaks(name: str, talk: Step, code: int, error: str = WEBSOCKET_ERROR, **more: Any) -> Scenario:
    """An ERROR frame: aiohttp closes and drops the transport without reading an answer."""
    verdict = by_server("invalid_frame", code, error=error)
    return Scenario(
        name=name, talk=talk, verdict=verdict, operations=LIVE, read_by_aiohttp=True, **more
    )


FRAMES = (
    *(
        breaks(
            f"client sends {name}",
            steps(live, silent, sends(frame)),
            code,
            representative=name in REPRESENTATIVE,
        )
        for name, (code, frame) in BROKEN.items()
    ),
    breaks(
        "client answers the close for its bad UTF-8",
        steps(live, sends(text_frame(b"\xff"))),
        1007,
    ),
    breaks(
        "client sends more than the limit in two frames",
        steps(
            live,
            silent,
            sends(
                Frame(Opcode.TEXT, b"x" * 600, fin=False), Frame(Opcode.CONTINUATION, b"x" * 600)
            ),
        ),
        1009,
        setup=SMALL,
    ),
    breaks(
        "client sends a message that inflates to more than the limit",
        steps(live, silent, sends(Frame(Opcode.TEXT, deflate(b"x" * 100_000), rsv=4))),
        1009,
        setup=SMALL,
        headers=COMPRESSED,
    ),
    breaks(
        "client sends what cannot be inflated",
        steps(live, silent, sends(Frame(Opcode.TEXT, b"\xff\xff\xff", rsv=4))),
        1000,
        headers=COMPRESSED,
        error="zlib.error",
        representative=True,
    ),
    breaks(
        "client sends bad UTF-8 and FIN at once",
        steps(live, silent, sends(text_frame(b"\xff")), fin, ends),
        1007,
    ),
)

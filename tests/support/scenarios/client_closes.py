"""The client sends the first close frame."""

from tests.support.scenarios.model import LIVE, Scenario, by_client
from tests.support.scenarios.steps import (
    acknowledged,
    closes,
    fin,
    handshake,
    live,
    meets,
    opens,
    says,
    steps,
)
from tests.support.server import Setup, wait_and_accept

OUTCOMES: dict[int | None, str] = {
    None: "normal",
    1000: "normal",
    1001: "normal",
    1002: "client_error",
    1003: "client_error",
    1006: "other",
    1007: "client_error",
    1008: "other",
    1009: "client_error",
    1010: "client_error",
    1011: "client_terminated",
    1012: "other",
    1013: "other",
    1014: "other",
    3000: "application_code",
    4004: "client_error",
    4005: "client_terminated",
    4400: "application_code",
    4403: "application_code",
    4499: "client_terminated",
    4500: "application_code",
    4504: "client_error",
    4999: "application_code",
    5000: "other",
    65535: "other",
}
REPRESENTATIVE = {None, 1000, 1006, 1011, 4499, 4999}

CLIENT_CLOSES = (
    *(
        Scenario(
            name=f"client closes {'without a code' if code is None else code}",
            talk=steps(live, closes(code)),
            verdict=by_client(outcome, code),
            operations=LIVE,
            representative=code in REPRESENTATIVE,
            read_by_aiohttp=True,
        )
        for code, outcome in OUTCOMES.items()
    ),
    Scenario(
        name="client closes with a reason",
        talk=steps(live, closes(4999, "à bientôt".encode())),
        verdict=by_client("application_code", 4999, "à bientôt"),
        operations=LIVE,
    ),
    Scenario(
        name="client closes with the longest reason there is",
        talk=steps(live, closes(1000, "é".encode() * 61 + b".")),
        verdict=by_client("normal", 1000, "é" * 61 + "."),
        operations=LIVE,
    ),
    Scenario(
        name="client closes before it says anything",
        talk=steps(handshake, closes(1000)),
        verdict=by_client("normal", 1000),
    ),
    Scenario(
        name="client closes and sends FIN at once",
        talk=steps(live, closes(1001), fin),
        verdict=by_client("normal", 1001),
        operations=LIVE,
    ),
    Scenario(
        name="client closes a socket that does not answer by itself, but when the view returns",
        talk=steps(live, closes(4999)),
        verdict=by_client("application_code", 4999),
        operations=LIVE,
        setup=Setup(socket={"autoclose": False}),
    ),
    Scenario(
        name="client closes twice",
        talk=steps(acknowledged, closes(1000), closes(4999)),
        verdict=by_client("normal", 1000),
    ),
    Scenario(
        name="client goes on talking after its close",
        talk=steps(live, closes(1000), says({"type": "ping"}, "no JSON", [])),
        verdict=by_client("normal", 1000),
        operations=LIVE,
    ),
    Scenario(
        name="client closes while on_ws_connect is still at work",
        talk=steps(handshake, says({"type": "connection_init"}), meets, closes(4999), opens),
        verdict=by_client("application_code", 4999),
        setup=Setup(connect=wait_and_accept),
    ),
)

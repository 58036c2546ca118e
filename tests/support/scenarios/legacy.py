"""The ways of the legacy subprotocol: `connection_error` before a close, `connection_terminate`."""

from tests.support.scenarios.model import LIVE
from tests.support.scenarios.protocol import BAD_INIT, REJECTING, closing, leaves
from tests.support.scenarios.steps import (
    INIT,
    acknowledged,
    handshake,
    live,
    says,
    steps,
)
from tests.support.scenarios.steps import (
    LEGACY as GRAPHQL_WS,
)

LEGACY = (
    closing(
        "legacy: a login that on_ws_connect rejects",
        steps(handshake, INIT),
        ("forbidden", 1011, ""),
        echo=1011,
        protocols=(GRAPHQL_WS,),
        setup=REJECTING,
        representative=True,
    ),
    closing(
        "legacy: an init payload that is no object",
        steps(handshake, BAD_INIT),
        ("invalid_message", 1000, ""),
        echo=1000,
        protocols=(GRAPHQL_WS,),
        representative=True,
    ),
    closing(
        "legacy: a rejected login, and the client leaves without an answer",
        steps(handshake, INIT, leaves),
        ("forbidden", 1011, ""),
        protocols=(GRAPHQL_WS,),
        setup=REJECTING,
    ),
    closing(
        "legacy: connection_terminate",
        steps(live, says({"type": "connection_terminate"})),
        ("normal", 1000, ""),
        echo=1000,
        operations=LIVE,
        protocols=(GRAPHQL_WS,),
        representative=True,
    ),
    closing(
        "legacy: connection_terminate before the init",
        steps(acknowledged, says({"type": "connection_terminate"})),
        ("normal", 1000, ""),
        echo=1000,
        protocols=(GRAPHQL_WS,),
    ),
)

"""The conversations that every fault is tried on, on an instrumented server and on its twin."""

from typing import Final

from tests.support.cases import CASES

NAMES: Final = frozenset(
    {
        "a query",
        "a query with a broken field",
        "a mutation",
        "an invalid document",
        "a subscription whose source fails",
        "a subscription with a broken field",
        "a source that the client stops",
        "three operations at once",
        "client closes 4499",
        "client resets",
        "client sends FIN",
        "client sends bad UTF-8",
        "no JSON, and the client answers the close",
        "application closes 4500 from another task",
        "on_ws_connect raises AppError()",
        "view returns with an open socket",
    }
)
TALKS: Final = [
    case for case in CASES if case.scenario.name.removeprefix("legacy: ") in NAMES and case.is_first
]
OTHER_TALKS: Final = [
    case
    for case in CASES
    if case.scenario.name.removeprefix("legacy: ") in NAMES
    and not case.handler_cancellation
    and not case.is_first
]
"""The same over the other subprotocol, where a conversation has both."""

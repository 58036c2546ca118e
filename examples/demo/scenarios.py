"""The table of all visits: which client comes, and what its telemetry has to be."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from strawberry.aiohttp.views import GraphQLView

from examples.demo import clients, trouble
from examples.demo.names import CLOSE_CODE, CLOSE_INITIATOR, SEND_BLOCKED_TIME
from examples.demo.visitor import Visitor
from strawberry_ws_otel.console import Conversation


@dataclass(frozen=True)
class Verdict:
    """How one connection closed, how its operations ended, and whether the client read in time."""

    outcome: str
    code: int | None
    initiator: str
    end_reasons: tuple[str, ...] = ()
    sends_waited: bool = False


def verdict_of(conversation: Conversation) -> Verdict:
    """Return what the telemetry says about a conversation."""
    code = conversation.get(CLOSE_CODE)
    return Verdict(
        outcome=conversation.outcome,
        code=code if isinstance(code, int) else None,
        initiator=str(conversation.get(CLOSE_INITIATOR)),
        end_reasons=conversation.end_reasons,
        sends_waited=conversation.get(SEND_BLOCKED_TIME) is not None,
    )


@dataclass(frozen=True)
class Scenario:
    """One client, and the expected verdict over its connection."""

    key: str
    title: str
    visit: Callable[[Visitor], Awaitable[None]]
    expected: Verdict

    @property
    def user_agent(self) -> str:
        """The name that the client sends."""
        return f"demo/{self.key}"


HEARTBEAT: Final = Scenario(
    "heartbeat",
    "A missed heartbeat",
    trouble.missed_heartbeat,
    Verdict("heartbeat_timeout", 1006, "none", ("completed", "completed", "connection_closed")),
)

FOREIGN_ORIGIN: Final = (
    [
        Scenario(
            "foreign-origin",
            "A foreign origin",
            trouble.foreign_origin,
            Verdict("handshake_rejected", None, "none"),
        )
    ]
    if hasattr(GraphQLView, "is_websocket_origin_allowed")
    else []
)
"""Older versions of Strawberry let a page of any site in."""

VISITS: Final = (
    Scenario(
        "subscription",
        "A good subscription",
        clients.subscription,
        Verdict("normal", 1000, "client", ("completed",)),
    ),
    Scenario(
        "legacy",
        "A good subscription, legacy",
        clients.legacy_subscription,
        Verdict("normal", 1000, "server", ("client_completed",)),
    ),
    Scenario(
        "query-and-mutation",
        "A query and a mutation",
        clients.query_and_mutation,
        Verdict("normal", 1000, "client", ("completed", "completed")),
    ),
    Scenario(
        "validation-error",
        "A validation error",
        clients.validation_error,
        Verdict("normal", 1000, "client", ("error",)),
    ),
    Scenario(
        "resolver-error",
        "A resolver error mid-stream",
        clients.resolver_error,
        Verdict("normal", 1000, "client", ("completed",)),
    ),
    Scenario(
        "rejected-login",
        "A rejected login",
        trouble.rejected_login,
        Verdict("forbidden", 4403, "server"),
    ),
    Scenario(
        "no-init",
        "No connection_init in time",
        trouble.no_init,
        Verdict("init_timeout", 4408, "server"),
    ),
    *FOREIGN_ORIGIN,
    Scenario(
        "vanished",
        "A client that vanishes",
        trouble.vanished,
        Verdict("connection_lost", 1006, "none", ("connection_closed",)),
    ),
    Scenario(
        "oversized",
        "An oversized message",
        trouble.oversized_message,
        Verdict("invalid_frame", 1009, "server", ("connection_closed",)),
    ),
    HEARTBEAT,
    Scenario(
        "exception",
        "An exception in the handler",
        trouble.handler_exception,
        Verdict("server_error", 1006, "none"),
    ),
    Scenario(
        "compression",
        "Undecodable compressed data",
        trouble.undecodable_data,
        Verdict("invalid_frame", 1000, "server"),
    ),
    Scenario(
        "slow-reader",
        "A client slow to read",
        trouble.slow_reader,
        Verdict("normal", 1000, "client", ("completed",), sends_waited=True),
    ),
)
"""They run at the same time."""

LAST_VISIT: Final = Scenario(
    "shutdown",
    "A graceful server shutdown",
    trouble.server_shutdown,
    Verdict("server_shutdown", 1001, "server", ("connection_closed",)),
)
"""It runs after the others: this client sees the server stop."""

SCENARIOS: Final = (*VISITS, LAST_VISIT)

Numbered: TypeAlias = tuple[int, Scenario]

NUMBERED: Final[Sequence[Numbered]] = tuple(enumerate(SCENARIOS, 1))
"""Each scenario with the number by which `--only` chooses it."""

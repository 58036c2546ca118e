"""What is open now: the live connections of the process, as snapshots for any thread.

* A connection is listed from its upgrade to the end of its handler, as the gauge of active
  connections counts it. It is held weakly: the collector may end it with its event loop.
* Nothing is locked. What a connection counts goes on while a reader looks at it, so a reader looks
  until two looks find the same: what they found was true between them.
* The connections of a forked process stay with the parent.
"""

import os
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, fields
from math import isfinite
from operator import attrgetter
from typing import Any, Final, Protocol, TypeVar

from strawberry_ws_otel._attributes import StaticAttributes, Value

_MAX_LOOKS: Final = 5
"""How often a reader looks again at a connection that changes."""


# --- Snapshots ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOperation:
    """An operation that had not ended when the snapshot of its connection was taken."""

    id: str
    """The client's id, truncated to 128 characters; unique only within its connection."""

    type: str | None
    """`query`, `mutation` or `subscription`; None without `OTelExtension`, or until it is known.

    Until the document is parsed, it may be the type with which the document begins.
    """

    name: str | None
    """The name of the operation, truncated to 256 characters."""

    age: float
    """Seconds since its first message was received."""

    results: int
    """The results that were sent, with an error or without."""

    result_idle_time: float | None
    """Seconds since its last result was sent; None if there was none."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, as values that `json.dumps` takes."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenConnection:
    """A connection at one moment: all fields are of the same one, unless it changes all the time.

    It has no payloads.
    """

    id: str
    """`websocket.connection.id` of its telemetry."""

    subprotocol: str | None
    """The subprotocol that was negotiated, if there is one."""

    age: float
    """Seconds since its handshake began."""

    receive_idle_time: float | None
    """Seconds since the last data message of the client; None if there was none.

    PING and PONG do not count.
    """

    send_idle_time: float | None
    """Seconds since the last data message to the client; None if there was none. As above."""

    is_send_blocked: bool
    """Whether a send waits for a full transport buffer: the client does not read fast enough."""

    send_blocked_for: float
    """Seconds for which sends have been waiting without a break; 0 if none waits now."""

    send_blocked_time: float
    """Seconds for which sends have waited in all: `graphql.ws.send_blocked_time` by now."""

    attributes: StaticAttributes
    """What the application has set with `connection_attributes()`: a mapping."""

    client_address: str | None
    """The address of the peer, or what a middleware has put in its place; None if unknown."""

    user_agent: str | None
    """The header `User-Agent`, truncated to 256 characters."""

    bytes_received: int
    """The payload of data messages, before compression."""

    bytes_sent: int
    """The payload of data messages, before compression."""

    messages_received: int
    """The messages of the client, of any type."""

    messages_sent: int
    """The messages to the client, of any type: results and others."""

    operations: tuple[OpenOperation, ...]
    """The operations that have not ended, oldest first."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name, as values that `json.dumps` takes.

        They are str, int, float, bool, None, list or dict. An attribute that JSON has no number
        for becomes a string: `nan`, `inf` or `-inf`.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["attributes"] = {name: _json(value) for name, value in self.attributes.items()}
        values["operations"] = [operation.as_dict() for operation in self.operations]
        return values


def _json(value: Value) -> Value:
    return str(value) if isinstance(value, float) and not isfinite(value) else value


# --- What is live ------------------------------------------------------------------------------


class Look(Protocol):
    """What a reader sees of a connection as it looks at it: a value that can be compared."""

    @property
    def is_settled(self) -> bool:
        """Whether the thread of the connection was not about to change it."""


class Live(Protocol):
    """A connection, as it is listed here."""

    @property
    def started(self) -> float:
        """When it began, by the monotonic clock."""

    def snapshot(self, now: float) -> OpenConnection | None:
        """Return what is known of it at a time of that clock; None if it has ended."""


class _LiveConnections:
    """The live connections of the process, whichever thread their event loop runs in."""

    def __init__(self) -> None:
        # A dict, not a set: it is smaller. To change or copy it is one step of the interpreter.
        self._references = references = dict[weakref.ref[Live], None]()
        # One function for all: a reference keeps what it calls, which a bound method is each time.
        self._collected = lambda reference: references.pop(reference, None)
        # Windows does not have it.
        getattr(os, "register_at_fork", lambda **_: None)(after_in_child=references.clear)

    def add(self, connection: Live) -> None:
        """List a connection until it is removed, or collected."""
        self._references[weakref.ref(connection, self._collected)] = None

    def remove(self, connection: Live) -> None:
        """Take a connection from the list, if it is there."""
        self._references.pop(weakref.ref(connection), None)

    def oldest_first(self) -> list[Live]:
        """Return the connections, in the order in which they began."""
        found = [reference() for reference in list(self._references)]
        return sorted(filter(None, found), key=attrgetter("started"))


live: Final = _LiveConnections()


AnyLook = TypeVar("AnyLook", bound=Look)


def settled(look: Callable[[], AnyLook]) -> AnyLook:
    """Return what two looks in a row find, so that it was true at one moment.

    Another thread may be about to change what is looked at. So it gets time to finish, unless that
    thread is this one.
    """
    found = look()
    for _ in range(_MAX_LOOKS):
        before, found = found, look()
        if found == before and found.is_settled:
            break
        time.sleep(0)
    return found


def open_connections(limit: int | None = 100) -> list[OpenConnection]:
    """Return snapshots of the connections of this process that are open now, oldest first.

    They are those of all views, event loops and threads, from the upgrade to the end of the
    handler. Each snapshot shows its connection at one moment; the moments of two connections may
    differ. Call it in any thread. In the child of a fork, the connections of the parent are left
    out.

    Nothing serves what it returns: it has addresses of clients and the attributes that the
    application has set. Serve it behind your own authorisation.

    Args:
        limit: the number of snapshots at most; None for all.

    Raises:
        TypeError: `limit` is neither an int nor None.
        ValueError: `limit` is less than 1.
    """
    _check_limit(limit)
    connections, snapshots = live.oldest_first(), list[OpenConnection]()
    now = time.monotonic()
    for connection in connections:
        snapshot = connection.snapshot(now)
        if snapshot is not None:
            snapshots.append(snapshot)
            if len(snapshots) == limit:
                break
    return snapshots


def _check_limit(limit: object) -> None:
    if limit is None:
        return
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise TypeError(
            "open_connections() must have an int or None for its limit, not"
            f" {type(limit).__qualname__}"
        )
    if limit < 1:
        raise ValueError(
            f"open_connections() must have a limit of at least 1, or None for all, not {limit}"
        )

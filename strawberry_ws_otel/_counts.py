"""What is counted, as plain integers: what is alive, and the totals of what has ended.

A counter of the API would cost as much as a good part of what the host spends on a message. So what
happens for every message is an integer, in the `Traffic` of its connection or the `Results` of its
operation. A reader sums them up in a thread of its own when it collects metrics.

What ends moves to the totals under a lock. Under the same lock a reader copies the totals and lists
what is alive; it sums up without it. What ends meanwhile stays in that list, with its last counts.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection
from typing import Final

from strawberry_ws_otel._close import FAULTS, Fault, Outcome, Verdict, outcomes_of
from strawberry_ws_otel._protocol import MessageType
from strawberry_ws_otel._semconv import OTHER

_MAX_ERROR_TYPES: Final = 100
"""Distinct values of `error.type`; each further one is `_OTHER`."""


class SendWaits:
    """For how long at least one send has waited for a full transport buffer.

    A connection has these for all of its sends, and an operation for its own. One thread reports
    waits, and others read them: the state is one value, which is replaced.
    """

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = 0, 0.0, 0.0  # how many wait, since when, and seconds before that

    def begin(self) -> None:
        """Record that a send begins to wait."""
        sends, since, before = self._state
        self._state = sends + 1, since if sends else time.monotonic(), before

    def end(self) -> None:
        """Record that a send goes on, fails or is cancelled."""
        sends, since, before = self._state
        if sends > 1:
            self._state = sends - 1, since, before
        else:
            self.stop()

    def stop(self) -> None:
        """End the waits that are under way: nobody waits for the buffer of a closed connection."""
        self._state = 0, 0.0, self.seconds

    @property
    def under_way(self) -> bool:
        """Whether a send waits now."""
        return self._state[0] > 0

    def look(self) -> tuple[float | None, float]:
        """Return since when a send waits, by the monotonic clock, and the seconds before that."""
        sends, since, before = self._state
        return since if sends else None, before

    @property
    def seconds(self) -> float:
        """The time so far, that of waits under way included."""
        sends, since, before = self._state
        return before + time.monotonic() - since if sends else before


class Traffic:
    """What one connection has carried so far, except for the results of its operations."""

    __slots__ = (
        "bytes_received",
        "bytes_sent",
        "messages",
        "send_waits",
        "sent_at",
        "subprotocol",
    )

    def __init__(self, subprotocol: str | None = None) -> None:
        self.subprotocol = subprotocol
        self.messages: defaultdict[MessageType, int] = defaultdict(int)
        self.bytes_received = 0
        self.bytes_sent = 0
        self.sent_at: float | None = None
        """When the last data frame was sent, by the monotonic clock."""
        self.send_waits = SendWaits()


class Results:
    """The results that one operation has delivered so far.

    An object of its own, so that the totals keep no operation alive, and with it a connection.
    """

    __slots__ = (
        "failed",
        "fast_path_limit",
        "is_over",
        "message_type",
        "ok",
        "sent_at",
        "subscribed",
    )

    def __init__(self, message_type: MessageType | None = None) -> None:
        self.message_type = message_type
        """The type of message that they are sent as; None for an operation over HTTP."""
        self.subscribed = False
        """Whether they are the events of a subscription."""
        self.is_over = False
        """Whether no more are sent, although the operation may not have ended yet."""
        self.ok = 0
        self.failed = 0  # with an error
        self.sent_at: float | None = None
        """When the last one was sent over a WebSocket, by the monotonic clock."""
        self.fast_path_limit = 0
        """A result without an error is only counted, in `ok`, until `ok` reaches this limit."""

    @property
    def all(self) -> int:
        """Those with an error and those without."""
        return self.ok + self.failed


class Totals:
    """The counts of everything that is recorded into one meter provider."""

    def __init__(self) -> None:
        # Reentrant: the collector may end a connection of an abandoned loop while this one is held.
        self._lock = threading.RLock()
        self._open: set[Traffic] = set()
        self._live: set[Results] = set()
        self._subprotocols: set[str | None] = set()
        self._messages: Counter[MessageType] = Counter()
        self._bytes: Counter[tuple[str | None, str]] = Counter()
        self._closes = Counter(dict.fromkeys(FAULTS.items(), 0))
        self._frame_errors: Counter[str] = Counter()
        self._events: Counter[str | None] = Counter()
        self._blocked_time = 0.0
        self._reported_blocked_time = 0.0
        self._error_types: set[str] = set()

    def forked(self) -> None:
        """Replace, in the child of a fork, the lock that a thread of the parent may have held."""
        self._lock = threading.RLock()

    def declare_normal(self, outcomes: Collection[str | int]) -> None:
        """Report outcomes that the operator has declared normal from 0 on, without fault."""
        codes = [item for item in outcomes if isinstance(item, int)]
        declared = set(outcomes).union(*map(outcomes_of, codes))
        with self._lock:
            self._closes.update({(o, Fault.NONE): 0 for o in Outcome if o in declared})

    def opened(self, traffic: Traffic) -> None:
        """Count an upgraded connection, and what it carries, until it is closed."""
        with self._lock:
            self._subprotocols.add(traffic.subprotocol)
            self._open.add(traffic)

    def closed(self, verdict: Verdict, traffic: Traffic | None) -> None:
        """Count the end of a connection, or, without traffic, of a refused handshake."""
        with self._lock:
            self._closes[verdict.outcome, verdict.fault] += 1
            if traffic is not None:
                self._open.discard(traffic)
                traffic.send_waits.stop()
                self._blocked_time += traffic.send_waits.seconds
                self._messages.update(traffic.messages)
                self._bytes[traffic.subprotocol, "receive"] += traffic.bytes_received
                self._bytes[traffic.subprotocol, "transmit"] += traffic.bytes_sent

    def frame_failed(self, error_type: str) -> None:
        """Count an ERROR frame."""
        with self._lock:
            self._frame_errors[self.bounded(error_type)] += 1

    def begun(self, results: Results) -> None:
        """Count the results of an operation as messages, until it is over."""
        with self._lock:
            self._live.add(results)

    def subscribed(self, results: Results, *, really: bool = True) -> None:
        """Count an operation as a live subscription and its results as events, or no longer.

        The first words of a document say what it is; `really` is False if parsing shows otherwise.
        """
        with self._lock:
            results.subscribed = really
            self._live.add(results)

    def event_failed(self, error_type: str) -> None:
        """Count a subscription event with an error."""
        with self._lock:
            self._events[self.bounded(error_type)] += 1

    def ended(self, results: Results) -> None:
        """Count the end of an operation; only the first call counts."""
        with self._lock:
            if results not in self._live:
                return
            self._live.remove(results)
            if results.message_type is not None and results.all:
                self._messages[results.message_type] += results.all
            if results.subscribed:
                self._events[None] += results.ok

    def bounded(self, error_type: str) -> str:
        """Return `error_type` if it is one of the first 100 distinct ones, else `_OTHER`."""
        if error_type not in self._error_types:
            if len(self._error_types) >= _MAX_ERROR_TYPES:
                return OTHER
            self._error_types.add(error_type)
        return error_type

    # --- Sums, for readers of any thread -----------------------------------------------------

    def connections(self) -> dict[str | None, int]:
        """Return the open connections of every subprotocol that was ever seen."""
        with self._lock:
            counts, carried = Counter(dict.fromkeys(self._subprotocols, 0)), list(self._open)
        counts.update([traffic.subprotocol for traffic in carried])
        return counts

    def subscriptions(self) -> int:
        """Return the number of live subscriptions."""
        return sum(results.subscribed and not results.is_over for results in list(self._live))

    def closes(self) -> dict[tuple[str, str], int]:
        """Return the ended connections by outcome and fault, every outcome from 0 on."""
        with self._lock:
            closes = self._closes.copy()
        return {(outcome.value, fault.value): count for (outcome, fault), count in closes.items()}

    def frame_errors(self) -> dict[str, int]:
        """Return the ERROR frames by `error.type`."""
        with self._lock:
            return dict(self._frame_errors)

    def messages(self) -> dict[MessageType, int]:
        """Return the messages by type."""
        with self._lock:
            counts, carried, live = self._messages.copy(), list(self._open), list(self._live)
        for traffic in carried:
            # A copy: the event loop's thread goes on counting.
            counts.update(dict(traffic.messages))
        for results in live:
            if results.message_type is not None and results.all:
                counts[results.message_type] += results.all
        return counts

    def bytes(self) -> dict[tuple[str | None, str], int]:
        """Return the bytes by subprotocol and direction."""
        with self._lock:
            counts, carried = self._bytes.copy(), list(self._open)
        for traffic in carried:
            counts[traffic.subprotocol, "receive"] += traffic.bytes_received
            counts[traffic.subprotocol, "transmit"] += traffic.bytes_sent
        return counts

    def blocked(self) -> int:
        """Return the connections with a send that waits for a full transport buffer."""
        with self._lock:
            carried = list(self._open)
        return sum(traffic.send_waits.under_way for traffic in carried)

    def blocked_time(self) -> float:
        """Return the seconds for which connections had such a send, waits under way included."""
        with self._lock:
            seconds, carried = self._blocked_time, list(self._open)
        seconds += sum(traffic.send_waits.seconds for traffic in carried)
        with self._lock:
            # A wait may end right before it is read, and be shorter than it looked the last time.
            self._reported_blocked_time = max(self._reported_blocked_time, seconds)
            return self._reported_blocked_time

    def events(self) -> dict[str | None, int]:
        """Return the subscription events, those with an error by `error.type`."""
        with self._lock:
            counts, live = self._events.copy(), list(self._live)
        counts[None] += sum(results.ok for results in live if results.subscribed)
        return counts

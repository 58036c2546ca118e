"""Segments: the span of what lives long is ended, and continued by a new span.

OpenTelemetry exports a span when it ends. Without segments a connection that is open for a day
would be invisible for a day.

* A segment that has reached its length is ended, and a new span of the same name goes on. Each
  segment is twice as long as the one before, up to an hour, or up to `segment_duration` if that is
  longer: a day has about 27.
* The first segment of a connection is shorter by up to a third, which its id decides. The clients
  of one deploy connect at once: without this their segments would end at once for ever.
* One timer of each event loop, the `Rotation`, ends the segments that are due. It ends at most 8 in
  one step of the loop, and then lets 10 ms pass. The processor of the SDK takes 512 spans at a
  time, and drops those that do not fit into its queue of 2,048.
* A span whose next segment cannot start goes on as it is.
* When the process exits, the segments of what is still open end as continued.
"""

import asyncio
import atexit
import os
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context
from heapq import heapify, heappop, heappush
from threading import get_ident
from typing import Final, Protocol

from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._fuse import Fuse
from strawberry_ws_otel._propagation import Parentage
from strawberry_ws_otel._spans import LinkTo, SpanRecorder, Spans

_HOUR: Final = 3600.0  # the longest segment, unless `segment_duration` is longer

_SHORTEST: Final = 2 / 3
"""The shortest first segment of a connection, as a part of `segment_duration`."""

_ROTATIONS: Final = 8  # at most, in one step of the loop

_PAUSE: Final = 0.01  # seconds between two steps

_Attributes = Callable[[], Mapping[str, AttributeValue | None]]


def first_length(duration: float, connection_id: str) -> float:
    """Return the length in seconds of the first segment of a connection."""
    share = int(connection_id, 16) / (1 << 4 * len(connection_id))
    return duration * (_SHORTEST + (1 - _SHORTEST) * share)


class Segments:
    """The segments of one span: the one that is open, and where the next ones start."""

    __slots__ = ("_length", "_longest", "_parentage", "due", "number")

    def __init__(
        self, duration: float, parentage: Parentage, started: float, length: float | None = None
    ) -> None:
        """Begin with the segment 0.

        Args:
            duration: `OTelConfig.segment_duration`.
            parentage: where that segment has started.
            started: when, on the monotonic clock.
            length: seconds that it lasts, if not `duration`.
        """
        self.number = 0
        self._length = length or duration
        self._longest = max(_HOUR, duration)
        self._parentage = parentage
        self.due = started + self._length
        """When the segment ends, on the monotonic clock."""

    def rotate(
        self,
        span: SpanRecorder,
        spans: Spans,
        fuse: Fuse,
        *,
        attributes: _Attributes,
        totals: _Attributes,
    ) -> bool:
        """End the segment of `span` with its `totals`, and start the next with its `attributes`.

        Returns:
            Whether the next one could start. If not, this one goes on for the length of the next.
        """
        self._length = min(2 * self._length, self._longest)
        self.due = time.monotonic() + self._length
        if fuse.blown or not span.has_own_id:
            return False
        # Before the start: what has started has to end.
        last, origin, number = totals(), self._parentage.of_segments(fuse), self.number + 1
        segment = spans.start(
            span.name,
            fuse,
            context=origin.context,
            attributes=lambda: {
                **attributes(),
                **span.application_attributes,
                _semconv.SEGMENT_NUMBER: number,
            },
            links=(LinkTo(span.context, "segment"), *origin.links),
        )
        if not segment.has_own_id:
            return False
        self.number = number
        span.set({**last, _semconv.SEGMENT_CONTINUED: True})
        span.continue_in(segment)
        return True


class Owner(Protocol):
    """What has segments: a connection, or an operation that lives long."""

    def rotate(self) -> float:
        """End one segment if it is due; return when to ask again, on the monotonic clock."""

    def leave_open(self) -> None:
        """End the open segments as continued: the process exits."""


def _no_owner() -> None:
    """Stand for the owner of a turn that has ended."""


class Turn:
    """The place of an owner in a rotation, which keeps no owner alive."""

    __slots__ = ("_rotation", "owner")

    def __init__(self, rotation: "Rotation", owner: Owner) -> None:
        self._rotation = rotation
        self.owner: Callable[[], Owner | None] = weakref.ref(owner)

    def end(self) -> None:
        """Ask the owner no more."""
        if self.owner is not _no_owner:
            self.owner = _no_owner
            self._rotation.turn_ended()


class Rotation:
    """The timer of one event loop. It ends with the loop, and without an owner it does not run."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = get_ident()
        self._turns: list[tuple[float, int, Turn]] = []
        self._order = 0
        self._live = 0  # turns that have not ended; the others are dropped later
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0

    def add(self, owner: Owner, due: float) -> Turn:
        """Ask `owner` to rotate at `due`, and then as it answers, until its turn ends."""
        turn = Turn(self, owner)
        if len(self._turns) > 2 * self._live:
            self._turns = [each for each in self._turns if each[-1].owner is not _no_owner]
            heapify(self._turns)
        self._live += 1
        self._push(due, turn)
        self._arm()
        return turn

    def turn_ended(self) -> None:
        """Stop the timer when all turns have ended; `add` drops those that have.

        The collector ends turns at any moment, and in any thread. Only its own thread may touch a
        loop: the timer of another one finds no turn when it is due.
        """
        self._live -= 1
        if self._live == 0 and get_ident() == self._thread:
            self._turns.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def leave_open(self) -> None:
        """End the open segments of all owners as continued."""
        for *_, turn in list(self._turns):
            if (owner := turn.owner()) is not None:
                owner.leave_open()

    def _push(self, due: float, turn: Turn) -> None:
        self._order += 1
        heappush(self._turns, (due, self._order, turn))

    def _next(self, now: float) -> Turn | None:
        """Take the first turn, if it is due."""
        # The collector may have ended all turns since one looked.
        with suppress(IndexError):
            if self._turns[0][0] <= now:
                return heappop(self._turns)[-1]
        return None

    def _arm(self, pause: float = 0.0) -> None:
        """Wake when the first turn is due, but not before the `pause` is over."""
        due = self._turns[0][0]
        if self._timer is not None:
            if self._wakes_at <= due:
                return
            self._timer.cancel()
        # uvloop takes no endless time.
        delay = min(max(due - time.monotonic(), pause), _HOUR)
        self._wakes_at = due
        # A context of its own: the timer would keep all that is in the running one.
        self._timer = self._loop.call_later(delay, self._step, context=Context())

    def _step(self) -> None:
        self._timer = None
        now, asked = time.monotonic(), 0
        while asked < _ROTATIONS and (turn := self._next(now)) is not None:
            owner = turn.owner()
            if owner is not None:
                due = owner.rotate()
                asked += 1
                if turn.owner is not _no_owner:
                    self._push(due, turn)
            elif turn.owner is not _no_owner:
                # The collector had it.
                self._live -= 1
        if self._turns:
            self._arm(_PAUSE if asked else 0.0)


class _Rotations:
    """The rotation of each event loop."""

    def __init__(self) -> None:
        self._by_loop: weakref.WeakValueDictionary[int, Rotation] = weakref.WeakValueDictionary()
        """By the id of the loop, which its rotation holds."""
        self._has_exit = False
        # In the child of a fork, the connections of the parent are not open. Windows has no forks.
        getattr(os, "register_at_fork", lambda **_: None)(after_in_child=self._by_loop.clear)

    def take_turns(self, owner: Owner, due: float) -> Turn | None:
        """Let the running event loop rotate `owner` from `due` on; None if no loop runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return None
        rotation = self._by_loop.get(id(loop))
        if rotation is None:
            rotation = self._by_loop[id(loop)] = Rotation(loop)
            if not self._has_exit:
                # Not earlier: what is registered last runs first, and the SDK shuts down at exit.
                self._has_exit = True
                atexit.register(self.leave_open)
        return rotation.add(owner, due)

    def leave_open(self) -> None:
        """End all open segments as continued: the process exits."""
        for rotation in list(self._by_loop.values()):
            rotation.leave_open()


take_turns: Final = _Rotations().take_turns

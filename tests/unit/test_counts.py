"""Counts are integers of what is alive and of what was, and readers of any thread see both."""

import gc
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strawberry_ws_otel._close import (
    FAULTS,
    CloseFrame,
    Facts,
    Fault,
    HandlerEnd,
    Outcome,
    Verdict,
    outcomes_of,
    verdict,
)
from strawberry_ws_otel._counts import Results, SendWaits, Totals, Traffic
from strawberry_ws_otel._protocol import (
    GRAPHQL_TRANSPORT_WS,
    GRAPHQL_WS,
    MessageType,
    vocabulary,
)
from tests.support.clock import Clock
from tests.support.strategies import PROPERTY
from tests.support.traffic import opened, subscribed

MODERN, LEGACY = vocabulary(GRAPHQL_TRANSPORT_WS), vocabulary(GRAPHQL_WS)
NEXT, PING, DATA = MODERN.sent["next"], MODERN.received["ping"], LEGACY.sent["data"]


def normal() -> Verdict:
    facts = Facts(upgraded=True)
    facts.frame_received(CloseFrame(1000))
    return verdict(facts)


def lost(*ordinary: str) -> Verdict:
    return verdict(Facts(upgraded=True, lost=True), ordinary)


def carry(traffic: Traffic, **messages: int) -> None:
    known = {"next": NEXT, "ping": PING, "data": DATA}
    traffic.messages.update({known[name]: count for name, count in messages.items()})


ZEROS = dict.fromkeys(FAULTS.items(), 0)


def sums(totals: Totals) -> dict[str, Any]:
    return {
        "connections": totals.connections(),
        "subscriptions": totals.subscriptions(),
        "closes": {key: count for key, count in totals.closes().items() if count},
        "frame_errors": totals.frame_errors(),
        "messages": totals.messages(),
        "bytes": totals.bytes(),
        "events": totals.events(),
    }


def test_a_new_tally_knows_nothing_but_the_outcomes_and_the_events_from_0_on() -> None:
    totals = Totals()
    assert sums(totals) == {
        "connections": {},
        "subscriptions": 0,
        "closes": {},
        "frame_errors": {},
        "messages": {},
        "bytes": {},
        "events": {None: 0},
    }
    assert totals.closes() == ZEROS


def begun(totals: Totals, message_type: MessageType, ok: int = 0, failed: int = 0) -> Results:
    results = Results(message_type)
    results.ok, results.failed = ok, failed
    totals.begun(results)
    return results


def test_what_is_alive_is_counted() -> None:
    totals = Totals()
    one, other, third = (
        opened(totals, name) for name in (GRAPHQL_TRANSPORT_WS, GRAPHQL_TRANSPORT_WS, GRAPHQL_WS)
    )
    carry(one, next=2, ping=1)
    carry(other, next=3)
    carry(third, data=4)
    one.bytes_received, other.bytes_received, third.bytes_sent = 10, 20, 30
    subscribed(totals, 5)
    assert sums(totals) == {
        "connections": {GRAPHQL_TRANSPORT_WS: 2, GRAPHQL_WS: 1},
        "subscriptions": 1,
        "closes": {},
        "frame_errors": {},
        "messages": {NEXT: 5, PING: 1, DATA: 4},
        "bytes": {
            (GRAPHQL_TRANSPORT_WS, "receive"): 30,
            (GRAPHQL_TRANSPORT_WS, "transmit"): 0,
            (GRAPHQL_WS, "receive"): 0,
            (GRAPHQL_WS, "transmit"): 30,
        },
        "events": {None: 5},
    }


def test_a_subscription_that_is_about_to_end_is_alive_no_longer_and_its_events_count() -> None:
    totals = Totals()
    results = subscribed(totals, 3)
    assert (totals.subscriptions(), totals.events()) == (1, {None: 3})
    results.is_over = True
    assert (totals.subscriptions(), totals.events()) == (0, {None: 3})
    totals.ended(results)
    assert (totals.subscriptions(), totals.events()) == (0, {None: 3})


def test_what_is_over_is_counted_still_and_gauges_are_0() -> None:
    totals = Totals()
    traffic, subscription = opened(totals, GRAPHQL_WS), subscribed(totals, 5)
    carry(traffic, data=4)
    traffic.bytes_sent = 30
    totals.ended(subscription)
    totals.closed(normal(), traffic)
    assert sums(totals) == {
        "connections": {GRAPHQL_WS: 0},
        "subscriptions": 0,
        "closes": {(Outcome.NORMAL, Fault.NONE): 1},
        "frame_errors": {},
        "messages": {DATA: 4},
        "bytes": {(GRAPHQL_WS, "receive"): 0, (GRAPHQL_WS, "transmit"): 30},
        "events": {None: 5},
    }


def test_a_refused_handshake_is_a_close_and_never_was_a_connection() -> None:
    totals = Totals()
    totals.closed(verdict(Facts(end=HandlerEnd(status=403))), None)
    assert totals.closes() == {**ZEROS, (Outcome.HANDSHAKE_REJECTED, Fault.CLIENT): 1}
    assert not totals.connections()


def test_a_connection_without_a_subprotocol_is_one() -> None:
    totals = Totals()
    opened(totals, None)
    assert totals.connections() == {None: 1}


def test_an_outcome_that_is_ordinary_is_counted_as_such_from_0_on() -> None:
    totals = Totals()
    totals.declare_normal({"connection_lost", Outcome.OTHER, 4100})
    ordinary = {Outcome.CONNECTION_LOST, Outcome.OTHER, *outcomes_of(4100)}
    assert totals.closes() == {**ZEROS, **{(outcome, Fault.NONE): 0 for outcome in ordinary}}


def test_a_declaration_that_comes_late_loses_no_count() -> None:
    totals = Totals()
    totals.closed(lost("connection_lost"), None)
    totals.closed(lost(), None)
    totals.declare_normal({"connection_lost"})
    assert {key: count for key, count in totals.closes().items() if count} == {
        (Outcome.CONNECTION_LOST, Fault.NONE): 1,
        (Outcome.CONNECTION_LOST, Fault.NETWORK): 1,
    }


def test_events_with_an_error_are_counted_by_its_class() -> None:
    totals = Totals()
    subscribed(totals, 2)
    for error_type in ("ValueError", "KeyError", "ValueError"):
        totals.event_failed(error_type)
    assert totals.events() == {None: 2, "ValueError": 2, "KeyError": 1}


def test_results_of_operations_are_messages_before_and_after_their_end() -> None:
    totals = Totals()
    carry(opened(totals, GRAPHQL_TRANSPORT_WS), next=1, ping=1)
    results = [begun(totals, NEXT, 2, 1), begun(totals, NEXT), begun(totals, DATA, 4)]
    expected = {NEXT: 1 + 2 + 1, PING: 1, DATA: 4}
    assert (totals.messages(), totals.events(), totals.subscriptions()) == (expected, {None: 0}, 0)
    for each in results:
        totals.ended(each)
    assert (totals.messages(), totals.events(), totals.subscriptions()) == (expected, {None: 0}, 0)


def test_results_of_a_subscription_over_a_socket_are_messages_as_well_as_events() -> None:
    totals = Totals()
    results = begun(totals, NEXT, 2, 1)
    totals.subscribed(results)
    totals.event_failed("ValueError")
    sums_alive = totals.messages(), totals.events(), totals.subscriptions()
    totals.ended(results)
    sums_over = totals.messages(), totals.events(), totals.subscriptions()
    assert sums_alive == ({NEXT: 3}, {None: 2, "ValueError": 1}, 1)
    assert sums_over == ({NEXT: 3}, {None: 2, "ValueError": 1}, 0)


def test_error_frames_are_counted_by_their_class() -> None:
    totals = Totals()
    for error_type in ("TimeoutError", "zlib.error", "TimeoutError"):
        totals.frame_failed(error_type)
    assert totals.frame_errors() == {"TimeoutError": 2, "zlib.error": 1}


Count = Callable[[Totals, str], object]


@pytest.mark.parametrize(
    ("count", "read"),
    [(Totals.frame_failed, Totals.frame_errors), (Totals.event_failed, Totals.events)],
)
def test_only_the_first_hundred_classes_have_a_count_of_their_own(
    count: Count, read: Callable[[Totals], dict[str | None, int]]
) -> None:
    totals = Totals()
    for n in [*range(150), *range(150)]:
        count(totals, f"Error{n}")
    counts = {name: number for name, number in read(totals).items() if name is not None}
    assert counts == {**{f"Error{n}": 2 for n in range(100)}, "_OTHER": 100}


def test_the_hundred_are_shared_by_all_that_is_labelled_so() -> None:
    totals = Totals()
    assert [totals.bounded(f"Error{n}") for n in range(100)] == [f"Error{n}" for n in range(100)]
    totals.frame_failed("Error100")
    totals.event_failed("Error5")
    assert totals.frame_errors() == {"_OTHER": 1}
    assert totals.events() == {None: 0, "Error5": 1}


def test_sums_are_copies() -> None:
    totals = Totals()
    traffic = opened(totals, GRAPHQL_WS)
    before = sums(totals)
    for value in before.values():
        if isinstance(value, dict):
            value.clear()
    carry(traffic, data=1)
    assert totals.messages() == {DATA: 1}
    assert totals.connections() == {GRAPHQL_WS: 1}


lives = st.lists(
    st.tuples(
        st.sampled_from([GRAPHQL_TRANSPORT_WS, GRAPHQL_WS, None]),
        st.dictionaries(st.sampled_from([NEXT, PING, DATA]), st.integers(1, 9)),
        st.booleans(),
    )
)


@PROPERTY
@given(lives=lives)
def test_no_sum_depends_on_who_is_still_alive(
    lives: list[tuple[str | None, dict[Any, int], bool]],
) -> None:
    totals, expected, carried = Totals(), Counter[Any](), Counter[Any]()
    for subprotocol, messages, over in lives:
        traffic = opened(totals, subprotocol)
        traffic.messages.update(messages)
        traffic.bytes_sent = sum(messages.values())
        traffic.bytes_received = 1
        results = subscribed(totals, len(messages))
        expected.update(messages)
        carried[subprotocol, "transmit"] += traffic.bytes_sent
        carried[subprotocol, "receive"] += 1
        if over:
            totals.ended(results)
            totals.closed(normal(), traffic)
    assert totals.messages() == expected
    assert totals.bytes() == carried
    assert totals.events() == {None: sum(len(messages) for _, messages, _ in lives)}
    assert totals.subscriptions() == sum(not over for *_, over in lives)
    assert sum(totals.connections().values()) == sum(not over for *_, over in lives)
    assert sum(totals.closes().values()) == sum(over for *_, over in lives)


# --- Sends that wait ---------------------------------------------------------------------------


def test_several_sends_that_wait_at_once_wait_as_long_as_one_does(clock: Clock) -> None:
    waits = SendWaits()
    assert (waits.seconds, waits.under_way) == (0, False)
    waits.begin()
    clock.passes(1)
    waits.begin()
    clock.passes(2)
    waits.end()
    assert (waits.seconds, waits.under_way) == (3, True)
    clock.passes(4)
    waits.end()
    clock.passes(8)
    assert (waits.seconds, waits.under_way) == (7, False)
    assert waits.look() == (None, 7)
    waits.begin()
    began = clock.now
    clock.passes(16)
    assert (waits.seconds, waits.under_way) == (23, True)
    assert waits.look() == (began, 7)


def test_waits_that_were_stopped_may_still_end(clock: Clock) -> None:
    waits = SendWaits()
    waits.begin()
    waits.begin()
    clock.passes(1)
    waits.stop()
    clock.passes(2)
    waits.end()
    waits.end()
    assert (waits.seconds, waits.under_way) == (1, False)


def test_a_connection_with_sends_that_wait_is_blocked_once_until_it_closes(clock: Clock) -> None:
    totals = Totals()
    one, other, _ = (opened(totals, GRAPHQL_WS) for _ in range(3))
    assert (totals.blocked(), totals.blocked_time()) == (0, 0)
    one.send_waits.begin()
    one.send_waits.begin()
    clock.passes(1)
    other.send_waits.begin()
    clock.passes(2)
    assert (totals.blocked(), totals.blocked_time()) == (2, 5)
    totals.closed(lost(), one)
    clock.passes(4)
    one.send_waits.end()
    assert (totals.blocked(), totals.blocked_time()) == (1, 9)
    other.send_waits.end()
    clock.passes(8)
    assert (totals.blocked(), totals.blocked_time()) == (0, 9)


def test_the_blocked_time_never_decreases_though_a_wait_ends_as_it_is_read(clock: Clock) -> None:
    totals = Totals()
    traffic = opened(totals, GRAPHQL_WS)
    traffic.send_waits.begin()
    clock.passes(2)
    assert totals.blocked_time() == 2
    # The event loop's thread has looked at the clock before the reader did.
    clock.passes(-1)
    traffic.send_waits.end()
    assert traffic.send_waits.seconds == 1
    assert totals.blocked_time() == 2


# --- Threads ---------------------------------------------------------------------------------

ROUNDS = 1000


@contextmanager
def reading(read: Callable[[], dict[Any, Any]], watched: Any) -> Iterator[list[int]]:
    """Another thread reads one sum again and again, for as long as this lasts."""
    readings: list[int] = []
    over = threading.Event()

    def read_on() -> None:
        while not over.is_set():
            readings.append(read().get(watched, 0))
        readings.append(read().get(watched, 0))

    thread = threading.Thread(target=read_on)
    thread.start()
    try:
        yield readings
    finally:
        over.set()
        thread.join()


def test_a_reader_in_a_thread_never_sees_messages_decrease(hasty_threads: None) -> None:
    totals = Totals()
    with reading(totals.messages, NEXT) as readings:
        for _ in range(ROUNDS):
            traffic = opened(totals, GRAPHQL_TRANSPORT_WS)
            for n in range(1, 4):
                traffic.messages[NEXT] = n
                traffic.messages[PING] = n
            totals.closed(normal(), traffic)
    assert readings == sorted(readings)
    assert readings[-1] == 3 * ROUNDS


def test_a_reader_in_a_thread_never_sees_results_decrease(hasty_threads: None) -> None:
    totals = Totals()
    with reading(totals.messages, NEXT) as readings:
        for _ in range(ROUNDS):
            results = begun(totals, NEXT)
            for _ in range(3):
                results.ok += 1
            totals.ended(results)
    assert readings == sorted(readings)
    assert readings[-1] == 3 * ROUNDS


def test_a_reader_in_a_thread_never_sees_bytes_decrease(hasty_threads: None) -> None:
    totals, key = Totals(), (GRAPHQL_TRANSPORT_WS, "transmit")
    with reading(totals.bytes, key) as readings:
        for _ in range(ROUNDS):
            traffic = opened(totals, GRAPHQL_TRANSPORT_WS)
            traffic.bytes_sent += 5
            traffic.bytes_sent += 5
            totals.closed(normal(), traffic)
    assert readings == sorted(readings)
    assert readings[-1] == 10 * ROUNDS


def deliver(totals: Totals) -> None:
    subscription = subscribed(totals)
    for _ in range(3):
        subscription.ok += 1
    totals.ended(subscription)


def test_a_reader_in_a_thread_never_sees_events_decrease(hasty_threads: None) -> None:
    totals = Totals()
    with reading(totals.events, None) as readings:
        for _ in range(ROUNDS):
            deliver(totals)
    assert readings == sorted(readings)
    assert readings[-1] == 3 * ROUNDS


def test_closes_of_many_threads_add_up(hasty_threads: None) -> None:
    totals = Totals()

    def live_and_die() -> None:
        for _ in range(500):
            traffic = opened(totals, GRAPHQL_WS)
            carry(traffic, data=1)
            totals.closed(normal(), traffic)

    threads = [threading.Thread(target=live_and_die) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals.closes()[Outcome.NORMAL, Fault.NONE] == 2000
    assert totals.messages() == {DATA: 2000}
    assert totals.connections() == {GRAPHQL_WS: 0}


class Abandoned:
    """A connection and a subscription of a loop that nobody runs any more."""

    def __init__(self, totals: Totals) -> None:
        self.totals, self.traffic = totals, opened(totals, None)
        self.subscription = subscribed(totals)
        self.itself = self

    def __del__(self) -> None:
        self.totals.ended(self.subscription)
        self.totals.closed(normal(), self.traffic)


@pytest.mark.usefixtures("frozen_garbage")
def test_the_garbage_collector_may_end_a_connection_while_counts_are_read() -> None:
    totals, rounds = Totals(), 200

    def collect_all_the_time() -> None:
        for _ in range(rounds):
            Abandoned(totals)
            sums(totals)

    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    thread = threading.Thread(target=collect_all_the_time, daemon=True)
    try:
        thread.start()
        thread.join(30)
    finally:
        gc.set_threshold(*thresholds)
    assert not thread.is_alive()
    gc.collect()
    assert sum(totals.closes().values()) == rounds
    assert totals.connections() == {None: 0}
    assert totals.subscriptions() == 0


# --- What happens between the lock and the sum ------------------------------------------------


class DyingOnRelease:
    """A lock whose first release lets something die, before its reader goes on."""

    def __init__(self, dies: Callable[[], None]) -> None:
        self._dies: Callable[[], None] | None = dies

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        dies, self._dies = self._dies, None
        if dies is not None:
            dies()


def dying(totals: Totals, dies: Callable[[], None]) -> Totals:
    """The totals, in which something dies as the next reader lets go of the lock."""
    totals._lock = DyingOnRelease(dies)  # type: ignore[assignment]  # a double
    return totals


def test_results_that_end_while_messages_are_summed_up_are_counted_once() -> None:
    totals = Totals()
    results = begun(totals, NEXT, 3)
    assert dying(totals, lambda: totals.ended(results)).messages() == {NEXT: 3}
    assert totals.messages() == {NEXT: 3}


def test_a_subscription_that_ends_while_events_are_summed_up_is_counted_once() -> None:
    totals = Totals()
    results = subscribed(totals, 3)
    assert dying(totals, lambda: totals.ended(results)).events() == {None: 3}
    assert totals.events() == {None: 3}


def test_a_connection_that_closes_while_bytes_are_summed_up_is_counted_once() -> None:
    totals = Totals()
    traffic = opened(totals, GRAPHQL_WS)
    traffic.bytes_sent = 5
    dying(totals, lambda: totals.closed(normal(), traffic))
    sums = {(GRAPHQL_WS, "receive"): 0, (GRAPHQL_WS, "transmit"): 5}
    assert totals.bytes() == sums
    assert totals.bytes() == sums


class Growing(defaultdict[MessageType, int]):
    """Messages of which a type comes that was not there, as soon as one looks at them."""

    def items(self) -> Any:
        for item in super().items():
            self[PING] = 1
            yield item


def test_a_type_that_comes_while_messages_are_summed_up_does_no_harm() -> None:
    totals = Totals()
    opened(totals, GRAPHQL_WS).messages = Growing(int, {NEXT: 1})
    assert totals.messages() == {NEXT: 1}


class Begetting(Results):
    """Results beside which others begin, as soon as one looks at them."""

    __slots__ = ("_tally",)

    def __init__(self, totals: Totals) -> None:
        super().__init__()
        self._tally = totals

    @property
    def subscribed(self) -> bool:
        self._tally.begun(Results())
        return True

    @subscribed.setter
    def subscribed(self, _value: bool) -> None:
        pass


def test_the_child_of_a_fork_counts_though_a_reader_held_the_lock() -> None:
    totals = Totals()
    reader = threading.Thread(target=totals._lock.acquire)
    reader.start()
    reader.join()
    assert not totals._lock.acquire(blocking=False)
    totals.forked()
    opened(totals, GRAPHQL_WS)
    assert totals.connections() == {GRAPHQL_WS: 1}


def test_an_operation_that_begins_while_subscriptions_are_counted_does_no_harm() -> None:
    totals = Totals()
    totals.begun(Begetting(totals))
    assert totals.subscriptions() == 1


def test_an_operation_without_a_result_makes_no_series_while_it_lives_and_none_after() -> None:
    totals = Totals()
    results = begun(totals, NEXT)
    assert totals.messages() == {}
    totals.ended(results)
    assert totals.messages() == {}


def test_an_operation_that_was_never_counted_may_end_and_one_that_was_ends_once() -> None:
    totals, other = Totals(), Results(NEXT)
    other.ok = 5
    totals.ended(other)
    own = subscribed(totals, ok=2)
    totals.ended(own)
    totals.ended(own)
    assert (totals.messages(), totals.events()) == ({}, {None: 2})

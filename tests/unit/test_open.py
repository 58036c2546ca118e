"""Snapshots of what is open: which connections are listed, and how they are read."""

import gc
import json
import subprocess
import sys
import weakref
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import pytest

from strawberry_ws_otel import OpenConnection, OpenOperation, _open, open_connections
from strawberry_ws_otel._attributes import StaticAttributes
from strawberry_ws_otel._open import live, settled

OPERATION = OpenOperation(
    id="a", type="subscription", name="Prices", age=2.5, results=3, result_idle_time=0.5
)
CONNECTION = OpenConnection(
    id="0123456789abcdef",
    subprotocol="graphql-transport-ws",
    age=3.0,
    receive_idle_time=None,
    send_idle_time=0.5,
    is_send_blocked=True,
    send_blocked_for=0.25,
    send_blocked_time=1.5,
    attributes=StaticAttributes({"tenant": "acme", "seats": 5, "share": 0.5, "paying": True}),
    client_address="192.0.2.1",
    user_agent="test",
    bytes_received=10,
    bytes_sent=20,
    messages_received=1,
    messages_sent=2,
    operations=(OPERATION,),
)


class Listed:
    """A connection that began at some time, and may have ended."""

    def __init__(self, id_: str, started: float, *, has_ended: bool = False) -> None:
        self.started = started
        self._snapshot = None if has_ended else replace(CONNECTION, id=id_)

    def snapshot(self, _now: float) -> OpenConnection | None:
        return self._snapshot


@pytest.fixture(autouse=True)
def _nothing_is_open() -> Iterator[None]:
    """What other tests have left open is not listed here."""
    gc.collect()
    others = live.oldest_first()
    for each in others:
        live.remove(each)
    yield
    for each in others:
        live.add(each)


def listed(*connections: Listed) -> tuple[Listed, ...]:
    """These connections, which are listed as long as a test keeps them."""
    for each in connections:
        live.add(each)
    return connections


def ids(limit: int | None) -> list[str]:
    return [each.id for each in open_connections(limit)]


# --- Which connections are listed --------------------------------------------------------------


def test_the_oldest_come_first_however_late_they_were_upgraded() -> None:
    _kept = listed(Listed("young", 3.0), Listed("old", 1.0), Listed("middle", 2.0))
    assert ids(None) == ["old", "middle", "young"]


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 10**30, None], ids=str)
def test_a_limit_leaves_out_the_youngest(limit: int | None) -> None:
    _kept = listed(*(Listed(f"{number}", number) for number in range(3)))
    assert ids(limit) == ["0", "1", "2"][:limit]


def test_a_hundred_are_listed_unless_a_limit_is_given() -> None:
    _kept = listed(*(Listed(f"{number}", number) for number in range(101)))
    assert open_connections() == open_connections(100) == open_connections(None)[:100]
    assert len(open_connections(None)) == 101


def test_one_that_has_just_ended_takes_the_place_of_none_that_is_open() -> None:
    _kept = listed(Listed("ended", 1.0, has_ended=True), Listed("open", 2.0), Listed("new", 3.0))
    assert ids(1) == ["open"]


def test_one_that_was_removed_is_listed_no_more() -> None:
    first, _second = listed(Listed("first", 1.0), Listed("second", 2.0))
    live.remove(first)
    live.remove(first)
    assert ids(None) == ["second"]


def test_the_list_keeps_nothing_alive() -> None:
    kept = list(listed(Listed("first", 1.0), Listed("second", 2.0)))
    first = weakref.ref(kept.pop(0))
    assert first() is None
    assert ids(None) == ["second"]


def test_one_that_goes_while_the_list_is_read_is_left_out() -> None:
    kept = list(listed(Listed("first", 1.0), Listed("second", 2.0)))

    class Last(Listed):
        def snapshot(self, now: float) -> OpenConnection | None:
            kept.clear()
            return super().snapshot(now)

    _last = listed(Last("last", 0.0))
    assert ids(None) == ["last", "first", "second"]
    assert ids(None) == ["last"]


FORK: Final = """
import os
from strawberry_ws_otel._open import live

class Listed:
    def __init__(self, id, started): self.id, self.started = id, started

def printed(): print(*(each.id for each in live.oldest_first()), flush=True)

parents = Listed("parent", 1.0)
live.add(parents)
if os.fork() == 0:
    own = Listed("child", 2.0)
    live.add(own)
    live.remove(parents)
    printed()
else:
    os.wait()
    printed()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_the_child_of_a_fork_lists_its_own_only() -> None:
    # By a process of its own: this one may have threads.
    ended = subprocess.run(  # noqa: S603  # our own
        [sys.executable, "-W", "error", "-c", FORK],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (ended.stdout, ended.stderr) == ("child\nparent\n", "")


# --- The limit ---------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["100", 1.0, True, [1]], ids=repr)
def test_a_limit_of_another_type_is_a_type_error(limit: Any) -> None:
    with pytest.raises(TypeError) as raised:
        open_connections(limit)
    expected = "open_connections() must have an int or None for its limit, not"
    assert str(raised.value) == f"{expected} {type(limit).__qualname__}"


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_a_value_error(limit: int) -> None:
    with pytest.raises(ValueError, match="must have a limit of at least 1, or None for all, not"):
        open_connections(limit)


# --- What a reader finds -----------------------------------------------------------------------


class Seen(NamedTuple):
    """What one look finds."""

    value: int
    is_settled: bool = True


def looks(*found: Seen) -> tuple[Seen, int]:
    """What is settled if each look finds the next of these; and how many looks that took."""
    waiting = list(found)
    result = settled(lambda: waiting.pop(0) if len(waiting) > 1 else waiting[0])
    return result, len(found) - len(waiting)


def test_two_looks_that_find_the_same_are_enough() -> None:
    assert looks(Seen(1), Seen(1), Seen(2)) == (Seen(1), 2)


def test_a_reader_looks_until_nothing_has_changed_between_two_looks() -> None:
    assert looks(Seen(1), Seen(2), Seen(3), Seen(3), Seen(4)) == (Seen(3), 4)


def test_a_reader_looks_until_the_other_thread_has_finished() -> None:
    unsettled = Seen(1, is_settled=False)
    assert looks(unsettled, unsettled, Seen(1), Seen(1), Seen(2)) == (Seen(1), 4)


def test_what_changes_for_ever_is_shown_as_it_was_last() -> None:
    found, _ = looks(*map(Seen, range(100)))
    assert found == Seen(5)


# --- Snapshots ---------------------------------------------------------------------------------


def test_a_snapshot_cannot_be_changed() -> None:
    snapshots: tuple[Any, ...] = (CONNECTION, OPERATION)
    for snapshot in snapshots:
        with pytest.raises(FrozenInstanceError):
            snapshot.age = 0.0
        with pytest.raises((AttributeError, TypeError)):
            snapshot.other = 0
    with pytest.raises(TypeError):
        CONNECTION.attributes["tenant"] = "other"  # type: ignore[index]  # likewise


def test_snapshots_of_the_same_are_equal_and_can_be_members_of_a_set() -> None:
    assert {CONNECTION, replace(CONNECTION)} == {CONNECTION}
    assert replace(CONNECTION, bytes_sent=21) != CONNECTION


def test_a_snapshot_as_a_dict_has_all_fields_in_their_order() -> None:
    assert CONNECTION.as_dict() == {
        "id": "0123456789abcdef",
        "subprotocol": "graphql-transport-ws",
        "age": 3.0,
        "receive_idle_time": None,
        "send_idle_time": 0.5,
        "is_send_blocked": True,
        "send_blocked_for": 0.25,
        "send_blocked_time": 1.5,
        "attributes": {"tenant": "acme", "seats": 5, "share": 0.5, "paying": True},
        "client_address": "192.0.2.1",
        "user_agent": "test",
        "bytes_received": 10,
        "bytes_sent": 20,
        "messages_received": 1,
        "messages_sent": 2,
        "operations": [
            {
                "id": "a",
                "type": "subscription",
                "name": "Prices",
                "age": 2.5,
                "results": 3,
                "result_idle_time": 0.5,
            }
        ],
    }
    assert list(CONNECTION.as_dict()) == list(OpenConnection.__dataclass_fields__)


def test_json_comes_back_as_it_was() -> None:
    values = CONNECTION.as_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_what_json_has_no_number_for_is_a_string() -> None:
    odd = {"a": float("nan"), "b": float("inf"), "c": -float("inf"), "d": 1.5}
    snapshot = replace(CONNECTION, attributes=StaticAttributes(MappingProxyType(odd)))
    values = {"a": "nan", "b": "inf", "c": "-inf", "d": 1.5}
    assert json.loads(json.dumps(snapshot.as_dict(), allow_nan=False))["attributes"] == values


def test_every_field_is_documented() -> None:
    text = Path(_open.__file__).read_text(encoding="utf-8")
    for snapshot in (OpenConnection, OpenOperation):
        for field in snapshot.__dataclass_fields__:
            line = text.index(f"    {field}: ")
            assert text[text.index("\n", line) :].lstrip().startswith('"""'), field

"""Any JSON value is a message, and the library knows whether it is a good one."""

import json
from collections import UserDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strawberry_ws_otel._protocol import (
    GRAPHQL_TRANSPORT_WS,
    GRAPHQL_WS,
    NO_ID,
    Direction,
    Meaning,
    Message,
    MessageType,
    Vocabulary,
    vocabulary,
)
from tests.support.strategies import PROPERTY, any_json, any_text, messages

OPERATION: dict[str, Any] = {"query": "subscription { n }"}
SURROGATE = "\ud800"
SUBPROTOCOLS = (GRAPHQL_TRANSPORT_WS, GRAPHQL_WS, None)


@dataclass(frozen=True)
class Word:
    """One message type, as the specification of its subprotocol has it."""

    subprotocol: str
    direction: Direction
    name: str
    meaning: Meaning

    def __str__(self) -> str:
        return f"{self.subprotocol} {self.direction} {self.name}"


def words(subprotocol: str, direction: Direction, **meanings: Meaning) -> list[Word]:
    return [Word(subprotocol, direction, name, meaning) for name, meaning in meanings.items()]


WORDS = [
    *words(
        GRAPHQL_TRANSPORT_WS,
        "receive",
        connection_init=Meaning.INIT,
        ping=Meaning.NONE,
        pong=Meaning.NONE,
        subscribe=Meaning.START,
        complete=Meaning.STOP,
    ),
    *words(
        GRAPHQL_TRANSPORT_WS,
        "transmit",
        connection_ack=Meaning.ACK,
        ping=Meaning.NONE,
        pong=Meaning.NONE,
        next=Meaning.RESULT,
        error=Meaning.ERROR,
        complete=Meaning.COMPLETE,
    ),
    *words(
        GRAPHQL_WS,
        "receive",
        connection_init=Meaning.INIT,
        connection_terminate=Meaning.NONE,
        start=Meaning.START,
        stop=Meaning.STOP,
    ),
    *words(
        GRAPHQL_WS,
        "transmit",
        connection_ack=Meaning.ACK,
        connection_error=Meaning.REFUSAL,
        ka=Meaning.NONE,
        data=Meaning.RESULT,
        error=Meaning.ERROR,
        complete=Meaning.COMPLETE,
    ),
]


def types(subprotocol: str | None, direction: Direction) -> Mapping[str, MessageType]:
    known = vocabulary(subprotocol)
    return known.received if direction == "receive" else known.sent


@pytest.mark.parametrize("word", WORDS, ids=str)
def test_each_word_has_its_meaning_and_its_event(word: Word) -> None:
    message_type = types(word.subprotocol, word.direction)[word.name]
    assert (
        message_type.subprotocol,
        message_type.direction,
        message_type.name,
        message_type.meaning,
        message_type.event,
    ) == (word.subprotocol, word.direction, word.name, word.meaning, f"graphql.ws.{word.name}")


@pytest.mark.parametrize("subprotocol", SUBPROTOCOLS)
@pytest.mark.parametrize("direction", get_args(Direction))
def test_a_vocabulary_knows_its_words_and_one_for_all_others(
    subprotocol: str | None, direction: Direction
) -> None:
    spoken = {
        word.name
        for word in WORDS
        if (word.subprotocol, word.direction) == (subprotocol, direction)
    }
    assert set(types(subprotocol, direction)) == {*spoken, "_OTHER"}


@pytest.mark.parametrize("subprotocol", SUBPROTOCOLS)
@pytest.mark.parametrize("direction", get_args(Direction))
def test_every_other_type_is_one_and_the_same(
    subprotocol: str | None, direction: Direction
) -> None:
    known = vocabulary(subprotocol)
    other = known.unknown_received if direction == "receive" else known.unknown_sent
    assert other is types(subprotocol, direction)["_OTHER"]
    assert (other.subprotocol, other.direction, other.meaning, other.event) == (
        subprotocol,
        direction,
        Meaning.NONE,
        "graphql.ws._OTHER",
    )


@pytest.mark.parametrize("name", ["mqtt", "", None, "graphql-transport-ws "])
def test_an_unknown_subprotocol_has_the_vocabulary_of_none(name: str | None) -> None:
    assert vocabulary(name) is vocabulary(None)


@pytest.mark.parametrize(
    ("subprotocol", "restarts"),
    [(GRAPHQL_TRANSPORT_WS, False), (GRAPHQL_WS, True), (None, False)],
)
def test_only_a_legacy_start_takes_an_id_over(subprotocol: str | None, *, restarts: bool) -> None:
    assert vocabulary(subprotocol).restarts is restarts


def test_equal_types_of_two_vocabularies_are_not_the_same() -> None:
    assert vocabulary(GRAPHQL_WS).sent["error"] != vocabulary(GRAPHQL_TRANSPORT_WS).sent["error"]


@pytest.mark.parametrize("word", [word for word in WORDS if word.direction == "receive"], ids=str)
def test_a_received_message_is_decoded_to_its_type_its_id_and_its_value(word: Word) -> None:
    known = vocabulary(word.subprotocol)
    value = {"type": word.name, "id": "7", "payload": OPERATION}
    message = known.read(value)
    assert message == Message(known.received[word.name], "7", value, OPERATION)
    assert message.well_formed


@pytest.mark.parametrize("word", [word for word in WORDS if word.direction == "transmit"], ids=str)
def test_a_sent_message_is_of_its_type(word: Word) -> None:
    known = vocabulary(word.subprotocol)
    assert known.classify_sent({"type": word.name, "id": "7"}) is known.sent[word.name]


@pytest.mark.parametrize(
    ("subprotocol", "name"),
    [(GRAPHQL_TRANSPORT_WS, "next"), (GRAPHQL_WS, "data"), (None, "_OTHER")],
)
def test_each_subprotocol_has_one_type_of_result(subprotocol: str | None, name: str) -> None:
    known = vocabulary(subprotocol)
    assert known.result is known.sent[name]


@pytest.mark.parametrize("odd", [None, 5, [], {}, "", "subscribe", SURROGATE])
@pytest.mark.parametrize("subprotocol", SUBPROTOCOLS)
def test_whatever_else_is_sent_is_of_another_type(odd: Any, subprotocol: str | None) -> None:
    known = vocabulary(subprotocol)
    assert known.classify_sent({"id": "7", "type": odd}) is known.unknown_sent
    assert known.classify_sent({"id": "7"}) is known.unknown_sent


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([], id="a list"),
        pytest.param(["subscribe"], id="a list of words"),
        pytest.param("subscribe", id="a string"),
        pytest.param(5, id="a number"),
        pytest.param(float("nan"), id="not a number"),
        pytest.param(True, id="a boolean"),
        pytest.param(None, id="null"),
        pytest.param({}, id="an empty object"),
        pytest.param({"id": "1"}, id="no type"),
        pytest.param({"type": None}, id="a null type"),
        pytest.param({"type": 5}, id="a number for a type"),
        pytest.param({"type": ["subscribe"]}, id="a list for a type"),
        pytest.param({"type": {"subscribe": 1}}, id="an object for a type"),
        pytest.param({"type": "SUBSCRIBE"}, id="another case"),
        pytest.param({"type": "_OTHER"}, id="our own word for others"),
        pytest.param({"type": SURROGATE}, id="a lone surrogate"),
        pytest.param({"type": "x" * 1_000_000}, id="a megabyte"),
    ],
)
@pytest.mark.parametrize("subprotocol", SUBPROTOCOLS)
def test_what_is_no_message_is_another_type_and_malformed(
    value: Any, subprotocol: str | None
) -> None:
    known = vocabulary(subprotocol)
    message = known.read(value)
    assert message.type is known.unknown_received
    assert message.value is value
    assert not message.well_formed
    assert not message.starts_operation


@pytest.mark.parametrize(
    ("subprotocol", "foreign"),
    [
        (GRAPHQL_TRANSPORT_WS, "start"),
        (GRAPHQL_TRANSPORT_WS, "stop"),
        (GRAPHQL_TRANSPORT_WS, "connection_terminate"),
        (GRAPHQL_TRANSPORT_WS, "next"),
        (GRAPHQL_TRANSPORT_WS, "connection_ack"),
        (GRAPHQL_WS, "subscribe"),
        (GRAPHQL_WS, "complete"),
        (GRAPHQL_WS, "ping"),
        (GRAPHQL_WS, "data"),
        (None, "connection_init"),
    ],
)
def test_a_word_of_the_other_subprotocol_or_direction_is_another_type(
    subprotocol: str | None, foreign: str
) -> None:
    known = vocabulary(subprotocol)
    message = known.read({"type": foreign, "id": "1", "payload": OPERATION})
    assert (message.type, message.id) == (known.unknown_received, "1")
    assert not message.well_formed


@pytest.mark.parametrize("id_", ["1", "", SURROGATE, 1, 0, -1.5, True, False, None])
def test_an_id_that_a_host_can_keep_is_kept_as_it_came(id_: Any) -> None:
    assert vocabulary(GRAPHQL_WS).read({"type": "stop", "id": id_}).id is id_


@pytest.mark.parametrize("rest", [{}, {"id": []}, {"id": {}}, {"id": [1]}, {"id": {"a": 1}}])
def test_an_id_that_no_host_can_keep_is_none_at_all(rest: dict[str, Any]) -> None:
    message = vocabulary(GRAPHQL_WS).read({"type": "start", "payload": OPERATION, **rest})
    assert message.id is NO_ID
    assert not message.starts_operation
    assert not message.well_formed


STARTS = [(GRAPHQL_TRANSPORT_WS, "subscribe"), (GRAPHQL_WS, "start")]
STOPS = [(GRAPHQL_TRANSPORT_WS, "complete"), (GRAPHQL_WS, "stop")]
FREE = [
    (GRAPHQL_TRANSPORT_WS, "connection_init"),
    (GRAPHQL_TRANSPORT_WS, "ping"),
    (GRAPHQL_TRANSPORT_WS, "pong"),
    (GRAPHQL_WS, "connection_init"),
]

OBJECTS: list[Any] = [None, {}, {"a": [1]}]
NO_OBJECTS: list[Any] = [5, 0, 1.5, True, False, "", "text", [], [{}]]
TEXTS: list[Any] = ["", "1", "\N{PILE OF POO}"]
NO_TEXTS: list[Any] = [None, 5, 0, 1.5, True, [], {}, SURROGATE, f"a{SURROGATE}", "\udfff"]


def is_well_formed(subprotocol: str, name: str, **members: Any) -> bool:
    return vocabulary(subprotocol).read({"type": name, **members}).well_formed


@pytest.mark.parametrize(("subprotocol", "name"), FREE)
@pytest.mark.parametrize("payload", OBJECTS)
def test_a_payload_that_may_be_there_is_an_object_or_null(
    subprotocol: str, name: str, payload: Any
) -> None:
    assert is_well_formed(subprotocol, name)
    assert is_well_formed(subprotocol, name, payload=payload)


@pytest.mark.parametrize(("subprotocol", "name"), FREE)
@pytest.mark.parametrize("payload", NO_OBJECTS)
def test_another_payload_is_malformed(subprotocol: str, name: str, payload: Any) -> None:
    assert not is_well_formed(subprotocol, name, payload=payload)


@pytest.mark.parametrize("payload", [*OBJECTS, *NO_OBJECTS])
def test_a_termination_may_carry_what_it_likes(payload: Any) -> None:
    assert is_well_formed(GRAPHQL_WS, "connection_terminate", payload=payload)


@pytest.mark.parametrize(("subprotocol", "name"), STOPS)
@pytest.mark.parametrize("payload", [*OBJECTS, *NO_OBJECTS])
@pytest.mark.parametrize("id_", TEXTS)
def test_a_stop_needs_a_text_for_an_id_and_nothing_else(
    subprotocol: str, name: str, payload: Any, id_: Any
) -> None:
    assert is_well_formed(subprotocol, name, id=id_, payload=payload)


@pytest.mark.parametrize(("subprotocol", "name"), [*STARTS, *STOPS])
@pytest.mark.parametrize("id_", NO_TEXTS)
def test_an_id_that_is_no_text_is_malformed(subprotocol: str, name: str, id_: Any) -> None:
    assert not is_well_formed(subprotocol, name, id=id_, payload=OPERATION)


@pytest.mark.parametrize(("subprotocol", "name"), [*STARTS, *STOPS])
def test_a_missing_id_is_malformed(subprotocol: str, name: str) -> None:
    assert not is_well_formed(subprotocol, name, payload=OPERATION)


@pytest.mark.parametrize(("subprotocol", "name"), STARTS)
@pytest.mark.parametrize("payload", [*OBJECTS, *NO_OBJECTS])
def test_a_start_without_a_query_is_malformed(subprotocol: str, name: str, payload: Any) -> None:
    assert not is_well_formed(subprotocol, name, id="1")
    assert not is_well_formed(subprotocol, name, id="1", payload=payload)


@pytest.mark.parametrize(("subprotocol", "name"), STARTS)
@pytest.mark.parametrize(
    ("member", "values"),
    [
        ("query", TEXTS),
        ("operationName", [None, *TEXTS]),
        ("variables", OBJECTS),
        ("extensions", OBJECTS),
        ("another", [*OBJECTS, *NO_OBJECTS]),
    ],
)
def test_each_member_of_a_start_may_be_what_its_subprotocol_says(
    subprotocol: str, name: str, member: str, values: list[Any]
) -> None:
    for value in values:
        assert is_well_formed(subprotocol, name, id="1", payload={**OPERATION, member: value})


@pytest.mark.parametrize(("subprotocol", "name"), STARTS)
@pytest.mark.parametrize(
    ("member", "values"),
    [
        ("query", NO_TEXTS),
        ("operationName", [value for value in NO_TEXTS if value is not None]),
        ("variables", NO_OBJECTS),
        ("extensions", NO_OBJECTS),
    ],
)
def test_each_member_of_a_start_is_malformed_as_anything_else(
    subprotocol: str, name: str, member: str, values: list[Any]
) -> None:
    for value in values:
        assert not is_well_formed(subprotocol, name, id="1", payload={**OPERATION, member: value})


@pytest.mark.parametrize(("subprotocol", "name"), STARTS)
@pytest.mark.parametrize("query", [*TEXTS, *NO_TEXTS])
@pytest.mark.parametrize("id_", ["1", "", SURROGATE, 1, 1.5, None, True])
def test_an_id_and_a_query_of_any_kind_start_an_operation(
    subprotocol: str, name: str, query: Any, id_: Any
) -> None:
    value = {"type": name, "id": id_, "payload": {"query": query}}
    assert vocabulary(subprotocol).read(value).starts_operation


@pytest.mark.parametrize(("subprotocol", "name"), STARTS)
@pytest.mark.parametrize("payload", [*OBJECTS, *NO_OBJECTS])
def test_no_query_starts_no_operation(subprotocol: str, name: str, payload: Any) -> None:
    value = {"type": name, "id": "1", "payload": payload}
    assert not vocabulary(subprotocol).read(value).starts_operation


@pytest.mark.parametrize(("subprotocol", "name"), [*STOPS, *FREE])
def test_only_a_first_message_starts_an_operation(subprotocol: str, name: str) -> None:
    value = {"type": name, "id": "1", "payload": OPERATION}
    assert not vocabulary(subprotocol).read(value).starts_operation


@pytest.mark.parametrize(("subprotocol", "name"), STARTS)
@pytest.mark.parametrize(
    ("members", "may"),
    [
        ({"id": "1", "payload": OPERATION}, True),
        ({"id": "1", "payload": {"extensions": {"hash": "abc"}}}, True),
        ({"id": 1, "payload": {"documentId": "abc"}}, True),
        ({"id": "1", "payload": {}}, False),
        ({"id": "1", "payload": None}, False),
        ({"id": "1", "payload": "abc"}, False),
        ({"id": "1"}, False),
        ({"id": [], "payload": {"documentId": "abc"}}, False),
        ({"payload": {"documentId": "abc"}}, False),
    ],
)
def test_an_id_and_some_payload_may_start_an_operation_whose_document_is_looked_up(
    subprotocol: str, name: str, members: dict[str, Any], *, may: bool
) -> None:
    message = vocabulary(subprotocol).read({"type": name, **members})
    assert message.may_start_operation is may


class Record:
    """What an own decoder may make of an object: no mapping, but its members can be read."""

    def __init__(self, members: dict[str, Any]) -> None:
        self._members = members

    def get(self, name: str, default: Any = None) -> Any:
        return self._members.get(name, default)

    def __getitem__(self, name: str) -> Any:
        return self._members[name]


class Unhashable(str):
    """An id of an own decoder that no host can keep."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # on purpose


@pytest.mark.parametrize("make", [MappingProxyType, UserDict, Record])
@pytest.mark.parametrize(("subprotocol", "name"), STARTS)
def test_objects_that_are_no_dicts_are_read_like_dicts(
    make: Callable[[dict[str, Any]], Any], subprotocol: str, name: str
) -> None:
    payload = make(OPERATION)
    message = vocabulary(subprotocol).read(make({"type": name, "id": "1", "payload": payload}))
    assert (message.type.name, message.id) == (name, "1")
    assert message.payload is payload
    assert message.starts_operation
    assert message.well_formed


@pytest.mark.parametrize("odd", [object(), type("Half", (), {"get": lambda *_: "ping"})()])
def test_an_object_without_members_is_no_message(odd: object) -> None:
    known = vocabulary(GRAPHQL_TRANSPORT_WS)
    assert known.read(odd) == Message(known.unknown_received, NO_ID, odd)
    assert not known.read(odd).well_formed


def test_an_id_of_an_own_class_that_no_host_can_keep_is_none_at_all() -> None:
    message = vocabulary(GRAPHQL_WS).read({"type": "stop", "id": Unhashable("1")})
    assert message.id is NO_ID


@pytest.mark.parametrize("payload", NO_OBJECTS)
def test_a_payload_that_is_no_object_reads_as_an_empty_one(payload: Any) -> None:
    assert vocabulary(GRAPHQL_WS).read({"type": "start", "payload": payload}).payload == {}


def test_deeply_nested_json_is_read_without_descending_into_it() -> None:
    nested: Any = {}
    for _ in range(100_000):
        nested = [nested]
    value = {"type": "subscribe", "id": "1", "payload": {**OPERATION, "variables": {"a": nested}}}
    assert vocabulary(GRAPHQL_TRANSPORT_WS).read(value).well_formed


@PROPERTY
@given(value=messages | any_json, subprotocol=st.sampled_from(SUBPROTOCOLS))
def test_any_json_value_can_be_read_and_asked_anything(value: Any, subprotocol: str | None) -> None:
    known = vocabulary(subprotocol)
    message = known.read(value)
    assert message.type in known.received.values()
    assert message.value is value
    assert isinstance(hash(message.id), int)
    assert isinstance(message.payload, Mapping)
    assert isinstance(message.well_formed, bool)
    assert isinstance(message.starts_operation, bool)


@PROPERTY
@given(value=messages, subprotocol=st.sampled_from(SUBPROTOCOLS))
def test_what_is_well_formed_survives_the_wire(value: Any, subprotocol: str | None) -> None:
    message = vocabulary(subprotocol).read(value)
    again = vocabulary(subprotocol).read(json.loads(json.dumps(value)))
    assert (again.type, again.well_formed, again.starts_operation) == (
        message.type,
        message.well_formed,
        message.starts_operation,
    )


@PROPERTY
@given(type_=any_json, subprotocol=st.sampled_from(SUBPROTOCOLS))
def test_any_message_that_is_sent_has_a_type(type_: Any, subprotocol: str | None) -> None:
    known = vocabulary(subprotocol)
    assert known.classify_sent({"type": type_}) in known.sent.values()


@PROPERTY
@given(name=any_text)
def test_any_name_of_a_subprotocol_has_a_vocabulary(name: str) -> None:
    assert isinstance(vocabulary(name), Vocabulary)

"""An application chooses names and values; a wrong one says what would be right."""

import copy
import math
import pickle
from collections import ChainMap
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import pytest

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._attributes import (
    OWN_NAMES,
    StaticAttributes,
    checked_attributes,
    identity,
    truncated,
)

WHAT = "attributes"
POO = "\N{PILE OF POO}"


class Plan(str, Enum):  # noqa: UP042  # whose text is not its value
    GOLD = "gold"


class Region(StrEnum):
    NORTH = "north"


class Seats(IntEnum):
    MANY = 500


class Share(float):
    pass


def message_of(error: type[Exception], attributes: object) -> str:
    with pytest.raises(error) as raised:
        checked_attributes(WHAT, attributes)
    assert type(raised.value) is error
    return str(raised.value)


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"tenant": "acme", "paying": True, "seats": 5, "share": 0.5},
        {"longest": "x" * 10_000, "least": -(2**63), "most": 2**63 - 1, "infinite": math.inf},
        {".": ""},
    ],
)
@pytest.mark.parametrize("kind", [dict, MappingProxyType, ChainMap])
def test_strings_bools_and_numbers_are_taken_out_of_any_mapping(attributes: Any, kind: Any) -> None:
    given = kind(attributes)
    checked = checked_attributes(WHAT, given)
    assert checked == attributes
    assert checked is not given
    assert [type(value) for value in checked.values()] == [*map(type, attributes.values())]


def test_values_have_the_builtin_classes() -> None:
    given = {
        Region.NORTH: Region.NORTH,
        Plan.GOLD: Plan.GOLD,
        "seats": Seats.MANY,
        "share": Share(0.5),
    }
    checked = checked_attributes(WHAT, given)
    assert checked == {"north": "north", "gold": "gold", "seats": 500, "share": 0.5}
    assert {type(name) for name in checked} == {str}
    assert [type(value) for value in checked.values()] == [str, str, int, float]


@pytest.mark.parametrize(
    ("wrong", "class_"),
    [
        (None, "None"),
        ("tenant=acme", "str"),
        (["tenant"], "list"),
        ({"tenant"}, "set"),
        ([("tenant", "acme")], "list"),
    ],
)
def test_what_is_no_mapping_is_refused_with_an_example(wrong: object, class_: str) -> None:
    assert message_of(TypeError, wrong) == (
        f"attributes must be a mapping of names to values, such as {{'tenant': 'acme'}},"
        f" not {class_}"
    )


@pytest.mark.parametrize(("name", "class_"), [(None, "None"), (5, "int"), (b"tenant", "bytes")])
def test_a_name_that_is_no_string_is_refused(name: object, class_: str) -> None:
    message = message_of(TypeError, {"tenant": "acme", name: "other"})
    assert message == f"attributes must have strings for names, not {class_}"


@pytest.mark.parametrize(
    ("value", "class_"),
    [
        (None, "None"),
        (["a"], "list"),
        (("a",), "tuple"),
        ({}, "dict"),
        (b"secret", "bytes"),
        (5j, "complex"),
        (Plan, "EnumType"),
    ],
)
def test_a_value_of_another_type_is_refused_without_being_quoted(
    value: object, class_: str
) -> None:
    message = message_of(TypeError, {"first": "acme", "tenant": value})
    assert message == f"attributes must have a str, bool, int or float in 'tenant', not {class_}"


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**100])
def test_a_number_that_no_exporter_can_write_is_refused(value: int) -> None:
    assert message_of(ValueError, {"id": value}) == (
        "attributes must have a number of at most 64 bits in 'id': give a larger one as a string"
    )


def test_an_empty_name_is_refused() -> None:
    assert message_of(ValueError, {"": "x"}) == "attributes must not have an empty name"


@pytest.mark.parametrize("name", sorted(OWN_NAMES))
def test_a_name_of_the_library_is_refused(name: str) -> None:
    assert message_of(ValueError, {"tenant": "acme", name: "x"}) == (
        f"attributes must not have {name!r}, which is a name of the library"
    )


def test_every_name_of_the_library_is_its_own() -> None:
    names = {value for key, value in vars(_semconv).items() if key.isupper()}
    assert names == OWN_NAMES
    assert {_semconv.CONNECTION_ID, _semconv.ERROR_TYPE, _semconv.LOG_LEFT_OUT} <= names


def test_what_cannot_be_encoded_is_replaced_and_nothing_is_truncated() -> None:
    given = {"site\udce9": "caf\udce9" + "x" * 300}
    assert checked_attributes("attributes", given) == {"site?": "caf?" + "x" * 300}


def test_names_and_strings_are_truncated_and_can_be_encoded() -> None:
    given: dict[str, Any] = {
        "n" * 300: "v" * 300,
        "lone": "\ud83d",
        "whole": POO,
        "seats": 5,
        "paying": True,
    }
    assert truncated(given) == {
        "n" * 256: "v" * 256,
        "lone": "?",
        "whole": POO,
        "seats": 5,
        "paying": True,
    }


# --- Those of a configuration ------------------------------------------------------------------


def test_the_attributes_of_a_configuration_are_a_mapping_that_stays_as_it_is() -> None:
    given: dict[str, Any] = {"endpoint": "admin", "beta": True}
    attributes = StaticAttributes(given)
    given["endpoint"] = "other"
    assert attributes == {"endpoint": "admin", "beta": True}
    assert {**attributes} == {"endpoint": "admin", "beta": True}
    assert (len(attributes), repr(attributes)) == (2, "{'endpoint': 'admin', 'beta': True}")
    changed: Any = attributes
    with pytest.raises(TypeError):
        changed["endpoint"] = "other"
    assert StaticAttributes() == {}


def test_they_can_be_hashed_copied_and_pickled() -> None:
    one = StaticAttributes({"endpoint": "admin", "tier": 1})
    other = StaticAttributes({"tier": 1, "endpoint": "admin"})
    assert (one, hash(one)) == (other, hash(other))
    for again in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):  # noqa: S301  # our own
        assert type(again) is StaticAttributes
        assert again == one


def test_attributes_are_the_same_only_with_the_same_types() -> None:
    sets: list[dict[str, Any]] = [{}, {"n": 1}, {"n": True}, {"n": 1.0}, {"n": "1"}, {"m": 1}]
    assert len({identity(each) for each in sets}) == len(sets)
    assert identity({"a": 1, "b": 2}) == identity({"b": 2, "a": 1})

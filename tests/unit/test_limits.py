"""What an untrusted client wrote is cut before it is recorded, and what is left can be encoded."""

import json
from json import JSONDecodeError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strawberry_ws_otel import _limits
from strawberry_ws_otel._limits import (
    bounded,
    bounded_reason,
    class_name,
    exception_message,
    exception_type,
    headline,
    module_that_raised,
    present,
    utf8_size,
)
from tests.support.strategies import PROPERTY, any_json, any_text

EURO = "\N{EURO SIGN}"
POO = "\N{PILE OF POO}"


class DomainError(Exception):
    class Inner(Exception):  # noqa: N818  # a name inside a name
        pass


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class OddError(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307  # an application may do so


def test_the_lengths_are_those_of_the_contract() -> None:
    assert (_limits.ID, _limits.NAME, _limits.MESSAGE, _limits.REASON) == (128, 256, 512, 123)


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [
        ("", 3, ""),
        ("abc", 3, "abc"),
        ("abcd", 3, "abc"),
        ("abc", 0, ""),
        (EURO * 4, 3, EURO * 3),
        (POO * 4, 3, POO * 3),
        ("a\ud800b", 3, "a?b"),
        ("\udfff" * 9, 2, "??"),
        (12345, 3, "123"),
        (None, 9, "None"),
        (True, 9, "True"),
        (1.5, 9, "1.5"),
        ("x" * 1_000_000, 128, "x" * 128),
    ],
)
def test_a_value_is_cut_to_a_number_of_characters(value: Any, limit: int, text: str) -> None:
    assert bounded(value, limit) == text


@PROPERTY
@given(value=any_json, limit=st.integers(0, 300))
def test_any_value_becomes_text_within_the_limit_that_can_be_encoded(
    value: Any, limit: int
) -> None:
    text = bounded(value, limit)
    assert len(text) <= limit
    assert text.encode().decode() == text


@PROPERTY
@given(value=st.text(), limit=st.integers(0, 300))
def test_text_that_can_be_encoded_keeps_its_beginning(value: str, limit: int) -> None:
    assert bounded(value, limit) == value[:limit]


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("", ""),
        ("going away", "going away"),
        ("x" * 123, "x" * 123),
        ("x" * 124, "x" * 123),
        (EURO * 41, EURO * 41),
        (EURO * 42, EURO * 41),
        ("x" + EURO * 41, "x" + EURO * 40),
        (POO * 31, POO * 30),
        ("a\ud800b", "a?b"),
    ],
)
def test_a_reason_is_cut_to_what_a_control_frame_holds(reason: str, kept: str) -> None:
    assert bounded_reason(reason) == kept


@PROPERTY
@given(reason=any_text)
def test_any_reason_fits_a_control_frame(reason: str) -> None:
    assert len(bounded_reason(reason).encode()) <= 123


@PROPERTY
@given(reason=st.text(min_size=20))
def test_a_reason_is_cut_between_characters(reason: str) -> None:
    assert reason.startswith(bounded_reason(reason))


def test_what_has_no_value_is_left_out() -> None:
    attributes = {"a": 0, "b": None, "c": "", "d": False}
    assert present(attributes) == {"a": 0, "c": "", "d": False}


def local_error() -> Exception:
    class LocalError(Exception):
        pass

    return LocalError()


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ValueError(), "ValueError"),
        (ConnectionResetError(), "ConnectionResetError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (DomainError(), "tests.unit.test_limits.DomainError"),
        (DomainError.Inner(), "tests.unit.test_limits.DomainError.Inner"),
        (local_error(), "tests.unit.test_limits.local_error.<locals>.LocalError"),
        (type("E" * 300, (Exception,), {"__module__": "m"})(), f"m.{'E' * 254}"),
    ],
)
def test_an_exception_has_the_name_that_the_sdk_gives_it(error: BaseException, name: str) -> None:
    assert exception_type(error) == name
    assert class_name(error) == name


def test_a_class_is_named_with_its_module_unless_it_is_a_builtin() -> None:
    long = type("x" * 300, (), {"__module__": "a"})
    assert [class_name(each) for each in (5, None, long())] == ["int", "NoneType", f"a.{'x' * 254}"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("bad"), "bad"),
        (ValueError(), ""),
        (ValueError("x" * 513), "x" * 512),
        (ValueError("\ud800"), "?"),
        (ValueError(1, 2), "(1, 2)"),
        (MuteError("bad"), ""),
        (OddError("bad"), ""),
    ],
)
def test_a_message_is_cut_and_an_exception_without_words_has_none(
    error: BaseException, message: str
) -> None:
    assert exception_message(error) == message


@pytest.mark.parametrize(
    ("data", "size"),
    [
        ("", 0),
        ("abc", 3),
        (EURO, 3),
        (POO, 4),
        ("\ud800", 3),
        (b"", 0),
        (b"\xff\xfe", 2),
        (bytearray(5), 5),
    ],
)
def test_the_size_is_that_on_the_wire(data: Any, size: int) -> None:
    assert utf8_size(data) == size


@PROPERTY
@given(text=st.text())
def test_the_size_of_text_is_that_of_its_encoding(text: str) -> None:
    assert utf8_size(text) == len(text.encode())


# --- Headlines -----------------------------------------------------------------------------------


def wrapped(error: BaseException, *wrappers: BaseException) -> BaseException:
    """The last wrapper, each of which was raised because of the one before."""
    for wrapper in wrappers:
        wrapper.__cause__ = error
        error = wrapper
    return error


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (MuteError(), "tests.unit.test_limits.MuteError"),
        (ValueError("one\nof  three\r\nlines"), "ValueError: one of three lines"),
        (ValueError("a" * 1000), f"ValueError: {'a' * 512}"),
        (
            ExceptionGroup("several", [OSError("full"), ValueError()]),
            "ExceptionGroup: several (2 sub-exceptions) (raised first: OSError: full)",
        ),
    ],
    ids=["message", "none", "mute", "lines", "long", "group"],
)
def test_a_headline_has_class_and_message_on_one_line(error: BaseException, shown: str) -> None:
    assert headline(error) == shown


def test_a_headline_names_what_others_have_wrapped() -> None:
    error = wrapped(OSError("disk full"), KeyError("pipe"), RuntimeError("export failed"))
    assert headline(error) == "RuntimeError: export failed (raised first: OSError: disk full)"


def test_a_headline_does_not_name_what_was_only_handled_meanwhile() -> None:
    error = RuntimeError("export failed")
    error.__context__ = OSError("the application's")
    assert headline(error) == "RuntimeError: export failed"


def test_a_chain_that_has_no_end_has_a_headline() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert headline(one) == "ValueError: one"


def test_a_headline_has_only_the_messages_that_are_asked_for() -> None:
    error = wrapped(OSError("disk full"), RuntimeError("secret"))
    shown = headline(error, lambda each: isinstance(each, OSError))
    assert shown == "RuntimeError (raised first: OSError: disk full)"


def test_the_module_that_raised_is_the_innermost_one() -> None:
    with pytest.raises(JSONDecodeError) as raised:
        json.loads("")
    assert module_that_raised(raised.value) == "json.decoder"
    with pytest.raises(MuteError) as own:
        raise MuteError
    assert module_that_raised(own.value) == __name__
    assert module_that_raised(MuteError()) == ""

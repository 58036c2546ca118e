"""Attributes that the application chooses: what they may be, and how they are bounded.

* A value is a string, a bool, a whole number or a float.
* The library's names are its own: nobody else gives them a value.
* What the server says of a connection may come from a client. It is truncated like all that does.
"""

from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._limits import NAME, bounded

Value: TypeAlias = str | bool | int | float
"""The value of an attribute that the application chooses."""

MAX_ATTRIBUTES: Final = 32  # of one connection

OWN_NAMES: Final = _semconv.names()

_INT64: Final = 1 << 63
"""OTLP has whole numbers of 64 bits: a larger one would make an exporter drop a whole batch."""


class StaticAttributes(Mapping[str, Value]):
    """A mapping that cannot be changed, and that can be hashed and pickled."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Value] | None = None) -> None:
        """Copy `values`, which are checked."""
        self._values = dict(values or {})

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return repr(self._values)

    def __reduce__(self) -> tuple[type["StaticAttributes"], tuple[dict[str, Value]]]:
        return type(self), (self._values,)


def identity(attributes: Mapping[str, Value]) -> frozenset[tuple[str, type, Value]]:
    """Return what is the same for equal attributes only: `True` and 1 are not."""
    return frozenset((name, type(value), value) for name, value in attributes.items())


def checked_attributes(what: str, attributes: object) -> dict[str, Value]:
    """Return a copy of `attributes` whose values have the builtin classes.

    Characters that UTF-8 cannot encode are replaced: an exporter would fail with them. Python makes
    such ones of bytes in a variable of the environment that are no UTF-8 (PEP 383).

    Args:
        what: how messages call the attributes.
        attributes: what the application has given.

    Raises:
        TypeError: it is no mapping of strings to strings, bools, whole numbers and floats.
        ValueError: a name is empty or the library's, or a whole number has more than 64 bits.
    """
    if not isinstance(attributes, Mapping):
        raise TypeError(
            f"{what} must be a mapping of names to values, such as {{'tenant': 'acme'}},"
            f" not {_described(attributes)}"
        )
    return {_name(what, name): _value(what, name, value) for name, value in attributes.items()}


def truncated(attributes: Mapping[str, Value]) -> dict[str, Value]:
    """Return `attributes` with names and strings of at most 256 characters."""
    return {
        bounded(name, NAME): bounded(value, NAME) if isinstance(value, str) else value
        for name, value in attributes.items()
    }


def _name(what: str, name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{what} must have strings for names, not {_described(name)}")
    if not name:
        raise ValueError(f"{what} must not have an empty name")
    if name in OWN_NAMES:
        raise ValueError(f"{what} must not have {name!r}, which is a name of the library")
    return bounded(str.__str__(name), len(name))


def _value(what: str, name: object, value: object) -> Value:
    match value:
        case bool():
            return value
        case str():
            # Not `str(value)`: the text of a member of an enumeration is its name.
            return bounded(str.__str__(value), len(value))
        case int():
            if not -_INT64 <= value < _INT64:
                raise ValueError(
                    f"{what} must have a number of at most 64 bits in {name!r}: give a larger one"
                    " as a string"
                )
            return int(value)
        case float():
            return float(value)
    raise TypeError(
        f"{what} must have a str, bool, int or float in {name!r}, not {_described(value)}"
    )


def _described(value: object) -> str:
    """Return the class of what is wrong: its text may be private."""
    return "None" if value is None else type(value).__qualname__

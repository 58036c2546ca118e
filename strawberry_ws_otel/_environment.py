"""The options of `OTelConfig` from environment variables, where the library is added without code.

* The variable of an option is `PREFIX` and the option's name in capitals. What its text may be
  follows from the option's type: a new option needs no line here.
* An empty variable is an unset one, and choices are read in any case, as OpenTelemetry wants it.
* A value that cannot be used and a name that is no option are logged as one WARNING each. The
  default is used, and the application starts.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from types import NoneType, UnionType
from typing import Any, Final, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints
from urllib.parse import unquote

from strawberry_ws_otel._config import OTelConfig
from strawberry_ws_otel._limits import NAME, bounded
from strawberry_ws_otel._semconv import SCOPE

_logger = logging.getLogger(SCOPE)

_INT64: Final = 1 << 63  # the numbers of OTLP are below

PREFIX: Final = "OTEL_PYTHON_STRAWBERRY_WS_OTEL_"


class Reader(NamedTuple):
    """How the text of a variable becomes a value of one type."""

    read: Callable[[str], Any]
    """Raises a ValueError."""

    allowed: str
    """What the text may be."""


def readers() -> dict[str, Reader]:
    """Return the reader of each variable, by its name; a provider cannot be written as text."""
    hints = get_type_hints(OTelConfig)
    found = {f"{PREFIX}{option.upper()}": reader_of(hint) for option, hint in hints.items()}
    return {name: reader for name, reader in found.items() if reader is not None}


def config_from(environ: Mapping[str, str]) -> OTelConfig:
    """Return the configuration that the variables describe, and log what is wrong with them."""
    options: dict[str, Any] = {}
    known = readers()
    for name in sorted(environ):
        text = environ[name].strip()
        if not name.startswith(PREFIX) or not text:
            continue
        if name not in known:
            _logger.warning("%s is ignored: there is no such option%s", name, _hint(name, known))
            continue
        option = name.removeprefix(PREFIX).lower()
        try:
            options |= _checked(options, option, known[name], text)
        except (TypeError, ValueError) as error:
            default = getattr(OTelConfig(), option)
            _logger.warning(
                "%s=%s is ignored, and the default is used (%s): %s",
                *(name, bounded(text, NAME), _text_of(default), error),
            )
    return OTelConfig(**options)


def _checked(options: dict[str, Any], option: str, reader: Reader, text: str) -> dict[str, Any]:
    """Return an option's value by its name.

    Raises:
        TypeError: `OTelConfig` refuses the value.
        ValueError: so does its reader, or `OTelConfig`.
    """
    try:
        value = reader.read(text)
    except ValueError:
        raise ValueError(f"it must be {reader.allowed}") from None
    OTelConfig(**options, **{option: value})
    return {option: value}


def _hint(name: str, known: Collection[str]) -> str:
    """Return which variable was probably meant."""
    options = [each.removeprefix(PREFIX) for each in known]
    near = get_close_matches(name.removeprefix(PREFIX), options, n=1)
    return f"; did you mean {PREFIX}{near[0]}?" if near else f"; there are {', '.join(options)}"


def _text_of(value: object) -> str:
    """Return how a default is written in a variable; an empty collection is an unset one."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return "unset" if value in (frozenset(), {}, ()) else str(value)


# --- One reader for each kind of type --------------------------------------------------------


def reader_of(hint: Any) -> Reader | None:  # noqa: ANN401  # an annotation
    """Return the reader of a type; None if its values cannot be written as text."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        choices = {str(choice).lower(): choice for choice in arguments}
        return Reader(partial(_choice, choices), " or ".join(map(str, arguments)))
    if origin in {Union, UnionType}:
        return _reader_of_union(arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        value = reader_of(arguments[1])
        return value and Reader(
            partial(_mapping, value.read),
            f"comma-separated key=value pairs, each value {value.allowed}",
        )
    if isinstance(origin, type) and issubclass(origin, Collection):
        item = reader_of(arguments[0])
        return item and Reader(
            partial(_collection, item.read), f"a comma-separated list, each item {item.allowed}"
        )
    return _SCALARS.get(hint)


def _reader_of_union(members: tuple[Any, ...]) -> Reader | None:
    """Return the reader of a union: `none` is tried first and text last, which is anything."""
    found = {member: reader_of(member) for member in members}
    known = {member: reader for member, reader in found.items() if reader is not None}
    if len(known) < len(found):
        return None
    order = sorted(known, key=lambda member: (member is not NoneType, member is str))
    if str in known:
        known = {
            member: each._replace(read=partial(_exact, each.read)) for member, each in known.items()
        }
    allowed = " or ".join(reader.allowed for reader in known.values())
    return Reader(partial(_first, [known[member].read for member in order]), allowed)


def _choice(choices: Mapping[str, Any], text: str) -> Any:  # noqa: ANN401  # one of them
    """Return the choice of that name."""
    if text.lower() not in choices:
        raise ValueError(text)
    return choices[text.lower()]


def _first(reads: Collection[Callable[[str], Any]], text: str) -> Any:  # noqa: ANN401  # of any member
    """Return what the first reader makes of the text that can read it."""
    for read in reads:
        try:
            return read(text)
        except ValueError:
            continue
    raise ValueError(text)


def _exact(read: Callable[[str], Any], text: str) -> Any:  # noqa: ANN401  # of any member
    """Return the value, unless it is a number that would be written in another way: that is text.

    Versions (1.10), numbers with leading zeros (0042) and hashes (12e34567) are no numbers.
    """
    value = read(text)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and (str(value) != text or not -_INT64 <= value < _INT64):
        raise ValueError(text)
    return value


def _items(text: str) -> Iterator[str]:
    return filter(None, map(str.strip, text.split(",")))


def _collection(read: Callable[[str], Any], text: str) -> tuple[Any, ...]:
    """Return the items between the commas."""
    return tuple(map(read, _items(text)))


def _mapping(read: Callable[[str], Any], text: str) -> dict[str, Any]:
    """Return the pairs; a comma within a value is written %2C, as in OTEL_RESOURCE_ATTRIBUTES."""
    mapping = {}
    for item in _items(text):
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(item)
        mapping[key.strip()] = read(unquote(value.strip()))
    return mapping


_SCALARS: Final[Mapping[Any, Reader]] = {
    NoneType: Reader(partial(_choice, {"none": None}), "none"),
    bool: Reader(partial(_choice, {"true": True, "false": False}), "true or false"),
    int: Reader(int, "a whole number"),
    float: Reader(float, "a number"),
    str: Reader(str, "text"),
}

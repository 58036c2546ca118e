"""Reads and sets the thresholds of the rules.

A threshold stands in the rules, as a number with its name behind it:
`foo:increase5m >= 20 # ResultErrors.results`. A text that states it has its name before the number:
`more than {{/* ResultErrors.share */}}5 % of them`. Both are comments, to Prometheus and to its
templates. The first word of a name is the alert that it decides.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Final

NUMBER: Final = re.compile(r"(?<![\w.:\[])\d+(?:\.\d+)?(?![\w.:])")
"""A number on its own, not one in a name or a duration."""

NAME: Final = r"(?P<name>[A-Z]\w+\.\w+)"
IN_EXPRESSION: Final = re.compile(rf"^(?P<line>.*\S) # {NAME}$", re.MULTILINE)
IN_TEXT: Final = re.compile(
    rf"\{{\{{/\* {NAME} \*/\}}\}}(?P<number>{NUMBER.pattern})(?P<percent> %)?"
)

MULTIPLES: Final = frozenset({"growth", "odds", "times_usual"})
"""What is compared with a multiple of something: less than once would be the contrary."""


class ThresholdError(Exception):
    """A threshold is not there, or cannot have this value; the message says what is possible."""


def stated(text: str) -> Iterator[tuple[str, Decimal]]:
    """Yield every place of a threshold in a file of rules: its name, and its value there."""
    for found in IN_EXPRESSION.finditer(text):
        [number] = NUMBER.findall(found["line"])
        yield found["name"], Decimal(number)
    for found in IN_TEXT.finditer(text):
        yield found["name"], Decimal(found["number"]) / (100 if found["percent"] else 1)


def defaults(texts: Iterable[str]) -> dict[str, Decimal]:
    """Return the thresholds of files of rules, in their order, and their values."""
    return {name: value for text in texts for name, value in stated(text)}


def checked(wanted: Mapping[str, str], known: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Return all thresholds, with the values that are wanted for some of them.

    Raises:
        ThresholdError: There is no such threshold, or it cannot have this value.

    """
    for name, value in wanted.items():
        if name not in known:
            raise ThresholdError(f"there is no threshold {name}. There are {', '.join(known)}")
        is_share = known[name] < 1
        if not re.fullmatch(r"\d+(\.\d+)?", value) or not Decimal(value):
            raise ThresholdError(f"{name} has to be a number above 0, not {value}")
        if name.partition(".")[2] in MULTIPLES and Decimal(value) <= 1:
            raise ThresholdError(f"{name} is a multiple, and has to be above 1, not {value}")
        if is_share and Decimal(value) >= 1:
            raise ThresholdError(f"{name} is a share below 1, such as {known[name]}, not {value}")
    return {**known, **{name: Decimal(value) for name, value in wanted.items()}}


def applied_to(text: str, values: Mapping[str, Decimal]) -> str:
    """Write these values into a file of rules, and leave the names out."""

    def written(number: Decimal) -> str:
        return f"{number.normalize():f}"

    def in_expression(found: re.Match[str]) -> str:
        return NUMBER.sub(written(values[found["name"]]), found["line"])

    def in_text(found: re.Match[str]) -> str:
        value = values[found["name"]]
        return f"{written(value * 100)} %" if found["percent"] else written(value)

    return IN_TEXT.sub(in_text, IN_EXPRESSION.sub(in_expression, text))

"""Every name of the telemetry stands once, and says where it comes from."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from strawberry_ws_otel import _protocol, _semconv

SOURCES = ("own", "draft", "OTel")
NO_NAMES = {"SCOPE"}
"""What is no name of a span, event, attribute, metric or value."""


def documented() -> dict[str, str | None]:
    """Each constant, and the docstring right after it."""
    body = ast.parse(Path(_semconv.__file__).read_text()).body
    found: dict[str, str | None] = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            found[node.target.id] = str(after.value.value) if is_text else None  # type: ignore[union-attr]
    return found


DOCUMENTED = documented()
CONSTANTS = {name: value for name, value in vars(_semconv).items() if name.isupper()}
NAMES = {name: value for name, value in CONSTANTS.items() if name not in NO_NAMES}


MESSAGE_EVENTS = {
    f"{_semconv.EVENT_MESSAGE_PREFIX}{message_type}"
    for protocol in (_protocol.GRAPHQL_TRANSPORT_WS, _protocol.GRAPHQL_WS)
    for types in (_protocol.vocabulary(protocol).received, _protocol.vocabulary(protocol).sent)
    for message_type in types
}
NO_ATTRIBUTES = ("OTHER", "SPAN_", "EVENT_", "METRIC_")
KINDS = {
    "attributes": {NAMES[name] for name in NAMES if not name.startswith(NO_ATTRIBUTES)},
    "events": MESSAGE_EVENTS | {NAMES[name] for name in NAMES if name.startswith("EVENT_")},
    "metrics": {NAMES[name] for name in NAMES if name.startswith("METRIC_")},
}
OURS = ("websocket.", "graphql.ws.")


def source(name: str) -> str:
    return (DOCUMENTED[name] or "").partition(":")[0]


def test_there_is_nothing_but_constants_of_text() -> None:
    assert set(DOCUMENTED) == set(CONSTANTS)
    assert all(isinstance(value, str) for value in CONSTANTS.values())


@pytest.mark.parametrize("name", CONSTANTS)
def test_each_constant_is_documented_right_after_it(name: str) -> None:
    docstring = DOCUMENTED[name]
    assert docstring is not None
    assert docstring.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_each_name_says_which_of_the_three_sources_it_is_from(name: str) -> None:
    assert re.match(f"({'|'.join(SOURCES)}): .", DOCUMENTED[name] or "")


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("SPAN_")])
def test_a_name_is_our_own_if_it_begins_as_ours_do(name: str) -> None:
    ours = NAMES[name].startswith(OURS)
    assert ours == (source(name) == "own")


def test_no_name_stands_twice() -> None:
    assert [name for name, times in Counter(NAMES.values()).items() if times > 1] == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_name_of_ours_is_the_namespace_of_another_one_of_its_kind(kind: str) -> None:
    ours = [name for name in KINDS[kind] if name.startswith(OURS)]
    assert len(ours) > 1
    assert [one for one in ours for other in ours if other.startswith(f"{one}.")] == []


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("METRIC_")])
def test_each_metric_says_its_unit(name: str) -> None:
    unit = re.match(r"\w+: `(s|By|\{\w+\})`, .", DOCUMENTED[name] or "")
    assert unit is not None


@pytest.mark.parametrize(
    ("prefix", "pattern"),
    [
        ("SPAN_", r"GraphQL( [A-Z]\w+)+"),
        ("EVENT_", r"(websocket|graphql)(\.[a-z_]+)+\.?"),
        ("METRIC_", r"(websocket|graphql)\.(server|ws)(\.[a-z_]+)+"),
    ],
)
def test_names_look_like_those_of_their_kind(prefix: str, pattern: str) -> None:
    kind = {name: value for name, value in NAMES.items() if name.startswith(prefix)}
    assert kind
    assert all(re.fullmatch(pattern, value) for value in kind.values())

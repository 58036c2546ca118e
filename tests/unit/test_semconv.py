"""Every name of the telemetry stands once, and says where it comes from."""

import re
from collections import Counter
from pathlib import Path

import pytest

from strawberry_ws_otel import _protocol, _semconv

SOURCES = ("own", "draft", "OTel")
NO_NAMES = {"SCOPE"}
"""What is no name of a span, event, attribute, metric or value."""
GROUP = re.compile(f"# ({'|'.join(SOURCES)})\\b")
CONSTANT = re.compile(r"(\w+): Final = ")


def sources() -> dict[str, str | None]:
    """Each constant, and the source that the comment above its group names."""
    found: dict[str, str | None] = {}
    source: str | None = None
    for line in Path(_semconv.__file__).read_text().splitlines():
        if group := GROUP.match(line):
            source = group[1]
        elif constant := CONSTANT.match(line):
            found[constant[1]] = source
        elif line.startswith("# ---"):
            source = None
    return found


SOURCE = sources()
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


def test_there_is_nothing_but_constants_of_text() -> None:
    assert set(SOURCE) == set(CONSTANTS)
    assert all(isinstance(value, str) for value in CONSTANTS.values())


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_in_a_group_of_one_of_the_three_sources(name: str) -> None:
    assert SOURCE[name] in SOURCES


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("SPAN_")])
def test_a_name_is_our_own_if_it_begins_as_ours_do(name: str) -> None:
    ours = NAMES[name].startswith(OURS)
    assert ours == (SOURCE[name] == "own")


def test_no_name_stands_twice() -> None:
    # A metric over an attribute has its constant for a value, and no text of its own.
    texts = re.findall(
        r'^\w+: Final = ("[^"]*")', Path(_semconv.__file__).read_text(), re.MULTILINE
    )
    assert [name for name, times in Counter(texts).items() if times > 1] == []
    assert len(texts) == len(set(CONSTANTS.values()))


@pytest.mark.parametrize("kind", KINDS)
def test_no_name_of_ours_is_the_namespace_of_another_one_of_its_kind(kind: str) -> None:
    ours = [name for name in KINDS[kind] if name.startswith(OURS)]
    assert len(ours) > 1
    assert [one for one in ours for other in ours if other.startswith(f"{one}.")] == []


@pytest.mark.parametrize(
    ("prefix", "pattern"),
    [
        ("SPAN_", r"GraphQL( [A-Z]\w+)+"),
        ("EVENT_", r"exception|(websocket|graphql)(\.[a-z_]+)+\.?"),
        ("METRIC_", r"(websocket|graphql)\.(server|ws)(\.[a-z_]+)+"),
    ],
)
def test_names_look_like_those_of_their_kind(prefix: str, pattern: str) -> None:
    kind = {name: value for name, value in NAMES.items() if name.startswith(prefix)}
    assert kind
    assert all(re.fullmatch(pattern, value) for value in kind.values())

"""Who is behind a search: the clients are counted by what their spans say of them."""

import pytest

from examples.operations.clients import counted, main
from examples.operations.jaeger import Span


def span(**attributes: object) -> Span:
    named = {name.replace("__", "."): value for name, value in attributes.items()}
    return Span("1", "2", "GraphQL WebSocket Connection", 0, named, (), None, frozenset())


def test_a_client_that_comes_again_and_again_stands_first() -> None:
    here = span(user_agent__original="shop/1.2", client__address="10.0.0.1")
    there = span(user_agent__original="shop/1.2", client__address="10.0.0.2")
    assert counted([there, here, here]).most_common() == [
        (("shop/1.2", "10.0.0.1"), 2),
        (("shop/1.2", "10.0.0.2"), 1),
    ]


def test_a_client_without_a_user_agent_is_counted_and_a_span_without_a_client_is_not() -> None:
    assert counted([span(), span(client__address="10.0.0.1")]) == {("-", "10.0.0.1"): 1}


def test_a_jaeger_that_is_not_there_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["clients", "http://127.0.0.1:9/search?service=app"])
    assert main() == 1
    assert capsys.readouterr().err.startswith("Jaeger does not answer: ")

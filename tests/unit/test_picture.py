"""The whole drawing, as it is on a terminal."""

import re
from io import StringIO

import pytest
from opentelemetry.trace import StatusCode
from rich.console import Console

from strawberry_ws_otel import _semconv
from strawberry_ws_otel.console._conversation import Conversation, Operation
from strawberry_ws_otel.console._grouping import Grouping
from strawberry_ws_otel.console._picture import OperationLine, Picture, clock
from strawberry_ws_otel.console._snapshot import snapshot_of
from tests.support.drawn import (
    BEGIN,
    ID,
    LOST,
    MS,
    NORMAL,
    begin,
    closed,
    completed,
    connection,
    continued,
    ended,
    inner,
    message,
    operation,
    plain,
)


def an_operation(number: int = 1, at: int = 100, *, fails: bool = False) -> Operation:
    root = operation(number, at=at)
    message(root, "subscribe", at)
    message(root, "next", at + 50, sent=True)
    if fails:
        root.set_status(StatusCode.ERROR)
    phase = snapshot_of(ended(inner(_semconv.SPAN_PARSING, root, at), at + 10))
    reason = "connection_closed" if fails else "completed"
    return Operation(snapshot_of(completed(root, at + 500, reason)), [(1, phase)])


def lost(**attributes: str) -> Conversation:
    counts = {
        _semconv.MESSAGES_RECEIVED: 2,
        _semconv.MESSAGES_SENT: 4,
        _semconv.OPERATION_INTERRUPTED_COUNT: 1,
        _semconv.RECEIVE_IDLE_TIME: 0.345,
        _semconv.ERROR_TYPE: "connection_lost",
        _semconv.USER_AGENT: "Browser/1.0",
        "user.id": "ada",
    }
    span = connection(ID, {**counts, **attributes})
    message(span, "connection_init", 1)
    init = begin(_semconv.SPAN_CONNECTION_INIT, {_semconv.CONNECTION_ID: ID}, at=1)
    return Conversation(
        snapshot_of(closed(span, 1000, LOST)),
        [Operation(snapshot_of(ended(init, 2))), an_operation(fails=True)],
    )


DRAWN = """\
╭─ A title · connection_lost ──────────────────────────────────────────────────────────────────────╮
│ graphql-transport-ws · websocket.connection.id=00000000000000c1 · Browser/1.0 · user.id ada      │
│                                                                                                  │
│ GraphQL WebSocket Connection        ●━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━■━  1.00 s                    │
│     1.0 ms → connection_init   999 ms ■ websocket.close 1006                                     │
│ ↳ GraphQL WebSocket Connection Init ━································  1.0 ms                    │
│ ↳ subscription Op1                  ···●●━━━━━━━━━━━━━━━·············  500 ms  connection_closed │
│     100 ms → subscribe   150 ms ← next                                                           │
│   GraphQL Document Parsing          ···━·····························   10 ms                    │
│                                                                                                  │
│ received 2 · sent 4 · operations 1 · interrupted 1 · client silent for the last 345 ms           │
│ outcome connection_lost   fault network   code 1006   initiator none   clean no                  │
│ a note                                                                                           │
╰──────────────────────────────────────────────────────────────────────────────────────────────────╯
"""


def test_a_conversation_is_drawn_whole() -> None:
    assert plain(Picture(lost(), "A title", ["a note"])) == DRAWN


def long_lived() -> list[str]:
    """The drawings of a connection whose two segments are followed by its close."""
    grouping, first, live = Grouping(), connection(), operation(2, at=1_000)
    message(first, "connection_init", 1)
    message(live, "subscribe", 1_000)
    init = begin(_semconv.SPAN_CONNECTION_INIT, {_semconv.CONNECTION_ID: ID}, at=1)
    totals = {_semconv.MESSAGES_RECEIVED: 2, _semconv.OPERATION_COUNT: 1}
    second = continued(first, 250_000, {**totals, _semconv.MESSAGES_SENT: 250})
    message(live, "next", 2_000, sent=True)
    rest = continued(live, 301_000)
    message(rest, "next", 512_000, 512, sent=True)
    last = continued(second, 750_000, {**totals, _semconv.MESSAGES_SENT: 750})
    last.set_attributes({**totals, _semconv.MESSAGES_SENT: 801})
    spans = [
        *(ended(init, 2), first, live, second),
        *(completed(rest, 800_000, "connection_closed"), closed(last, 800_001, LOST)),
    ]
    added = map(grouping.add, map(snapshot_of, spans))
    conversations = [each for each in added if isinstance(each, Conversation)]
    return [plain(Picture(each, "A title")) for each in conversations]


LONG_LIVED = [
    """\
╭─ A title · open ─────────────────────────────────────────────────────────────────────────────────╮
│ graphql-transport-ws · websocket.connection.id=00000000000000c1                                  │
│                                                                                                  │
│ GraphQL WebSocket Connection        ●━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 4 m 10 s  open │
│     1.0 ms → connection_init                                                                     │
│ ↳ GraphQL WebSocket Connection Init ━············································   1.0 ms       │
│                                                                                                  │
│ received 2 · sent 250 · operations 1 · live 1                                                    │
│ still open after 4 m 10 s   segment 0                                                            │
╰──────────────────────────────────────────────────────────────────────────────────────────────────╯
""",
    """\
╭─ A title · open ─────────────────────────────────────────────────────────────────────────────────╮
│ graphql-transport-ws · websocket.connection.id=00000000000000c1                                  │
│                                                                                                  │
│ GraphQL WebSocket Connection        ●━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 12 m 30 s  open │
│     1.0 ms → connection_init                                                                     │
│ ↳ GraphQL WebSocket Connection Init ━···········································    1.0 ms       │
│ ↳ subscription Op2                  ●━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 12 m 29 s  live │
│     1.00 s → subscribe   2.00 s ← next                                                           │
│                                                                                                  │
│ received 2 · sent 750 · operations 1 · live 1                                                    │
│ still open after 12 m 30 s   segment 1                                                           │
╰──────────────────────────────────────────────────────────────────────────────────────────────────╯
""",
    """\
╭─ A title · connection_lost ──────────────────────────────────────────────────────────────────────╮
│ graphql-transport-ws · websocket.connection.id=00000000000000c1                                  │
│                                                                                                  │
│ GraphQL WebSocket Connection        ●━━━━━━━━━━━━━━━━━━━━━━━━━━━━■━ 13 m 20 s                    │
│     1.0 ms → connection_init   13 m 20 s ■ websocket.close 1006                                  │
│ ↳ GraphQL WebSocket Connection Init ━······························    1.0 ms                    │
│ ↳ subscription Op2                  ●━━━━━━━━━━━━━━━━━━●━━━━━━━━━━· 13 m 19 s  connection_closed │
│     1.00 s → subscribe   2.00 s ← next 1…512                                                     │
│                                                                                                  │
│ received 2 · sent 801 · operations 1 · interrupted 0                                             │
│ outcome connection_lost   fault network   code 1006   initiator none   clean no                  │
╰──────────────────────────────────────────────────────────────────────────────────────────────────╯
""",
]


def test_an_open_conversation_is_drawn_as_far_as_it_went_and_the_last_one_whole() -> None:
    assert long_lived() == LONG_LIVED


@pytest.mark.parametrize("width", [200, 120, 100, 80, 60, 40])
def test_it_is_as_wide_as_the_terminal_but_not_wider_than_can_be_read(width: int) -> None:
    lines = plain(Picture(lost()), width).splitlines()
    assert {len(line) for line in lines} == {min(width, 120)}


@pytest.mark.parametrize("width", [1, 5, 20])
def test_a_terminal_that_is_too_narrow_fails_nothing(width: int) -> None:
    assert plain(Picture(lost()), width)


def test_without_a_title_it_has_the_time_and_the_route() -> None:
    when = clock(BEGIN + 1000 * MS)
    assert plain(Picture(lost())).startswith(f"╭─ {when} /graphql · connection_lost ─")


def test_without_a_route_the_title_has_the_path_or_only_the_time() -> None:
    pathed = begin(_semconv.SPAN_CONNECTION, {_semconv.URL_PATH: "/ws"})
    bare = begin(_semconv.SPAN_CONNECTION)
    titles = [
        plain(Picture(Conversation(snapshot_of(closed(span))))).splitlines()[0]
        for span in (pathed, bare)
    ]
    assert " /ws · normal ─" in titles[0]
    assert re.match(r"╭─ [\d:.]+ · normal ─", titles[1])


def test_the_time_is_local_with_milliseconds() -> None:
    assert re.fullmatch(r"\d\d:\d\d:20\.007", clock(BEGIN + 7 * MS))


def test_a_handshake_that_was_refused_has_its_status() -> None:
    span = begin(_semconv.SPAN_CONNECTION, {_semconv.HTTP_STATUS_CODE: 403})
    verdict = {
        _semconv.CLOSE_OUTCOME: "handshake_rejected",
        _semconv.CLOSE_FAULT: "client",
        _semconv.ERROR_TYPE: "handshake_rejected",
    }
    drawn = plain(Picture(Conversation(snapshot_of(ended(span, 1, verdict)))))
    assert "HTTP 403, no upgrade · websocket.connection.id=None" in drawn
    assert "outcome handshake_rejected   fault client   clean no" in drawn
    assert "received 0 · sent 0 · operations 0 · interrupted 0 " in drawn


def test_an_exception_is_named_beside_the_outcome() -> None:
    drawn = plain(Picture(lost(**{_semconv.ERROR_TYPE: "TimeoutError"})))
    assert "error.type TimeoutError" in drawn


def test_a_long_user_agent_is_truncated() -> None:
    drawn = plain(Picture(lost(**{_semconv.USER_AGENT: "Mozilla" * 20})), 120)
    assert f" {('Mozilla' * 20)[:40]}… " in drawn


def test_operations_are_in_the_order_of_their_start() -> None:
    late, early = an_operation(1, at=500), an_operation(2, at=100)
    drawn = plain(Picture(Conversation(snapshot_of(closed(connection())), [late], [early])))
    assert re.findall("↳ subscription (Op.)", drawn) == ["Op2", "Op1"]


def test_what_was_left_out_is_said_where_it_was() -> None:
    conversation = Conversation(
        snapshot_of(closed(connection(), operations=1_236)),
        [Operation(an_operation(1).span, inner_left_out=2_000)],
        [an_operation(2, at=50)],
        1_234,
    )
    drawn = plain(Picture(conversation))
    found = re.findall("Op1|… .* left out|Op2", drawn)
    assert found == ["Op1", "… 2,000 spans left out", "… 1,234 operations left out", "Op2"]


@pytest.mark.parametrize(
    ("verdict", "style"),
    [
        (NORMAL, "green"),
        (LOST, "yellow"),
        ({**LOST, _semconv.CLOSE_FAULT: "server"}, "red"),
        ({**LOST, _semconv.CLOSE_FAULT: "client"}, "yellow"),
    ],
)
def test_the_colour_is_that_of_the_verdict(verdict: dict[str, object], style: str) -> None:
    picture = Picture(Conversation(snapshot_of(closed(connection(), verdict=verdict))))
    assert picture.style == style
    file = StringIO()
    Console(file=file, force_terminal=True, color_system="standard", width=80).print(picture)
    code = {"green": 32, "yellow": 33, "red": 31}[style]
    assert file.getvalue().startswith(f"\x1b[{code}m╭─")


HOSTILE = "[red]a[/red]\x1b[31m\x1b]0;title\x07\r\n\u202e:smile: \ud800 https://x"


def test_the_text_of_a_client_is_text() -> None:
    root = begin(
        "subscription",
        {
            _semconv.CONNECTION_ID: ID,
            _semconv.OPERATION_ID: HOSTILE,
            _semconv.OPERATION_NAME: HOSTILE,
        },
    )
    root.add_event(_semconv.EVENT_GRAPHQL_ERROR, {_semconv.ERROR_MESSAGE: HOSTILE}, BEGIN)
    own = {_semconv.USER_AGENT: HOSTILE, _semconv.HTTP_ROUTE: HOSTILE, HOSTILE: HOSTILE}
    span = connection(ID, own)
    span.add_event(_semconv.EVENT_WEBSOCKET_CLOSE, {_semconv.CLOSE_REASON: HOSTILE}, BEGIN)
    conversation = Conversation(
        snapshot_of(closed(span)), [Operation(snapshot_of(completed(root)))]
    )
    file = StringIO()
    console = Console(file=file, width=100, color_system=None)
    console.print(Picture(conversation))
    console.print(OperationLine(conversation.operations[0]))
    drawn = file.getvalue()
    assert all(line.isprintable() for line in drawn.splitlines())
    assert "[red]a[/red]?[31m" in drawn
    assert ":smile:" in drawn


class TestOneLineForAnOperationOverHTTP:
    def test_it_has_the_time_the_name_and_the_duration(self) -> None:
        span = begin("query", {_semconv.OPERATION_NAME: "Quote"})
        drawn = plain(OperationLine(Operation(snapshot_of(ended(span, 12)))))
        assert drawn == f"{clock(BEGIN + 12 * MS)} ✓ query Quote  12 ms\n"

    def test_the_last_segment_of_a_subscription_has_the_duration_of_all(self) -> None:
        last = continued(begin("subscription"), 300_000)
        whole = {_semconv.DURATION: 420.5}
        drawn = plain(OperationLine(Operation(snapshot_of(ended(last, 420_500, whole)))))
        assert drawn.endswith("✓ subscription  7 m 0 s\n")
        only = ended(begin("subscription"), 12, {_semconv.DURATION: 0.0123})
        assert plain(OperationLine(Operation(snapshot_of(only)))).endswith("  12 ms\n")
        odd = ended(continued(begin("subscription"), 1), 13, {_semconv.DURATION: "long"})
        assert plain(OperationLine(Operation(snapshot_of(odd)))).endswith("  12 ms\n")

    def test_a_name_that_the_span_has_is_not_written_twice(self) -> None:
        span = begin("query Quote", {_semconv.OPERATION_NAME: "Quote"})
        drawn = plain(OperationLine(Operation(snapshot_of(ended(span, 12)))))
        assert drawn.endswith("✓ query Quote  12 ms\n")

    def test_a_failed_one_has_the_error(self) -> None:
        span = begin("mutation")
        span.set_status(StatusCode.ERROR)
        span.add_event(_semconv.EVENT_GRAPHQL_ERROR, {}, BEGIN)
        span.add_event(_semconv.EVENT_GRAPHQL_ERROR, {_semconv.ERROR_MESSAGE: "no"}, BEGIN)
        error = {_semconv.ERROR_TYPE: "app.errors.NoStock"}
        drawn = plain(OperationLine(Operation(snapshot_of(ended(span, 12, error)))))
        assert drawn == f"{clock(BEGIN + 12 * MS)} ✗ mutation  12 ms  NoStock  no\n"

    def test_it_is_one_line_however_narrow_the_terminal(self) -> None:
        span = begin("query", {_semconv.OPERATION_NAME: "Q" * 300})
        drawn = plain(OperationLine(Operation(snapshot_of(ended(span, 12)))), 40)
        assert (len(drawn.splitlines()), len(drawn.rstrip("\n"))) == (1, 40)

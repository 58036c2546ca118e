"""The verdict over a close is a table over facts, row by row and whole."""

import asyncio
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from aiohttp import WebSocketError, web
from hypothesis import given
from hypothesis import strategies as st

from strawberry_ws_otel._close import (
    FAULTS,
    NAMED_CODES,
    CloseCode,
    CloseFrame,
    Facts,
    Fault,
    HandlerEnd,
    Initiator,
    Outcome,
    Verdict,
    outcomes_of,
    server_failure,
    verdict,
)
from tests.support.strategies import PROPERTY, any_text

# --- The facts of one row --------------------------------------------------------------------


def known(**facts: Any) -> Facts:
    """What is known, with what the edge knows of the handler's end among it."""
    end = {name: facts.pop(name) for name in HandlerEnd._fields if name in facts}
    return Facts(**facts, end=HandlerEnd(**end))


def upgraded(**facts: Any) -> Facts:
    return known(upgraded=True, **facts)


def from_client(code: int, answer: int | None = None, **others: Any) -> Facts:
    """The client closes first; the server answers, or is not asked to."""
    facts = upgraded(**others)
    facts.frame_received(CloseFrame(code))
    if answer is not None:
        facts.frame_sent(CloseFrame(answer))
    return facts


def from_server(code: int, echo: int | None = None, **others: Any) -> Facts:
    """The server closes first; the client echoes, or does not."""
    facts = upgraded(**others)
    facts.frame_sent(CloseFrame(code))
    if echo is not None:
        facts.frame_received(CloseFrame(echo))
    return facts


# --- The table -------------------------------------------------------------------------------

ORDINARY_OUTCOMES: Final = frozenset({Outcome.NORMAL, Outcome.SERVER_SHUTDOWN})
TABLE_OF_FAULTS: Final = {
    Outcome.NORMAL: Fault.NONE,
    Outcome.SERVER_SHUTDOWN: Fault.NONE,
    Outcome.CONNECTION_LOST: Fault.NETWORK,
    Outcome.HEARTBEAT_TIMEOUT: Fault.NETWORK,
    Outcome.INVALID_FRAME: Fault.CLIENT,
    Outcome.INVALID_MESSAGE: Fault.CLIENT,
    Outcome.INIT_TIMEOUT: Fault.CLIENT,
    Outcome.UNAUTHORIZED: Fault.CLIENT,
    Outcome.FORBIDDEN: Fault.CLIENT,
    Outcome.SUBPROTOCOL_REJECTED: Fault.CLIENT,
    Outcome.DUPLICATE_OPERATION: Fault.CLIENT,
    Outcome.DUPLICATE_INIT: Fault.CLIENT,
    Outcome.HANDSHAKE_REJECTED: Fault.CLIENT,
    Outcome.CLIENT_TERMINATED: Fault.CLIENT,
    Outcome.CLIENT_ERROR: Fault.UNKNOWN,
    Outcome.SERVER_ERROR: Fault.SERVER,
    Outcome.APPLICATION_CODE: Fault.UNKNOWN,
    Outcome.OTHER: Fault.UNKNOWN,
}

CLIENT, SERVER, NOBODY = Initiator.CLIENT, Initiator.SERVER, Initiator.NONE
RESET = ConnectionResetError("reset by peer")
BAD_FRAME = WebSocketError(1002, "reserved bits")
BAD_DATA = zlib.error("invalid block type")
FOREIGN_ORIGIN = web.HTTPForbidden()


@dataclass(frozen=True)
class Row:
    """What happened, and the verdict over it."""

    title: str
    facts: Facts
    outcome: Outcome
    initiator: Initiator
    code: int | None
    clean: bool = False
    error_type: str | None = None
    """Of the exception that decided the close; else the outcome, if it is abnormal."""

    def __str__(self) -> str:
        return self.title

    @property
    def verdict(self) -> Verdict:
        ordinary = self.outcome in ORDINARY_OUTCOMES
        return Verdict(
            outcome=self.outcome,
            fault=TABLE_OF_FAULTS[self.outcome],
            initiator=self.initiator,
            clean=self.clean,
            code=self.code,
            reason="",
            error_type=None if ordinary else self.error_type or self.outcome.value,
        )


def client_closes(outcome: Outcome, *codes: int) -> list[Row]:
    return [
        Row(f"the client sends {code}", from_client(code, 1000), outcome, CLIENT, code, clean=True)
        for code in codes
    ]


def server_closes(outcome: Outcome, *codes: int, **others: Any) -> list[Row]:
    title = ", ".join(["the server sends {code}", *others])
    return [
        row
        for code in codes
        for row in (
            Row(
                f"{title.format(code=code)}, echoed",
                from_server(code, code, **others),
                outcome,
                SERVER,
                code,
                clean=True,
            ),
            Row(title.format(code=code), from_server(code, **others), outcome, SERVER, code),
        )
    ]


def without_frame(title: str, outcome: Outcome, error_type: str | None = None, **facts: Any) -> Row:
    return Row(title, upgraded(**facts), outcome, NOBODY, 1006, error_type=error_type)


def without_upgrade(
    title: str, outcome: Outcome, error_type: str | None = None, **facts: Any
) -> Row:
    return Row(title, known(**facts), outcome, NOBODY, None, error_type=error_type)


def answered(title: str, error: BaseException, code: int, error_type: str) -> Row:
    """An ERROR frame, after which a close frame was written."""
    return Row(
        title,
        from_server(code, frame_error=error),
        Outcome.INVALID_FRAME,
        SERVER,
        code,
        error_type=error_type,
    )


ROWS = [
    # normal
    *client_closes(Outcome.NORMAL, 1000, 1001, 1005),
    *server_closes(Outcome.NORMAL, 1000),
    # server_shutdown
    *server_closes(Outcome.SERVER_SHUTDOWN, 1001, 1012),
    *(
        without_frame(
            f"{type(error).__name__}, the transport is up", Outcome.SERVER_SHUTDOWN, exception=error
        )
        for error in (asyncio.CancelledError(), GeneratorExit(), KeyboardInterrupt(), SystemExit())
    ),
    without_upgrade(
        "cancelled before the upgrade", Outcome.SERVER_SHUTDOWN, exception=asyncio.CancelledError()
    ),
    # connection_lost
    without_frame("FIN or RST", Outcome.CONNECTION_LOST, lost=True),
    without_frame("nothing is known", Outcome.CONNECTION_LOST),
    without_frame(
        "an ERROR frame with a lost connection",
        Outcome.CONNECTION_LOST,
        "ConnectionResetError",
        frame_error=RESET,
    ),
    without_frame(
        "an ERROR frame with a lost connection, then the end",
        Outcome.CONNECTION_LOST,
        "ConnectionResetError",
        frame_error=RESET,
        lost=True,
    ),
    without_frame(
        "cancelled because the transport went",
        Outcome.CONNECTION_LOST,
        exception=asyncio.CancelledError(),
        transport_alive=False,
    ),
    without_frame(
        "the view cannot send: the transport went",
        Outcome.CONNECTION_LOST,
        "ConnectionResetError",
        exception=RESET,
        transport_alive=False,
    ),
    without_frame(
        "an exception leaves the view after the end of the stream",
        Outcome.CONNECTION_LOST,
        exception=ValueError(),
        lost=True,
    ),
    without_upgrade(
        "the client leaves before the upgrade",
        Outcome.CONNECTION_LOST,
        "ConnectionResetError",
        exception=RESET,
        transport_alive=False,
    ),
    # heartbeat_timeout
    without_frame("no PONG", Outcome.HEARTBEAT_TIMEOUT, "TimeoutError", frame_error=TimeoutError()),
    without_frame(
        "no route", Outcome.CONNECTION_LOST, "OSError", frame_error=OSError(113, "No route to host")
    ),
    without_frame(
        "a status, though upgraded",
        Outcome.SERVER_ERROR,
        "KeyError",
        status=403,
        exception=KeyError(),
    ),
    without_upgrade(
        "the transport is gone before the upgrade",
        Outcome.CONNECTION_LOST,
        "AttributeError",
        exception=AttributeError(),
        transport_alive=False,
    ),
    without_frame(
        "no PONG, then the end",
        Outcome.HEARTBEAT_TIMEOUT,
        "TimeoutError",
        frame_error=TimeoutError(),
        lost=True,
    ),
    without_frame(
        "no PONG, then cancelled",
        Outcome.HEARTBEAT_TIMEOUT,
        "TimeoutError",
        frame_error=TimeoutError(),
        exception=asyncio.CancelledError(),
        transport_alive=False,
    ),
    # invalid_frame
    *(
        answered(
            f"a bad frame, answered {code}",
            WebSocketError(code, ""),
            code,
            "aiohttp._websocket.models.WebSocketError",
        )
        for code in (1002, 1003, 1007, 1009)
    ),
    answered("undecodable compressed data, answered 1000", BAD_DATA, 1000, "zlib.error"),
    answered("an exception of aiohttp's own, answered 1011", ValueError(), 1011, "ValueError"),
    answered("a timeout that was answered", TimeoutError(), 1011, "TimeoutError"),
    without_frame(
        "a bad frame, no answer",
        Outcome.INVALID_FRAME,
        "aiohttp._websocket.models.WebSocketError",
        frame_error=BAD_FRAME,
    ),
    *server_closes(Outcome.INVALID_FRAME, 1002),
    # invalid_message
    *server_closes(Outcome.INVALID_MESSAGE, 4400),
    *server_closes(Outcome.INVALID_MESSAGE, 1000, is_refused=True),
    without_frame(
        "a malformed message makes the view raise",
        Outcome.INVALID_MESSAGE,
        "TypeError",
        exception=TypeError(),
        is_malformed=True,
    ),
    # init_timeout, unauthorized, forbidden, subprotocol_rejected, duplicate_*
    *server_closes(Outcome.INIT_TIMEOUT, 4408),
    *server_closes(Outcome.UNAUTHORIZED, 4401),
    *server_closes(Outcome.FORBIDDEN, 4403),
    *server_closes(Outcome.FORBIDDEN, 1011, is_refused=True),
    *server_closes(Outcome.FORBIDDEN, 4403, is_refused=True),
    *server_closes(Outcome.SUBPROTOCOL_REJECTED, 4406),
    *server_closes(Outcome.DUPLICATE_OPERATION, 4409),
    *server_closes(Outcome.DUPLICATE_INIT, 4429),
    # handshake_rejected
    *(
        without_upgrade(f"refused with {status}", Outcome.HANDSHAKE_REJECTED, status=status)
        for status in (400, 403, 404, 426, 499)
    ),
    without_upgrade(
        "refused with an HTTP error",
        Outcome.HANDSHAKE_REJECTED,
        "aiohttp.web_exceptions.HTTPForbidden",
        status=403,
        exception=FOREIGN_ORIGIN,
    ),
    without_upgrade(
        "a malformed handshake makes the view raise",
        Outcome.HANDSHAKE_REJECTED,
        "ValueError",
        exception=ValueError(),
        is_malformed=True,
        status=500,
    ),
    # client_terminated, client_error
    *client_closes(Outcome.CLIENT_TERMINATED, 4499, 4005, 1011),
    *client_closes(Outcome.CLIENT_ERROR, 1002, 1003, 1007, 1009, 1010, 4004, 4504),
    # server_error
    without_frame(
        "the host closes with what no frame can hold",
        Outcome.SERVER_ERROR,
        "struct.error",
        dropped=struct.error(),
    ),
    without_frame(
        "the host closes with what no frame can hold, and fails",
        Outcome.SERVER_ERROR,
        "TypeError",
        dropped=TypeError(),
        exception=KeyError(),
        transport_alive=False,
    ),
    Row(
        "the client closes, and the host answers with what no frame can hold",
        from_client(1000, dropped=TypeError()),
        Outcome.NORMAL,
        CLIENT,
        1000,
    ),
    *server_closes(Outcome.SERVER_ERROR, 1011, 4500),
    *server_closes(Outcome.SERVER_ERROR, 4500, is_refused=True),
    without_frame(
        "an exception leaves the view", Outcome.SERVER_ERROR, "KeyError", exception=KeyError()
    ),
    without_frame(
        "something that the view awaited was cancelled",
        Outcome.SERVER_ERROR,
        "asyncio.exceptions.CancelledError",
        exception=asyncio.CancelledError(),
        is_cancelled=False,
    ),
    without_frame(
        "a connection of the application's own is lost",
        Outcome.SERVER_ERROR,
        "ConnectionResetError",
        exception=RESET,
    ),
    without_frame(
        "an exception leaves the view as the transport goes",
        Outcome.SERVER_ERROR,
        "KeyError",
        exception=KeyError(),
        transport_alive=False,
    ),
    without_upgrade("refused with 500", Outcome.SERVER_ERROR, status=500),
    without_upgrade("refused with 503", Outcome.SERVER_ERROR, status=503),
    without_upgrade(
        "an exception before the upgrade",
        Outcome.SERVER_ERROR,
        "KeyError",
        exception=KeyError(),
        status=500,
    ),
    # application_code
    *client_closes(Outcome.APPLICATION_CODE, 3000, 3999, 4000, 4100, 4400, 4403, 4500, 4999),
    *server_closes(Outcome.APPLICATION_CODE, 3000, 3999, 4000, 4004, 4005, 4499, 4504, 4999),
    # other
    *client_closes(Outcome.OTHER, 0, 999, 1004, 1006, 1008, 1012, 1013, 1014, 1015, 2999, 5000),
    *server_closes(Outcome.OTHER, 0, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1013, 2999, 5000),
    without_upgrade("no upgrade and no status", Outcome.OTHER),
    without_upgrade("no upgrade but a page", Outcome.OTHER, status=200),
    without_upgrade("no upgrade but a redirection", Outcome.OTHER, status=302),
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_verdict_is_that_of_the_table(row: Row) -> None:
    assert verdict(row.facts) == row.verdict


def test_the_table_has_a_row_for_every_outcome_and_no_title_twice() -> None:
    assert {row.outcome for row in ROWS} == set(Outcome)
    assert len(set(map(str, ROWS))) == len(ROWS)


def test_every_outcome_has_its_fault() -> None:
    assert FAULTS == TABLE_OF_FAULTS


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_an_ordinary_outcome_is_nobodys_fault_and_else_the_same(row: Row) -> None:
    judged = verdict(row.facts, {row.outcome})
    assert judged == row.verdict._replace(fault=Fault.NONE, error_type=None)
    assert not judged.abnormal


@pytest.mark.parametrize("row", [row for row in ROWS if row.code is not None], ids=str)
def test_an_ordinary_code_is_nobodys_fault_and_else_the_same(row: Row) -> None:
    ordinary: set[str | int] = set() if row.code is None else {row.code}
    assert verdict(row.facts, ordinary) == row.verdict._replace(fault=Fault.NONE, error_type=None)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_other_outcomes_and_codes_being_ordinary_changes_nothing(row: Row) -> None:
    ordinary = {*Outcome, *range(1000, 5000)} - {row.outcome, row.code}
    assert verdict(row.facts, {item for item in ordinary if item is not None}) == row.verdict


def test_an_outcome_may_be_declared_ordinary_by_its_name() -> None:
    assert verdict(upgraded(lost=True), {"connection_lost"}).fault is Fault.NONE


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_what_is_abnormal_has_a_fault_and_a_class(row: Row) -> None:
    judged = verdict(row.facts)
    assert judged.abnormal == (judged.fault is not Fault.NONE) == (judged.error_type is not None)


# --- Codes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", CloseCode)
def test_metrics_carry_a_named_code(code: CloseCode) -> None:
    assert verdict(from_client(code)).named_code == code.value


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1016, 2999, 3000, 4100, 4999, 5000, 65535])
def test_metrics_carry_no_code_without_a_name_and_the_outcome_says_whose_it_is(code: int) -> None:
    judged = verdict(from_client(code))
    application = 3000 <= code < 5000
    assert judged.named_code is None
    assert judged.outcome == (Outcome.APPLICATION_CODE if application else Outcome.OTHER)


def test_without_an_upgrade_metrics_carry_no_code() -> None:
    assert verdict(known(status=403)).named_code is None


def test_the_codes_that_metrics_carry_are_few() -> None:
    assert frozenset(CloseCode) == NAMED_CODES
    assert len(NAMED_CODES) < 40


@pytest.mark.parametrize(
    ("code", "outcomes"),
    [
        (1000, {Outcome.NORMAL, Outcome.INVALID_MESSAGE}),
        (1011, {Outcome.SERVER_ERROR, Outcome.FORBIDDEN, Outcome.CLIENT_TERMINATED}),
        (4100, {Outcome.APPLICATION_CODE}),
        (4400, {Outcome.INVALID_MESSAGE, Outcome.APPLICATION_CODE}),
        (1006, {Outcome.CONNECTION_LOST, Outcome.HEARTBEAT_TIMEOUT, Outcome.SERVER_ERROR}),
        (1008, {Outcome.OTHER}),
    ],
)
def test_a_code_can_have_the_outcomes_of_either_side(code: int, outcomes: set[Outcome]) -> None:
    assert outcomes <= outcomes_of(code)


# --- Frames ----------------------------------------------------------------------------------


def test_the_first_frame_of_each_side_counts() -> None:
    facts = upgraded()
    for frame in (CloseFrame(1000, "a"), CloseFrame(1011, "b")):
        facts.frame_received(frame)
        facts.frame_sent(frame)
    assert (facts.received, facts.sent) == (CloseFrame(1000, "a"), CloseFrame(1000, "a"))


@pytest.mark.parametrize("error", [None, TimeoutError(), ConnectionResetError()])
def test_of_a_close_that_nobody_saw_nothing_is_known(error: Exception | None) -> None:
    facts = upgraded()
    facts.unobserved(error)
    assert verdict(facts) == Verdict(
        outcome=Outcome.OTHER,
        fault=Fault.UNKNOWN,
        initiator=Initiator.UNKNOWN,
        clean=False,
        code=None,
        reason="",
        error_type="other" if error is None else type(error).__name__,
    )


def test_a_close_that_nobody_saw_changes_nothing_where_a_close_frame_is_known() -> None:
    facts = from_server(4401)
    before = verdict(facts)
    facts.unobserved(TimeoutError())
    assert verdict(facts) == before


@pytest.mark.parametrize(
    ("facts", "initiator"),
    [(from_client(4999, 1000), CLIENT), (from_server(1000, 4999), SERVER), (upgraded(), NOBODY)],
)
def test_the_initiator_is_whose_frame_came_first(facts: Facts, initiator: Initiator) -> None:
    assert verdict(facts).initiator is initiator


def test_the_reason_is_that_of_the_first_frame() -> None:
    facts = upgraded()
    facts.frame_sent(CloseFrame(4400, "first"))
    facts.frame_received(CloseFrame(1000, "second"))
    assert verdict(facts).reason == "first"


def test_a_reason_is_kept_no_longer_than_a_frame_can_hold() -> None:
    facts = Facts()
    facts.frame_sent(CloseFrame(4400, "x" * 1000))
    facts.frame_received(CloseFrame(4400, "\u00e4" * 1000))
    assert facts.sent == CloseFrame(4400, "x" * 123)
    assert facts.received == CloseFrame(4400, "\u00e4" * 61)


def test_an_exception_is_the_servers_failure_only_if_it_ended_the_connection() -> None:
    error, dropped = KeyError("user"), ValueError("too long a reason")
    assert server_failure(upgraded(exception=error)) is error
    assert server_failure(upgraded(dropped=dropped, exception=error)) is dropped
    assert server_failure(from_server(CloseCode.INTERNAL_ERROR, exception=error)) is None
    assert server_failure(from_client(1000, exception=error)) is None
    assert server_failure(upgraded(exception=error, is_malformed=True)) is None
    assert server_failure(upgraded(exception=asyncio.CancelledError())) is None


def test_a_frame_without_a_reason_has_an_empty_one() -> None:
    assert CloseFrame(1005) == (1005, "")


# --- Any facts -------------------------------------------------------------------------------

EXCEPTIONS: Final[tuple[BaseException, ...]] = (
    asyncio.CancelledError(),
    GeneratorExit(),
    KeyboardInterrupt(),
    SystemExit(),
    TimeoutError(),
    RESET,
    BrokenPipeError(),
    OSError(),
    BAD_FRAME,
    BAD_DATA,
    FOREIGN_ORIGIN,
    ValueError(),
    RecursionError(),
    MemoryError(),
)
CANCELLATIONS: Final = (
    asyncio.CancelledError,
    GeneratorExit,
    KeyboardInterrupt,
    SystemExit,
)

codes = st.sampled_from(list(CloseCode)) | st.integers(-1, 70_000)
exceptions = st.none() | st.sampled_from(EXCEPTIONS)
frames = st.builds(CloseFrame, codes, any_text)
notes: st.SearchStrategy[list[tuple[Callable[..., None], CloseFrame]]] = st.lists(
    st.tuples(st.sampled_from([Facts.frame_sent, Facts.frame_received]), frames), max_size=3
)
others = st.builds(
    known,
    upgraded=st.booleans(),
    status=st.none() | st.integers(0, 1000),
    frame_error=exceptions,
    dropped=exceptions,
    lost=st.booleans(),
    exception=exceptions,
    is_malformed=st.booleans(),
    is_cancelled=st.booleans(),
    transport_alive=st.none() | st.booleans(),
    is_refused=st.booleans(),
)


@st.composite
def any_facts(draw: st.DrawFn) -> Facts:
    """Facts as the edges gather them: frames in any order, everything else in any combination."""
    facts = draw(others)
    for note, frame in draw(notes):
        note(facts, frame)
    return facts


ordinary_sets = st.frozensets(st.sampled_from(list(Outcome)) | codes, max_size=5)


@PROPERTY
@given(facts=any_facts(), ordinary=ordinary_sets)
def test_any_facts_have_a_verdict_that_agrees_with_itself(
    facts: Facts, ordinary: frozenset[str | int]
) -> None:
    judged = verdict(facts, ordinary)
    declared = judged.outcome in ordinary or judged.code in ordinary
    assert judged.fault is (Fault.NONE if declared else FAULTS[judged.outcome])
    assert judged.abnormal == (judged.error_type is not None)
    assert judged.clean == (facts.sent is not None and facts.received is not None)
    assert (judged.initiator is NOBODY) == (facts.sent is facts.received is None)


@PROPERTY
@given(facts=any_facts())
def test_any_facts_have_the_code_and_reason_of_the_first_frame(facts: Facts) -> None:
    judged = verdict(facts)
    first = {CLIENT: facts.received, SERVER: facts.sent, NOBODY: None}[facts.initiator]
    nothing = CloseFrame(1006) if facts.upgraded else (None, "")
    assert (judged.code, judged.reason) == (first or nothing)


@PROPERTY
@given(facts=any_facts())
def test_the_outcome_is_one_of_those_that_its_code_can_have(facts: Facts) -> None:
    judged = verdict(facts)
    assert judged.code is None or judged.outcome in outcomes_of(judged.code)


@PROPERTY
@given(facts=any_facts())
def test_metrics_carry_a_named_code_or_none(facts: Facts) -> None:
    assert verdict(facts).named_code in {None, *CloseCode}


def has_a_cause_in_the_server(facts: Facts) -> bool:
    """Whether anything that happened can only be the server's own doing."""
    end = facts.end
    cancelled = end.is_cancelled and isinstance(end.exception, CANCELLATIONS)
    raised = end.exception is not None and not cancelled
    closed = facts.sent is not None and facts.sent.code in {1011, 4500}
    failed = facts.dropped is not None or (raised and not end.is_malformed)
    return closed or failed or (facts.status or 0) // 100 == 5


@PROPERTY
@given(facts=any_facts())
def test_nobody_is_paged_for_what_the_server_did_not_cause(facts: Facts) -> None:
    if verdict(facts).outcome is Outcome.SERVER_ERROR:
        assert has_a_cause_in_the_server(facts)


@PROPERTY
@given(facts=any_facts())
def test_a_close_frame_of_the_client_never_is_the_servers_fault(facts: Facts) -> None:
    if facts.initiator is CLIENT:
        assert verdict(facts).fault is not Fault.SERVER


@PROPERTY
@given(facts=any_facts(), frame=frames)
def test_what_comes_after_the_first_frame_does_not_change_the_outcome(
    facts: Facts, frame: CloseFrame
) -> None:
    if facts.initiator is NOBODY:
        return
    before = verdict(facts)
    facts.frame_sent(frame)
    facts.frame_received(frame)
    assert verdict(facts) == before._replace(clean=True)


def test_what_facts_keep_of_exceptions_is_let_go_and_the_rest_stays() -> None:
    error = ValueError()
    facts = upgraded(exception=error, frame_error=error, dropped=error, lost=True)
    facts.forget()
    assert facts == upgraded(lost=True)

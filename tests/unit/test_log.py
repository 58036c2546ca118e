"""A bounded number of records of abnormal closes, and none of what is ordinary or a scanner's."""

import logging
import threading
from typing import Any, Final

import pytest

from strawberry_ws_otel._close import FAULTS, Fault, Initiator, Outcome, Verdict
from strawberry_ws_otel._log import CloseLog
from tests.support.clock import Clock
from tests.support.log import LogKeeper

ID = "688ab1507049031d"
A_MINUTE: Final = 10
"""Records of one outcome in a minute."""


def judged(outcome: Outcome, **others: Any) -> Verdict:
    fields = {
        "outcome": outcome,
        "fault": FAULTS[outcome],
        "initiator": Initiator.SERVER,
        "clean": True,
        "code": 4400,
        "reason": "",
        "error_type": None,
    }
    return Verdict(**{**fields, **others})


SILENT = [Outcome.NORMAL, Outcome.SERVER_SHUTDOWN, Outcome.HANDSHAKE_REJECTED]
LEVELS = {
    Fault.CLIENT: logging.WARNING,
    Fault.NETWORK: logging.WARNING,
    Fault.UNKNOWN: logging.WARNING,
    Fault.SERVER: logging.ERROR,
}


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome not in SILENT])
def test_an_abnormal_close_is_logged_once_at_the_level_of_its_fault(
    outcome: Outcome, library_log: LogKeeper
) -> None:
    CloseLog().closed(ID, judged(outcome), {})
    (record,) = library_log.records
    assert (record.name, record.levelno) == ("strawberry_ws_otel", LEVELS[FAULTS[outcome]])
    assert record.getMessage() == (
        f"GraphQL WebSocket {ID} closed abnormally: {outcome.value}"
        f" (code 4400, fault {FAULTS[outcome].value}, initiator server)"
    )


@pytest.mark.parametrize("outcome", SILENT)
def test_an_ordinary_close_and_a_refused_handshake_are_not_logged(outcome: Outcome) -> None:
    assert CloseLog().admit(judged(outcome)) is None


@pytest.mark.parametrize("outcome", Outcome)
def test_what_the_operator_declared_ordinary_is_not_logged(outcome: Outcome) -> None:
    assert CloseLog().admit(judged(outcome, fault=Fault.NONE)) is None


def test_attributes_are_extras_of_the_record_and_those_without_a_value_are_left_out(
    library_log: LogKeeper,
) -> None:
    CloseLog().closed(
        ID,
        judged(Outcome.CONNECTION_LOST),
        {
            "websocket.close.clean": False,
            "websocket.close.code": 1006,
            "websocket.close.reason": None,
        },
    )
    extras = {key: value for key, value in vars(library_log.records[0]).items() if "." in key}
    assert extras == {
        "websocket.connection.id": ID,
        "websocket.close.clean": False,
        "websocket.close.code": 1006,
    }


def test_an_attribute_of_a_name_that_every_record_has_is_left_out(library_log: LogKeeper) -> None:
    attributes: dict[str, Any] = {
        "name": "x",
        "process": 5,
        "message": "x",
        "asctime": "x",
        "tenant": "acme",
    }
    CloseLog().closed(ID, judged(Outcome.CONNECTION_LOST), attributes)
    (record,) = library_log.records
    assert vars(record)["tenant"] == "acme"
    assert record.name == "strawberry_ws_otel"
    assert record.process != 5
    assert record.getMessage().startswith(f"GraphQL WebSocket {ID} closed abnormally: ")


def test_a_record_factory_of_the_application_gets_the_level(library_log: LogKeeper) -> None:
    factory = logging.getLogRecordFactory()

    def loud(name: str, level: int, *arguments: Any, **keywords: Any) -> logging.LogRecord:
        record = factory(name, level, *arguments, **keywords)
        record.loud = level >= logging.ERROR
        return record

    logging.setLogRecordFactory(loud)
    try:
        CloseLog().closed(ID, judged(Outcome.SERVER_ERROR), {"loud": "x", "tenant": "acme"})
    finally:
        logging.setLogRecordFactory(factory)
    (record,) = library_log.records
    assert (vars(record)["loud"], vars(record)["tenant"]) == (True, "acme")


def test_a_close_without_a_frame_says_so(library_log: LogKeeper) -> None:
    CloseLog().closed(ID, judged(Outcome.CONNECTION_LOST, code=1006, initiator=Initiator.NONE), {})
    assert (
        library_log.records[0].getMessage().endswith("(code 1006, fault network, initiator none)")
    )


def test_the_exception_that_ended_the_connection_is_named(library_log: LogKeeper) -> None:
    CloseLog().closed(ID, judged(Outcome.SERVER_ERROR, code=1006), {}, "ValueError: no database")
    said = library_log.records[0].getMessage()
    assert said.endswith("(code 1006, fault server, initiator server): ValueError: no database")


# --- A flood ---------------------------------------------------------------------------------


def close(log: CloseLog, outcome: Outcome, times: int) -> None:
    for number in range(times):
        if (left_out := log.admit(judged(outcome))) is not None:
            log.closed(f"{number:016x}", judged(outcome), {}, left_out=left_out)


def left_out(record: logging.LogRecord) -> int | None:
    found: int | None = vars(record).get("websocket.close.left_out")
    return found


def test_a_flood_of_closes_is_ten_records_a_minute(clock: Clock, library_log: LogKeeper) -> None:
    log = CloseLog()
    for _ in range(60):
        close(log, Outcome.INVALID_MESSAGE, 1000)
        clock.passes(1.0)
    assert len(library_log.records) == A_MINUTE
    assert [left_out(record) for record in library_log.records] == [None] * A_MINUTE


def test_the_first_record_after_a_flood_says_how_many_were_left_out(
    clock: Clock, library_log: LogKeeper
) -> None:
    log = CloseLog()
    close(log, Outcome.INVALID_MESSAGE, 10_000)
    clock.passes(60.0)
    close(log, Outcome.INVALID_MESSAGE, 2)
    _, first, second = library_log.records[-3:]
    assert (left_out(first), left_out(second)) == (9_990, None)
    assert first.getMessage() == (
        f"GraphQL WebSocket {0:016x} closed abnormally: invalid_message (code 4400, fault client,"
        " initiator server); 9990 more of this outcome were not logged"
    )
    assert second.getMessage().endswith("initiator server)")


def test_a_minute_begins_with_its_first_close(clock: Clock, library_log: LogKeeper) -> None:
    log = CloseLog()
    close(log, Outcome.OTHER, A_MINUTE)
    clock.passes(59.9)
    close(log, Outcome.OTHER, 5)
    assert len(library_log.records) == A_MINUTE
    clock.passes(0.1)
    close(log, Outcome.OTHER, 2 * A_MINUTE)
    assert len(library_log.records) == 2 * A_MINUTE


def test_no_flood_of_one_outcome_hides_another(clock: Clock, library_log: LogKeeper) -> None:
    log = CloseLog()
    abnormal = [outcome for outcome in Outcome if outcome not in SILENT]
    for outcome in abnormal:
        close(log, outcome, 1000)
    assert len(library_log.records) == A_MINUTE * len(abnormal)
    errors = [record for record in library_log.records if record.levelno == logging.ERROR]
    assert len(errors) == A_MINUTE


def test_what_was_left_out_is_reported_once_however_late(
    clock: Clock, library_log: LogKeeper
) -> None:
    log = CloseLog()
    close(log, Outcome.OTHER, A_MINUTE + 3)
    clock.passes(86_400.0)
    close(log, Outcome.OTHER, 1)
    clock.passes(86_400.0)
    close(log, Outcome.OTHER, 1)
    assert [left_out(record) for record in library_log.records[A_MINUTE:]] == [3, None]


def test_view_classes_have_their_own_bounds(clock: Clock, library_log: LogKeeper) -> None:
    close(CloseLog(), Outcome.OTHER, A_MINUTE + 1)
    close(CloseLog(), Outcome.OTHER, A_MINUTE + 1)
    assert len(library_log.records) == 2 * A_MINUTE


def test_loops_in_several_threads_share_the_bound(clock: Clock, library_log: LogKeeper) -> None:
    log = CloseLog()
    threads = [
        threading.Thread(target=close, args=(log, Outcome.OTHER, 1000), daemon=True)
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(library_log.records) == A_MINUTE
    clock.passes(60.0)
    close(log, Outcome.OTHER, 1)
    assert left_out(library_log.records[-1]) == 4 * 1000 - A_MINUTE

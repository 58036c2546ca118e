"""One record for each abnormal close, and none for what is ordinary or a scanner's doing."""

import logging
from typing import Any

import pytest

from strawberry_ws_otel._close import FAULTS, Fault, Initiator, Outcome, Verdict
from strawberry_ws_otel._log import log_close
from tests.conftest import LogKeeper

ID = "688ab1507049031d"


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
    log_close(ID, judged(outcome), {})
    (record,) = library_log.records
    assert (record.name, record.levelno) == ("strawberry_ws_otel", LEVELS[FAULTS[outcome]])
    assert record.getMessage() == (
        f"GraphQL WebSocket {ID} closed abnormally: {outcome.value}"
        f" (code 4400, fault {FAULTS[outcome].value}, initiator server)"
    )


@pytest.mark.parametrize("outcome", SILENT)
def test_an_ordinary_close_and_a_refused_handshake_are_not_logged(
    outcome: Outcome, library_log: LogKeeper
) -> None:
    log_close(ID, judged(outcome), {})
    assert not library_log.records


@pytest.mark.parametrize("outcome", Outcome)
def test_what_the_operator_declared_ordinary_is_not_logged(
    outcome: Outcome, library_log: LogKeeper
) -> None:
    log_close(ID, judged(outcome, fault=Fault.NONE), {})
    assert not library_log.records


def test_attributes_are_extras_of_the_record_and_those_without_a_value_are_left_out(
    library_log: LogKeeper,
) -> None:
    log_close(
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


def test_a_close_without_a_frame_says_so(library_log: LogKeeper) -> None:
    log_close(ID, judged(Outcome.CONNECTION_LOST, code=1006, initiator=Initiator.NONE), {})
    assert (
        library_log.records[0].getMessage().endswith("(code 1006, fault network, initiator none)")
    )

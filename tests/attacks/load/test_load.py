"""Under a small load nothing is lost; and where something is, the report says so."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import Any

import pytest

from strawberry_ws_otel import _semconv as name
from tests.attacks.load.report import Level, Report, Row, levels, remains, rows
from tests.support.file_limit import raise_file_limit

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
LIMIT = 120
"""Seconds within which the small load must end, on a machine that is busy."""

SMALL = "tests.attacks.load --connections 200 --busy 20 --rate 150 --seconds 2"


def test_nothing_is_lost_and_nothing_is_left(tmp_path: Path) -> None:
    file = tmp_path / "load.json"
    ended = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-m", *SMALL.split(), "--json", str(file)],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout
    report = json.loads(file.read_text())
    opened = {each["what"]: each["metrics"] for each in report["rows"]}["connections opened"]
    assert report["passed"] > 0
    assert report["sound"]
    assert opened > 200 + 200 + report["passed"]


# --- What the report makes of numbers --------------------------------------------------------

DID = {
    "failed": Counter[str](),
    "outcomes": Counter(normal=2, connection_lost=1),
    "said": Counter(connection_init=3, subscribe=1),
    "heard": Counter(connection_ack=3, next=5),
    "bytes": Counter(received=90, sent=200),
}
TOLD: dict[str, Any] = {
    "spans": {
        "connections": 3,
        "distinct": 3,
        "inits": 3,
        "outcomes": {"normal": 2, "connection_lost": 1},
        "ends": {"connection_closed": 1},
        "results": 5,
        "received": 4,
        "sent": 8,
        "operations": 1,
    },
    "metrics": {
        name.METRIC_CLOSES: [
            [{name.CLOSE_OUTCOME: "normal"}, 2],
            [{name.CLOSE_OUTCOME: "connection_lost"}, 1],
        ],
        name.METRIC_CONNECTION_DURATION: [[{}, 3]],
        name.METRIC_INIT_DURATION: [[{}, 3]],
        name.METRIC_OPERATION_DURATION: [[{name.END_REASON: "connection_closed"}, 1]],
        name.METRIC_SUBSCRIPTION_EVENTS: [[{}, 5]],
        name.METRIC_MESSAGES: [
            [{name.IO_DIRECTION: direction, name.MESSAGE_TYPE: type_}, count]
            for direction, type_, count in (
                ("receive", "connection_init", 3),
                ("receive", "subscribe", 1),
                ("transmit", "connection_ack", 3),
                ("transmit", "next", 5),
            )
        ],
        name.METRIC_IO: [
            [{name.IO_DIRECTION: "receive"}, 90],
            [{name.IO_DIRECTION: "transmit"}, 200],
        ],
        name.METRIC_ACTIVE_CONNECTIONS: [[{}, 0]],
        name.METRIC_SUBSCRIPTIONS_ACTIVE: [[{}, 0]],
    },
    "internal": [],
}
MEMORY = {"resident": 10_000_000, "blocks": 300_000, "objects": 70_000, "tasks": 1}


def report_of(recorded: dict[str, Any], after: dict[str, int]) -> Report:
    return Report(
        passed=1,
        rows=list(rows(DID, recorded)),
        remains=remains(DID, recorded),
        levels=levels(MEMORY, 20_000_000, after),
    )


def unsound(report: Report) -> list[str]:
    return [
        *(row.what for row in report.rows if not row.sound),
        *(what for what, count in report.remains.items() if count),
        *(level.what for level in report.levels if not level.sound),
    ]


def test_a_report_is_sound_where_all_say_the_same() -> None:
    report = report_of(TOLD, MEMORY)
    assert (unsound(report), report.sound) == ([], True)


@pytest.mark.parametrize(
    ("side", "key", "value", "lost"),
    [
        ("spans", "connections", 2, ["connections opened"]),
        ("spans", "distinct", 2, ["connections with an id of their own"]),
        ("spans", "sent", 7, ["messages sent"]),
        ("spans", "ends", {}, ["operations ended: connection_closed", "operations ended"]),
        (
            "metrics",
            name.METRIC_CLOSES,
            [[{name.CLOSE_OUTCOME: "normal"}, 3]],
            ["closed: normal", "closed: connection_lost"],
        ),
        ("metrics", name.METRIC_CONNECTION_DURATION, [], ["connections with a duration"]),
        ("metrics", name.METRIC_ACTIVE_CONNECTIONS, [[{}, 1]], ["connections open"]),
        ("metrics", name.METRIC_SUBSCRIPTIONS_ACTIVE, [[{}, 1]], ["subscriptions alive"]),
    ],
)
def test_a_report_names_what_is_lost(side: str, key: str, value: object, lost: list[str]) -> None:
    report = report_of(TOLD | {side: TOLD[side] | {key: value}}, MEMORY)
    assert (unsound(report), report.sound) == (lost, False)


@pytest.mark.parametrize(
    ("key", "more", "left"),
    [
        ("resident", 5_000_001, ["resident bytes"]),
        ("blocks", 1_001, ["allocated blocks"]),
        ("objects", 1_001, ["objects"]),
        ("tasks", 1, ["tasks"]),
    ],
)
def test_a_report_names_what_is_left(key: str, more: int, left: list[str]) -> None:
    report = report_of(TOLD, MEMORY | {key: MEMORY[key] + more})
    assert (unsound(report), report.sound) == (left, False)


def test_less_than_before_is_no_matter() -> None:
    assert Level("objects", level=70_000, peak=None, after=60_000, spare=0).sound


def test_a_number_that_one_of_them_does_not_know_is_no_matter() -> None:
    assert Row("results", 5, None, 5).sound
    assert not Row("results", 5, None, 6).sound


@pytest.mark.skipif(
    getrlimit(RLIMIT_NOFILE)[1] == RLIM_INFINITY, reason="this machine allows any number of files"
)
def test_too_few_open_files_are_reported() -> None:
    with pytest.raises(SystemExit, match="`ulimit -Hn 1000000000000`"):
        raise_file_limit(10**12)

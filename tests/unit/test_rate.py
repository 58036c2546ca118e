"""What the bounds of both logs have in common: their kinds, and the child of a fork."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from strawberry_ws_otel._fuse import MAX_KINDS, RECORDS_PER_MINUTE, RecordRate
from tests.support.clock import Clock

ROOT: Final = Path(__file__).parents[2]


def test_kinds_beyond_the_first_hundred_share_one_bound(clock: Clock) -> None:
    rate = RecordRate()
    for number in range(MAX_KINDS):
        assert rate.admit(str(number)) == 0
    further = [rate.admit(str(number)) for number in range(MAX_KINDS, 2 * MAX_KINDS)]
    assert further == [0] * RECORDS_PER_MINUTE + [None] * (MAX_KINDS - RECORDS_PER_MINUTE)
    assert rate.admit("0") == 0, "an early one keeps its own"
    clock.passes(60.0)
    assert rate.admit("new") == MAX_KINDS - RECORDS_PER_MINUTE


@pytest.mark.usefixtures("hasty_threads")
def test_nothing_is_lost_between_threads(clock: Clock) -> None:
    rate = RecordRate()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(rate.admit, ["kind"] * 4000))
    assert answers.count(0) == RECORDS_PER_MINUTE
    clock.passes(60.0)
    assert rate.admit("kind") == 4000 - RECORDS_PER_MINUTE


def test_a_process_with_another_id_has_a_lock_of_its_own_and_counts_on(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = RecordRate()
    rate.admit("kind")
    admitted: list[int | None] = []
    child = threading.Thread(
        target=lambda: admitted.extend(rate.admit("kind") for _ in range(10)), daemon=True
    )
    with rate._lock:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        child.start()
        child.join(timeout=20)
    assert admitted == [0] * 9 + [None]


PROGRAM: Final = """
import os, signal, threading
from strawberry_ws_otel._fuse import RecordRate

rate, held = RecordRate(), threading.Event()

def hold():
    with rate._lock:
        held.set()
        threading.Event().wait()

rate.admit("kind")
threading.Thread(target=hold, daemon=True).start()
held.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    admitted = [rate.admit("kind") for _ in range(12)]
    os._exit(0 if admitted == [0] * 9 + [None] * 3 else 1)
os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) % 256)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_the_child_of_a_fork_goes_on_though_a_thread_of_its_parent_held_the_lock() -> None:
    # Later versions warn of every fork that leaves a thread behind: that is what is tried.
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(command, cwd=ROOT, timeout=60, check=False)  # noqa: S603  # the program above
    assert done.returncode == 0

"""Round after round, and what they find."""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan

from tests.attacks.soak.connection_checks import Conversation, conversations, mismatches
from tests.attacks.soak.log_checks import Log
from tests.attacks.soak.metric_checks import Account
from tests.attacks.soak.rounds import Round, Visit, play_round
from tests.attacks.soak.shared_server import Views
from tests.support.cases import CASES, Case, traced
from tests.support.log import LogKeeper, is_internal, keeping_log
from tests.support.segments import joined
from tests.support.telemetry import Telemetry


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much is played.

    Attributes:
        seed: of the choice of the scenarios; how they interleave is the machine's.
        connections: how many there are, in all.
        at_once: how many connect at once, in a round.
        seconds: after which no further round begins.
        segment_duration: the option of the views, in seconds.
    """

    seed: int = 1
    connections: int = 10_000
    at_once: int = 2_000
    seconds: float = 600.0
    segment_duration: float = 300.0


@dataclass
class Findings:
    """What was found, by scenario and in all.

    Attributes:
        played: connections of each scenario.
        lying: of these, those whose spans or log records differ from what happened.
        missing: those of which no span reports anything.
        unplayed: those that did not become what they were to be, so that nothing is known of them.
        reports: a paragraph for each of them, and for each untrue number.
        most: connections that were served at the same time, at most.
        metrics: untrue data points of the metrics.
        log: untrue numbers of log records.
        strays: spans of no connection that there was, never ended, ended twice, or not continued in
            the next segment.
        segments: those that were continued.
        internal: failures of the library that it logged.
        tasks: those that are left when everybody has gone.
    """

    played: Counter[str] = field(default_factory=Counter)
    lying: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    unplayed: Counter[str] = field(default_factory=Counter)
    reports: list[str] = field(default_factory=list)
    most: int = 0
    metrics: int = 0
    log: int = 0
    strays: int = 0
    segments: int = 0
    internal: int = 0
    tasks: int = 0

    @property
    def faults(self) -> int:
        """Everything that should not be."""
        by_scenario = (self.lying, self.missing, self.unplayed)
        of_scenarios = sum(counter.total() for counter in by_scenario)
        of_sums = self.metrics + self.log
        return of_scenarios + of_sums + self.strays + self.internal + self.tasks


class Soak:
    """A soak: telemetry, and what has been found in it so far."""

    def __init__(
        self,
        extent: Extent,
        cases: Sequence[Case] = CASES,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.findings = Findings()
        self._extent = extent
        self._cases = cases
        self._telemetry = telemetry or Telemetry()
        self._account = Account()
        self.log = Log()
        arm = traced(
            self._telemetry.tracer_provider,
            self._telemetry.meter_provider,
            segment_duration=extent.segment_duration,
        )
        self._views = Views(arm)

    async def play(self, progress: Callable[[Findings], None]) -> Findings:
        """Play all rounds; `progress` hears of each."""
        extent, chance = self._extent, random.Random(self._extent.seed)  # noqa: S311  # no secret
        began, tasks = time.monotonic(), len(asyncio.all_tasks())
        names = list(map(str, range(1, extent.connections + 1)))
        with keeping_log() as log:
            while names and time.monotonic() - began < extent.seconds:
                present, names = names[: extent.at_once], names[extent.at_once :]
                visits = {each: chance.choice(self._cases) for each in present}
                self._judge(await play_round(self._views, visits, chance), log)
                progress(self.findings)
        self.findings.tasks = len(asyncio.all_tasks()) - tasks
        return self.findings

    def _judge(self, played: Round, log: LogKeeper) -> None:
        errors = list(filter(is_internal, log.records))
        self.findings.internal += len(errors)
        self.findings.reports += map(logging.Formatter().format, errors)
        recorded = conversations(self._joined(self._spans()), log.closes)
        log.records.clear()
        self.findings.most = max(self.findings.most, played.most)
        for visit in played.visits:
            self._judge_visit(visit, recorded.pop(visit.path, Conversation()))
        self.findings.strays += len(recorded)
        self.findings.reports += [f"Of nobody: {path}, {each}" for path, each in recorded.items()]
        # Of a connection that did not become what it was to be, nobody knows what sums owe it.
        if not self.findings.faults:
            metrics, records = (
                list(self._account.mismatches(self._telemetry)),
                list(self.log.mismatches()),
            )
            self.findings.metrics += len(metrics)
            self.findings.log += len(records)
            self.findings.reports += [f"Metrics: {mismatch}" for mismatch in metrics]
            self.findings.reports += [f"Log: {mismatch}" for mismatch in records]

    def _judge_visit(self, visit: Visit, recorded: Conversation) -> None:
        case, findings = visit.case.scenario.name, self.findings
        findings.played[case] += 1
        if visit.failure is not None or visit.client is None:
            findings.unplayed[case] += 1
            self._report(visit, f"could not be played: {visit.failure}")
            return
        found = list(mismatches(visit, recorded))
        for mismatch in found:
            self._report(visit, str(mismatch))
        if not found:
            self._account.add(visit, recorded)
            scenario, [span] = visit.case.scenario, recorded.connections
            view, time_ = self._views.of(scenario.setup), (span.end_time or 0) / 1e9
            self.log.add(view, scenario.verdict, time_, recorded.records)
        elif recorded.connections:
            findings.lying[case] += 1
        else:
            findings.missing[case] += 1

    def _report(self, visit: Visit, text: str) -> None:
        self.findings.reports.append(
            f"{visit.case}, {visit.path}, seed {self._extent.seed}: {text}"
        )

    def _joined(self, spans: list[ReadableSpan]) -> list[ReadableSpan]:
        """Whole spans, the segments of each joined."""
        try:
            whole = joined(spans)
        except AssertionError as error:
            self.findings.strays += 1
            self.findings.reports.append(f"Segments: {error}")
            return spans
        self.findings.segments += len(spans) - len(whole)
        return whole

    def _spans(self) -> list[ReadableSpan]:
        """The spans of a round, which are then forgotten; each of them has ended once."""
        telemetry, findings = self._telemetry, self.findings
        spans, call_log = telemetry.spans(), telemetry.span_counter
        odd = {
            span: call_log.ended[span]
            for span in call_log.started | call_log.ended
            if call_log.started[span] != 1 or call_log.ended[span] != 1
        }
        findings.strays += len(odd)
        findings.reports += [f"Span {span:x} ended {times} times" for span, times in odd.items()]
        telemetry.exporter.clear()
        call_log.started.clear()
        call_log.ended.clear()
        return spans

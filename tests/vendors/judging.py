"""Compares what arrived with what has to, except for what a stack says that it lacks."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import unified_diff

from tests.vendors.arrivals import Arrivals
from tests.vendors.expected import ABNORMAL, HEARD, INSTRUMENTS, METRICS, expected
from tests.vendors.stack import Stack
from tests.vendors.words import (
    CHILDREN,
    CONNECTION,
    CONNECTION_ID,
    CONVERSATION,
    PHASES,
    RESOLVER,
    THE_CLIENT,
    TICKING,
    Reading,
    Recorded,
)


def problems(stack: Stack, arrivals: Arrivals, run: tuple[float, float]) -> Iterator[str]:
    """Say what is wrong with the spans and metrics that arrived."""
    reading = Reading(stack, arrivals.spans, run)
    yield from reading.surprises()
    yield from _difference("spans", _masked(expected(), stack), _masked(reading.recorded(), stack))
    yield from _metric_problems(stack, arrivals)
    yield from stack.check(arrivals)


def heard_problems(heard: Mapping[str, list[str]]) -> Iterator[str]:
    if heard != HEARD:
        yield f"the clients heard {heard}"


def log_problems(
    stack: Stack, records: Iterable[tuple[str, str]], arrivals: Arrivals
) -> Iterator[str]:
    """Say what is wrong with the records of the library: level and message."""
    ids = {
        str(span.attributes[CONNECTION_ID]): str(span.attributes[CONVERSATION])
        for span in arrivals.spans
        if CONVERSATION in span.attributes
    }
    closes: Counter[str] = Counter()
    others: list[str] = []
    for level, message in records:
        words = message.split()
        if level == "WARNING" and "closed abnormally:" in message:
            closes[f"{ids.get(words[2], 'unknown')}: {words[5]}"] += 1
        else:
            others.append(f"{level} {message}")
    wanted = Counter(f"{conversation}: {outcome}" for conversation, outcome in ABNORMAL.items())
    if closes != wanted:
        yield f"the log has {dict(closes)}, not {dict(wanted)}"
    for call in stack.refused:
        mentions = [other for other in others if call in other and other.startswith("WARNING")]
        if len(mentions) != 1:
            yield f"the log mentions {call} in {len(mentions)} warnings, not in one"
        others = [other for other in others if other not in mentions]
    yield from (f"the log has {other}" for other in others)


def _masked(recorded: Iterable[Recorded], stack: Stack) -> list[Recorded]:
    """Leave out what the vendor lacks, and sort the rest."""
    return sorted(_mask(each, stack.lacks) for each in recorded)


def _mask(recorded: Recorded, lacks: frozenset[str]) -> Recorded:
    if "resolver's span" in lacks:
        kept = (each for each in recorded.attributes if each[0] != RESOLVER)
        recorded = replace(recorded, attributes=tuple(kept))
    if "events" in lacks:
        recorded = replace(recorded, events=())
    if "links" in lacks or ("later links" in lacks and recorded.name == CONNECTION):
        recorded = replace(recorded, links=())
    if "remote parents" in lacks and recorded.below == THE_CLIENT:
        recorded = replace(recorded, below="", links=(THE_CLIENT, *recorded.links))
    if "parents" in lacks and recorded.name in CHILDREN | PHASES:
        recorded = replace(recorded, below="", conversation="")
    return replace(recorded, links=tuple(sorted(recorded.links)))


def _metric_problems(stack: Stack, arrivals: Arrivals) -> Iterator[str]:
    if "metrics" in stack.lacks:
        if arrivals.metrics:
            yield f"metrics arrived where none can: {sorted(arrivals.metrics)}"
        return
    found = arrivals.metrics or {}
    shown = {
        name: {
            label: value
            for label, value in sums.items()
            if label != TICKING and (value or label in METRICS[name])
        }
        for name, sums in found.items()
    }
    yield from (
        f"{name} is {shown.get(name)}, not {wanted}"
        for name, wanted in METRICS.items()
        if shown.get(name) != wanted
    )
    if arrivals.instruments != INSTRUMENTS:
        yield f"other metrics arrived: {sorted(arrivals.instruments ^ INSTRUMENTS)}"
    if "exemplars" not in stack.lacks:
        ids = {span.id for span in arrivals.spans}
        if not arrivals.exemplars or arrivals.exemplars - ids:
            yield f"exemplars lead to {sorted(arrivals.exemplars)}, not to spans that arrived"


def _difference(what: str, wanted: list[Recorded], found: list[Recorded]) -> Iterator[str]:
    """Say how the two differ, as lines that were lost and lines that nobody expected."""
    if wanted != found:
        lost, new = ([line for each in side for line in each.lines()] for side in (wanted, found))
        diff = unified_diff(lost, new, f"{what} expected", f"{what} that arrived", "", "", 2, "")
        yield "\n".join(diff)

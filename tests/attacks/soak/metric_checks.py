"""What the metrics of all connections so far have to say, and what is untrue in what they say."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from strawberry_ws_otel import _semconv as name
from tests.attacks.soak.byte_counts import Volume
from tests.attacks.soak.connection_checks import Conversation
from tests.attacks.soak.mismatch import Mismatch
from tests.attacks.soak.rounds import Visit
from tests.attacks.soak.sent_messages import spoken_types
from tests.support.assertions import (
    RECEIVE,
    TRANSMIT,
    error_types,
    expected_duration_attributes,
    known,
    recorded_traffic,
    saw_everything,
)
from tests.support.scenarios.model import FAULTS
from tests.support.telemetry import Attributes, Telemetry, labels

Points = Mapping[Attributes, float]
Counts = Counter[Attributes]


class Account:
    """The sums over all connections: what scenarios and clients know, and spans fill in."""

    def __init__(self) -> None:
        self.closes: Counts = Counter(
            {
                labels(known(CLOSE_OUTCOME=outcome, CLOSE_FAULT=fault)): 0
                for outcome, fault in FAULTS.items()
            }
        )
        self.lives: Counts = Counter()
        self.heard: Counts = Counter()
        """Messages that the server read, whose number a span reports and whose types the client."""
        self.said: Counts = Counter()
        """Messages of the server that a client read."""
        self.unread: Counts = Counter()
        """Messages that a client did not read, by subprotocol, according to the spans."""
        self.volume = Volume()
        self.operations: Counts = Counter()
        self.inits = 0
        self.requests = 0
        self.errors: Counts = Counter()

    def add(self, visit: Visit, recorded: Conversation) -> None:
        """Add a connection that was recorded as it happened."""
        [span] = recorded.connections
        case, client, verdict = visit.case, visit.client, visit.case.scenario.verdict
        assert client is not None
        self.closes[labels(known(CLOSE_OUTCOME=verdict.outcome, CLOSE_FAULT=verdict.fault))] += 1
        self.lives[labels(expected_duration_attributes(case))] += 1
        for reason in case.scenario.operations:
            self.operations[labels(known(END_REASON=reason))] += 1
        traffic, protocol = recorded_traffic(span), known(SUBPROTOCOL=case.protocol)
        for type_ in spoken_types(client)[: traffic["received"]]:
            self.heard[labels(protocol | RECEIVE | known(MESSAGE_TYPE=type_))] += 1
        for frame in client.data_frames:
            self.said[labels(protocol | TRANSMIT | known(MESSAGE_TYPE=frame.json["type"]))] += 1
        if not saw_everything(client, case.scenario):
            unread = traffic["sent"] - len(client.data_frames)
            self.unread[labels(protocol | TRANSMIT)] += unread
        self.volume.add(case, client, traffic)
        self.inits += len(recorded.inits)
        self.requests += sum(one.name in ("query", "mutation") for one in recorded.operations)
        for error in error_types(span):
            self.errors[labels(known(ERROR_TYPE=error))] += 1

    def mismatches(self, telemetry: Telemetry) -> Iterator[Mismatch]:
        """Everything in which the metrics differ from what happened."""
        metrics: defaultdict[str, Points] = defaultdict(dict, telemetry.metrics())
        messages = metrics[name.METRIC_MESSAGES]
        received = {key: count for key, count in messages.items() if RECEIVE.items() <= key}
        sent = {key: count for key, count in messages.items() if TRANSMIT.items() <= key}
        ends = _summed(metrics[name.METRIC_OPERATION_DURATION], name.OPERATION_TYPE)
        for what, points, expected in (
            (name.METRIC_CLOSES, metrics[name.METRIC_CLOSES], self.closes),
            (name.METRIC_CONNECTION_DURATION, metrics[name.METRIC_CONNECTION_DURATION], self.lives),
            (name.METRIC_ERRORS, metrics[name.METRIC_ERRORS], self.errors),
            (name.METRIC_OPERATION_DURATION, ends, self.operations),
            (f"{name.METRIC_MESSAGES}, received", received, self.heard),
            (
                f"{name.METRIC_MESSAGES}, sent",
                _summed(sent, name.MESSAGE_TYPE),
                _summed(self.said, name.MESSAGE_TYPE) + self.unread,
            ),
        ):
            yield from _differences(what, points, expected)
        yield from self.volume.mismatches(metrics[name.METRIC_IO])
        for key, count in self.said.items():
            if sent.get(key, 0) < count:
                yield Mismatch(f"messages that clients read, {dict(key)}", sent.get(key, 0), count)
        for what, true in (
            (name.METRIC_ACTIVE_CONNECTIONS, 0),
            (name.METRIC_SUBSCRIPTIONS_ACTIVE, 0),
            (name.METRIC_INIT_DURATION, self.inits),
            (name.METRIC_REQUEST_DURATION, self.requests),
        ):
            recorded = sum(metrics[what].values())
            if recorded != true:
                yield Mismatch(what, recorded, true)


def _differences(what: str, recorded: Points, true: Points) -> Iterator[Mismatch]:
    for key in sorted(recorded.keys() | true.keys(), key=repr):
        if recorded.get(key, 0) != true.get(key, 0):
            yield Mismatch(f"{what}, {dict(key)}", recorded.get(key, 0), true.get(key, 0))


def _summed(points: Points, over: str) -> Counts:
    """The points without one of their attributes."""
    sums: Counts = Counter()
    for attributes, count in points.items():
        sums[frozenset(each for each in attributes if each[0] != over)] += int(count)
    return sums

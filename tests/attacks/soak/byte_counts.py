"""How many bytes there were, as far as the clients know: the payload of data messages, inflated."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from strawberry_ws_otel import _semconv as name
from tests.attacks.soak.mismatch import Mismatch
from tests.attacks.soak.sent_messages import spoken_sizes
from tests.support.assertions import RECEIVE, TRANSMIT, known, saw_everything
from tests.support.cases import Case
from tests.support.raw_client import Client
from tests.support.telemetry import Attributes, labels

SIZES: Final = len('{"type":"ka"}'), 512
"""Bytes of the server's shortest message, and of its longest one that is no flood."""


class Volume:
    """Two bounds on the bytes of all connections, by subprotocol and direction.

    They are one wherever the client saw everything, and in a flood, of which each message is as
    long as the one before. Of what another client did not read, because it went away before, only
    the number of messages is known, which a span reports.
    """

    def __init__(self) -> None:
        self._least: Counter[Attributes] = Counter()
        self._most: Counter[Attributes] = Counter()

    def add(self, case: Case, client: Client, traffic: dict[str, Any]) -> None:
        """Add a connection, whose span reports this traffic."""
        heard = sum(spoken_sizes(client)[: traffic["received"]])
        self._count(case, RECEIVE, heard, heard)
        read, unread = sum(len(frame.text) for frame in client.data_frames), 0
        if not saw_everything(client, case.scenario):
            unread = traffic["sent"] - len(client.data_frames)
        least, most = SIZES
        if case.scenario.floods:
            least = most = len(client.data_frames[-1].text)
        self._count(case, TRANSMIT, read + unread * least, read + unread * most)

    def _count(self, case: Case, direction: dict[str, Any], least: int, most: int) -> None:
        key = labels(known(SUBPROTOCOL=case.protocol) | direction)
        self._least[key] += least
        self._most[key] += most

    def mismatches(self, points: Mapping[Attributes, float]) -> Iterator[Mismatch]:
        """Every sum that is not between its bounds."""
        for key in sorted(points.keys() | self._most.keys(), key=repr):
            recorded, least, most = points.get(key, 0), self._least[key], self._most[key]
            if not least <= recorded <= most:
                true = least if least == most else f"from {least} to {most}"
                yield Mismatch(f"{name.METRIC_IO}, {dict(key)}", recorded, true)

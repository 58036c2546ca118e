"""What a thread finds open, held against the truth of random conversations in other threads.

A conversation keeps account of what it is after each of its steps. A snapshot may be taken in the
middle of a step: then each part of it is that of before the step, or that of after.
"""

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum, auto
from itertools import count
from typing import Any, Final, NamedTuple

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from strawberry_ws_otel import OpenConnection, connection_attributes, open_connections
from strawberry_ws_otel._recording import Telemetry as Recording
from tests.support.fake_connection import BOTH, STOP, FakeConnection, Place, operation_in
from tests.support.telemetry import Telemetry
from tests.support.views import config

THREADS: Final = 2
AT_ONCE: Final = 20
"""Conversations that a thread holds at the same time."""

STEPS: Final = 12
"""Steps of a conversation, on average."""


class Stage(IntEnum):
    """How far a conversation is."""

    NEW = auto()
    OPENING = auto()
    OPEN = auto()
    ENDING = auto()
    ENDED = auto()


class State(NamedTuple):
    """What is true of a connection."""

    bytes_received: int = 0
    bytes_sent: int = 0
    messages_received: int = 0
    messages_sent: int = 0
    attributes: tuple[tuple[str, Any], ...] = ()
    operations: tuple[tuple[str, str | None, int], ...] = ()
    """The id, the type and the results of each that is live, oldest first."""


def state_of(snapshot: OpenConnection) -> State:
    return State(
        snapshot.bytes_received,
        snapshot.bytes_sent,
        snapshot.messages_received,
        snapshot.messages_sent,
        tuple(snapshot.attributes.items()),
        tuple((each.id, each.type, each.results) for each in snapshot.operations),
    )


class Conversation:
    """A random conversation, and all that was ever true of it."""

    def __init__(self, recording: Recording, chance: random.Random) -> None:
        self.stage = Stage.NEW
        self.states = [State()]
        self._chance = chance
        self._talk = FakeConnection(recording.config, recording=recording)
        self._protocol = chance.choice(BOTH)
        self._ids = map(str, count())
        self._live: dict[str, Place] = {}
        self._types: dict[str, str | None] = {}
        self._results: dict[str, int] = {}

    @property
    def id(self) -> str:
        return self._talk.connection.id

    def opens(self) -> None:
        self.stage = Stage.OPENING
        self._talk.accept(self._protocol)
        self.stage = Stage.OPEN

    def ends(self) -> None:
        self.stage = Stage.ENDING
        self._chance.choice((self._talk.close_by_client, self._talk.lose))()
        self.stage = Stage.ENDED

    def goes_on(self) -> None:
        """Take a random step, and say before what will be true after it."""
        steps: list[Callable[[], None]] = [self._says, self._hears, self._begins, self._is_known]
        if self._live:
            steps += [self._answers] * 4
            steps += [self._learns, self._is_stopped, self._completes, self._fails]
        self._chance.choice(steps)()

    def _becomes(self, *, received: int = 0, sent: int = 0, **others: Any) -> None:
        """Keep the state that the next step leads to."""
        last = self.states[-1]
        live = tuple((id_, self._types[id_], self._results[id_]) for id_ in self._live)
        self.states.append(
            last._replace(
                bytes_received=last.bytes_received + 10 * received,
                bytes_sent=last.bytes_sent + 20 * sent,
                messages_received=last.messages_received + received,
                messages_sent=last.messages_sent + sent,
                **{"operations": live, **others},
            )
        )

    def _says(self) -> None:
        self._becomes(sent=1)
        self._talk.send("pong")

    def _hears(self) -> None:
        self._becomes(received=1)
        self._talk.receive_and_handle({"type": "ping"})

    def _begins(self) -> None:
        id_ = next(self._ids)
        self._live[id_], self._types[id_], self._results[id_] = Place(), None, 0
        self._becomes(received=1)
        self._live[id_] = self._talk.start_operation(id_)

    def _is_known(self) -> None:
        number = self._chance.random()
        attributes = {"tenant": number, "user": number}
        self._becomes(attributes=tuple(attributes.items()))
        self._talk.reader.run(connection_attributes, attributes)

    def _any(self) -> str:
        return self._chance.choice(list(self._live))

    def _answers(self) -> None:
        id_ = self._any()
        self._results[id_] += 1
        self._becomes(sent=1)
        self._talk.send_result(id_, self._live[id_])

    def _learns(self) -> None:
        id_ = self._any()
        self._types[id_] = self._types[id_] or self._chance.choice(("subscription", "query"))
        self._becomes()
        operation_in(self._live[id_]).describe(self._types[id_] or "", None)

    def _is_stopped(self) -> None:
        id_ = self._any()
        place = self._live.pop(id_)
        self._becomes(received=1)
        self._talk.receive_and_handle({"type": STOP[self._protocol], "id": id_})
        self._talk.end_serving(place)

    def _completes(self) -> None:
        id_ = self._any()
        self._becomes(sent=1)
        self._talk.send("complete", id=id_, within=self._live[id_])
        place = self._live.pop(id_)
        self._becomes()
        self._talk.end_serving(place)

    def _fails(self) -> None:
        id_ = self._any()
        place = self._live.pop(id_)
        self._becomes(sent=1)
        self._talk.send("error", id=id_, payload=[{}], within=place)
        self._talk.end_serving(place)


class Crowd:
    """The conversations of one thread, of which some are held at the same time."""

    def __init__(self, seed: int, conversations: int) -> None:
        chance = random.Random(seed)  # noqa: S311  # no secret
        sampler = chance.choice((ALWAYS_ON, ALWAYS_OFF))
        recording = Recording(config(Telemetry(sampler=sampler)))
        self._chance = chance
        self.all = [Conversation(recording, chance) for _ in range(conversations)]

    def converse(self) -> None:
        """Hold all conversations: one opens, goes on or ends at a time."""
        waiting, present = list(self.all), list[Conversation]()
        while waiting or present:
            if waiting and len(present) < AT_ONCE:
                present.append(waiting.pop())
                present[-1].opens()
            one = self._chance.choice(present)
            if self._chance.randrange(STEPS):
                one.goes_on()
            else:
                present.remove(one)
                one.ends()


class Watch:
    """What a thread finds open, again and again, until the conversations are over."""

    def __init__(self, conversations: Mapping[str, Conversation], over: threading.Event) -> None:
        self.found: defaultdict[str, list[State]] = defaultdict(list)
        """What was found of each connection, in order, without repetitions."""
        self.wrong: list[str] = []
        self._conversations = conversations
        self._over = over
        self._ages: dict[str, float] = {}

    def watch(self) -> int:
        """Look until the conversations are over; return how often."""
        looks = 0
        while not self._over.is_set():
            self._look()
            looks += 1
        return looks

    def _stages(self) -> dict[str, Stage]:
        return {id_: each.stage for id_, each in self._conversations.items()}

    def _look(self) -> None:
        before = self._stages()
        snapshots = {each.id: each for each in open_connections(None) if each.id in before}
        after = self._stages()
        for id_ in before:
            if before[id_] is after[id_] is Stage.OPEN and id_ not in snapshots:
                self.wrong.append(f"{id_} is open, and was not found")
            never_open = before[id_] is Stage.ENDED or after[id_] is Stage.NEW
            if never_open and id_ in snapshots:
                self.wrong.append(f"{id_} is not open, and was found: {snapshots[id_]}")
        ages = [each.age for each in snapshots.values()]
        if ages != sorted(ages, reverse=True):
            self.wrong.append(f"the oldest is not the first: {ages}")
        for id_, snapshot in snapshots.items():
            self._keep(id_, snapshot)

    def _keep(self, id_: str, snapshot: OpenConnection) -> None:
        if snapshot.age < self._ages.get(id_, 0.0):
            self.wrong.append(f"{id_} has become younger: {snapshot}")
        self._ages[id_] = snapshot.age
        if any(each.age > snapshot.age for each in snapshot.operations):
            self.wrong.append(f"{id_} is younger than its operations: {snapshot}")
        state, found = state_of(snapshot), self.found[id_]
        if found[-1:] != [state]:
            found.append(state)


def untrue(found: Sequence[State], states: Sequence[State]) -> Iterator[State]:
    """What was found and was not true, or no longer: what is found later is true later."""
    step = 0
    for state in found:
        for later in range(step, len(states)):
            pairs = zip(state, states[later], states[min(later + 1, len(states) - 1)], strict=True)
            if all(part in either for part, *either in pairs):
                step = later
                break
        else:
            yield state


@pytest.mark.usefixtures("hasty_threads")
@pytest.mark.parametrize(
    ("seed", "conversations"),
    [(1, 300), pytest.param(2, 3_000, marks=pytest.mark.matrix)],
)
def test_other_threads_find_only_what_is_true(seed: int, conversations: int) -> None:
    crowds = [Crowd(seed * THREADS + number, conversations) for number in range(THREADS)]
    everyone = {each.id: each for crowd in crowds for each in crowd.all}
    over = threading.Event()
    watches = [Watch(everyone, over) for _ in range(THREADS)]
    with ThreadPoolExecutor(2 * THREADS) as pool:
        looks = [pool.submit(watch.watch) for watch in watches]
        try:
            for done in [pool.submit(crowd.converse) for crowd in crowds]:
                done.result()
        finally:
            over.set()
        assert all(look.result() for look in looks)
    for watch in watches:
        assert watch.wrong == []
        for id_, found in watch.found.items():
            assert list(untrue(found, everyone[id_].states)) == []
    assert sum(len(watch.found) for watch in watches) > conversations
    assert not {each.id for each in open_connections(None)} & everyone.keys()

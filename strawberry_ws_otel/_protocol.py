"""The vocabulary of both subprotocols, as one table, and its total decoding.

Any JSON value becomes a `Message`; nothing here raises. Sources: PROTOCOL.md of graphql-ws
(`graphql-transport-ws`) and of subscriptions-transport-ws (`graphql-ws`).

A new message type is one line in `_VOCABULARY`.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, cast

from strawberry_ws_otel._semconv import EVENT_MESSAGE_PREFIX, OTHER

GRAPHQL_TRANSPORT_WS: Final = "graphql-transport-ws"
GRAPHQL_WS: Final = "graphql-ws"

Direction = Literal["receive", "transmit"]


class Meaning(Enum):
    """What a message does to the connection or the operation that it belongs to."""

    INIT = auto()
    ACK = auto()
    REFUSAL = auto()
    START = auto()
    STOP = auto()
    RESULT = auto()
    ERROR = auto()
    COMPLETE = auto()
    NONE = auto()


class Shape(Enum):
    """What has to stand in a message besides its type."""

    ANY = auto()
    PAYLOAD = auto()
    """An optional object `payload`."""
    ID = auto()
    """A string `id`."""
    OPERATION = auto()
    """A string `id`, and a `payload` with a string `query` and optional further members."""


@dataclass(frozen=True, slots=True, eq=False)
class MessageType:
    """One message type of one subprotocol in one direction; compared by identity."""

    subprotocol: str | None
    direction: Direction
    name: str
    meaning: Meaning
    shape: Shape
    event: str
    """The name of the span event."""


_VOCABULARY: Final[Mapping[tuple[str, Direction], Mapping[str, tuple[Meaning, Shape]]]] = {
    (GRAPHQL_TRANSPORT_WS, "receive"): {
        "connection_init": (Meaning.INIT, Shape.PAYLOAD),
        "ping": (Meaning.NONE, Shape.PAYLOAD),
        "pong": (Meaning.NONE, Shape.PAYLOAD),
        "subscribe": (Meaning.START, Shape.OPERATION),
        "complete": (Meaning.STOP, Shape.ID),
    },
    (GRAPHQL_TRANSPORT_WS, "transmit"): {
        "connection_ack": (Meaning.ACK, Shape.ANY),
        "ping": (Meaning.NONE, Shape.ANY),
        "pong": (Meaning.NONE, Shape.ANY),
        "next": (Meaning.RESULT, Shape.ANY),
        "error": (Meaning.ERROR, Shape.ANY),
        "complete": (Meaning.COMPLETE, Shape.ANY),
    },
    (GRAPHQL_WS, "receive"): {
        "connection_init": (Meaning.INIT, Shape.PAYLOAD),
        "connection_terminate": (Meaning.NONE, Shape.ANY),
        "start": (Meaning.START, Shape.OPERATION),
        "stop": (Meaning.STOP, Shape.ID),
    },
    (GRAPHQL_WS, "transmit"): {
        "connection_ack": (Meaning.ACK, Shape.ANY),
        "connection_error": (Meaning.REFUSAL, Shape.ANY),
        "ka": (Meaning.NONE, Shape.ANY),
        "data": (Meaning.RESULT, Shape.ANY),
        "error": (Meaning.ERROR, Shape.ANY),
        "complete": (Meaning.COMPLETE, Shape.ANY),
    },
}

NO_PAYLOAD: Final = MappingProxyType[str, Any]({})
"""The payload of a message that has none, or one that is no object."""

NO_ID: Final = object()
"""The id of a message that has none, or one that no host can keep (a list, an object)."""


class Message(NamedTuple):
    """A decoded message."""

    type: MessageType
    id: Hashable
    """`NO_ID` if it has none that a host can keep."""
    value: object
    """As it came."""
    payload: Mapping[str, Any] = NO_PAYLOAD
    """Empty unless it is an object."""

    @property
    def starts_operation(self) -> bool:
        """Whether a host can make an operation of it: it has an id and a query of any kind."""
        return (
            self.type.meaning is Meaning.START
            and self.id is not NO_ID
            and self.payload.get("query", NO_ID) is not NO_ID
        )

    @property
    def may_start_operation(self) -> bool:
        """Whether a host can that looks up documents: it has an id and some payload."""
        return self.type.meaning is Meaning.START and self.id is not NO_ID and bool(self.payload)

    @property
    def well_formed(self) -> bool:
        """Whether the message is what its subprotocol asks for, down to encodable strings."""
        members = _members(self.value)
        if members is None or self.type.name == OTHER:
            return False
        payload = members.get("payload")
        match self.type.shape:
            case Shape.ANY:
                return True
            case Shape.PAYLOAD:
                return payload is None or isinstance(payload, dict)
            case Shape.ID:
                return _is_text(self.id)
            case _:
                return _is_text(self.id) and _is_operation(payload)


class Vocabulary:
    """The message types of one subprotocol, or of none, where every type is another."""

    __slots__ = ("received", "restarts", "result", "sent", "unknown_received", "unknown_sent")

    def __init__(self, subprotocol: str | None) -> None:
        self.restarts = subprotocol == GRAPHQL_WS
        """Whether a first message with the id of a live operation ends that one; else it is the
        new one that is refused."""
        self.received: Mapping[Any, MessageType] = _types(subprotocol, "receive")
        self.sent: Mapping[Any, MessageType] = _types(subprotocol, "transmit")
        self.unknown_received = self.received[OTHER]
        """The type of what cannot be parsed, or is no message of this subprotocol."""
        self.unknown_sent = self.sent[OTHER]
        self.result = next(
            (each for each in self.sent.values() if each.meaning is Meaning.RESULT),
            self.unknown_sent,
        )
        """The type of nearly every message that is sent: a result of an operation."""

    def read(self, value: object) -> Message:
        """Decode any JSON value that was received."""
        members = _members(value)
        if members is None:
            return Message(self.unknown_received, NO_ID, value)
        name, id_ = members.get("type"), members.get("id", NO_ID)
        message_type = self.received.get(name) if isinstance(name, str) else None
        payload = members.get("payload")
        if payload is not None:
            payload = _members(payload)
        return Message(
            message_type or self.unknown_received,
            id_ if _is_hashable(id_) else NO_ID,
            value,
            payload or NO_PAYLOAD,
        )

    def classify_sent(self, message: Mapping[str, Any]) -> MessageType:
        """Return the type of a message that was sent, the application's own ones included."""
        try:
            return self.sent[message["type"]]
        except (LookupError, TypeError):
            return self.unknown_sent


def _types(subprotocol: str | None, direction: Direction) -> dict[str, MessageType]:
    words = _VOCABULARY.get((subprotocol or "", direction), {})
    return {
        name: MessageType(
            subprotocol, direction, name, meaning, shape, f"{EVENT_MESSAGE_PREFIX}{name}"
        )
        for name, (meaning, shape) in {**words, OTHER: (Meaning.NONE, Shape.ANY)}.items()
    }


_VOCABULARIES: Final = {name: Vocabulary(name) for name in (GRAPHQL_TRANSPORT_WS, GRAPHQL_WS, None)}


def vocabulary(subprotocol: str | None) -> Vocabulary:
    """Return the vocabulary of a subprotocol; an unknown one has no known message type."""
    return _VOCABULARIES.get(subprotocol) or _VOCABULARIES[None]


def _is_hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _members(value: object) -> Mapping[str, Any] | None:
    """Return what a host can read members of: a mapping, or another thing that offers as much.

    An application may decode by whatever means.
    """
    # Nearly all are dicts, and to ask for any other mapping is slow.
    if type(value) is dict or isinstance(value, Mapping):
        return value
    offers = callable(getattr(value, "get", None)) and hasattr(type(value), "__getitem__")
    return cast("Mapping[str, Any]", value) if offers else None


def _is_text(value: object) -> bool:
    """Whether `value` is a string of Unicode: JSON can carry lone surrogates, a frame cannot."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_operation(payload: object) -> bool:
    members = _members(payload)
    return (
        members is not None
        and _is_text(members.get("query"))
        and all(
            isinstance(members.get(name), Mapping | None) for name in ("variables", "extensions")
        )
        and (members.get("operationName") is None or _is_text(members["operationName"]))
    )

"""The message types of both subprotocols, as one table, and the decoding of any JSON value.

Sources: PROTOCOL.md of graphql-ws (`graphql-transport-ws`) and of subscriptions-transport-ws
(`graphql-ws`). Every value becomes a `Message`; nothing here raises.

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
    """What a message does to its connection or operation."""

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
    """What a message has to contain besides its type."""

    ANY = auto()
    PAYLOAD = auto()  # an optional object `payload`
    ID = auto()  # a string `id`
    OPERATION = auto()  # a string `id`, and a `payload` with a string `query` and optional members


@dataclass(frozen=True, slots=True, eq=False)
class MessageType:
    """One message type of one subprotocol in one direction; compared by identity."""

    subprotocol: str | None
    direction: Direction
    name: str
    meaning: Meaning
    shape: Shape
    event: str
    """Name of the span event, and of a span that covers a message alone."""


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
"""The payload of a message that has none, or one that is not an object."""

NO_ID: Final = object()
"""The id of a message that has none, or one that no host can keep (a list, an object)."""


class Message(NamedTuple):
    """A decoded message; `value` is the message as it came."""

    type: MessageType
    id: Hashable
    value: object
    payload: Mapping[str, Any] = NO_PAYLOAD

    @property
    def starts_operation(self) -> bool:
        """Whether a host can begin an operation: it has an id and a query of any type."""
        return self.may_start_operation and self.payload.get("query", NO_ID) is not NO_ID

    @property
    def may_start_operation(self) -> bool:
        """Whether a host can that looks up documents itself: it has an id and some payload."""
        return self.type.meaning is Meaning.START and self.id is not NO_ID and bool(self.payload)

    @property
    def well_formed(self) -> bool:
        """Whether the message has the shape that its subprotocol demands, in encodable strings."""
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
    """The message types of one subprotocol, or of none, where every type is unknown."""

    __slots__ = ("received", "restarts", "result", "sent", "unknown_received", "unknown_sent")

    def __init__(self, subprotocol: str | None) -> None:
        self.restarts = subprotocol == GRAPHQL_WS
        """Whether a `start` ends the live operation with its id. A `subscribe` is refused."""
        self.received: Mapping[Any, MessageType] = _types(subprotocol, "receive")
        self.sent: Mapping[Any, MessageType] = _types(subprotocol, "transmit")
        self.unknown_received = self.received[OTHER]
        """The type of what cannot be parsed, or is not a message of this subprotocol."""
        self.unknown_sent = self.sent[OTHER]
        results = (each for each in self.sent.values() if each.meaning is Meaning.RESULT)
        self.result = next(results, self.unknown_sent)
        """The type of nearly every message that is sent: a result of an operation."""

    def read(self, value: object) -> Message:
        """Decode any JSON value that was received."""
        members = _members(value)
        if members is None:
            return Message(self.unknown_received, NO_ID, value)
        name, id_ = members.get("type"), members.get("id", NO_ID)
        message_type = self.received.get(name) if isinstance(name, str) else None
        try:
            hash(id_)
        except TypeError:
            id_ = NO_ID
        payload = members.get("payload")
        if payload is not None:
            payload = _members(payload)
        return Message(message_type or self.unknown_received, id_, value, payload or NO_PAYLOAD)

    def classify_sent(self, message: Mapping[str, Any]) -> MessageType:
        """Return the type of a message that was sent, perhaps one of the application's own."""
        try:
            return self.sent[message["type"]]
        except (LookupError, TypeError):
            return self.unknown_sent


def _types(subprotocol: str | None, direction: Direction) -> dict[str, MessageType]:
    rows = _VOCABULARY.get((subprotocol or "", direction), {})
    return {
        name: MessageType(subprotocol, direction, name, *row, f"{EVENT_MESSAGE_PREFIX}{name}")
        for name, row in {**rows, OTHER: (Meaning.NONE, Shape.ANY)}.items()
    }


_VOCABULARIES: Final = {name: Vocabulary(name) for name in (GRAPHQL_TRANSPORT_WS, GRAPHQL_WS, None)}


def vocabulary(subprotocol: str | None) -> Vocabulary:
    """Return the vocabulary of a subprotocol; an unknown one has no known message type."""
    return _VOCABULARIES.get(subprotocol) or _VOCABULARIES[None]


def _members(value: object) -> Mapping[str, Any] | None:
    """Return `value` if a host can read members of it: an application decodes as it likes."""
    # Nearly all are dicts, and looking for another mapping is slow.
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

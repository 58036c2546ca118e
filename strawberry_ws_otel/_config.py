"""The options of the library, and their checks."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import wraps
from typing import Any, Final, Literal, TypeVar, get_args

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from strawberry_ws_otel._attributes import StaticAttributes, checked_attributes
from strawberry_ws_otel._close import Outcome

TraceShape = Literal["linked", "nested"]
RemoteContext = Literal["parent", "link", "ignore"]
ErrorMessages = Literal["execution", "all", "none"]

T = TypeVar("T")


def _naming_options(cls: type[T]) -> type[T]:
    """Let a dataclass answer a misspelt option with the one that was probably meant."""
    init: Any = cls.__init__

    @wraps(init)
    def __init__(self: T, *arguments: object, **options: object) -> None:  # noqa: N807  # stands for it
        known = [each.name for each in fields(self)]  # type: ignore[arg-type]  # a dataclass
        for name in (each for each in options if each not in known):
            meant = get_close_matches(name, known, n=1)
            hint = f"did you mean {meant[0]!r}?" if meant else f"there are {', '.join(known)}"
            raise TypeError(f"{cls.__name__} has no option {name!r}; {hint}")
        init(self, *arguments, **options)

    cls.__init__ = __init__  # type: ignore[assignment]  # it calls the own one
    return cls


@_naming_options
@dataclass(frozen=True, slots=True, kw_only=True)
class OTelConfig:
    """What is recorded, and where it goes.

    Raises:
        TypeError: there is no such option, or a value has the wrong type.
        ValueError: a value has the right type, but the option does not know it.
    """

    tracer_provider: TracerProvider | None = None
    """Where spans go; None: the global provider, also when it is set later."""

    meter_provider: MeterProvider | None = None
    """Where metrics go; None: the global provider, also when it is set later."""

    message_events: int = 8
    """How many message events of one type and direction a span keeps. Of the later ones it keeps
    those whose ordinal is a power of two. 0 turns message events off."""

    phase_spans: bool = True
    """Whether parsing, validation and execution of queries and mutations get spans. Those of a
    subscription would end long before it does, and have none."""

    message_spans: bool = False
    """Whether each message gets a span, in both directions. It is for development: in production,
    the message events show as much, and cost much less."""

    trace_shape: TraceShape = "linked"
    """`linked`: init and each operation are traces of their own, linked with the connection;
    `nested`: they are children of the connection span."""

    remote_context: RemoteContext = "parent"
    """What the library makes of a client's trace context: the `parent`, a `link`, or nothing
    (`ignore`). The last two are for servers that face untrusted clients."""

    segment_duration: float | None = 300
    """Seconds after which the span of a live connection, subscription or other operation is ended,
    and continued by a new one: a segment. Each segment is twice as long as the one before, up to an
    hour, or up to this time if it is longer. None: a span lasts as long as what it covers."""

    normal_outcomes: Collection[str | int] = field(default=frozenset())
    """Outcomes (`"connection_lost"`) and close codes (4100) that are normal for this application.
    Such a close has no fault, no ERROR status, no `error.type` and no log record."""

    capture_document: bool = False
    """Whether `graphql.document` is recorded; literals in it may be private."""

    error_messages: ErrorMessages = "execution"
    """Which messages of errors are recorded. `execution`: those that the application raised during
    the execution, or that ended the connection as a `server_error`. `all`: also those of
    graphql-core and Strawberry. They can quote variables, literals and results. `none`: no
    message."""

    name_spans_after_operation: bool = False
    """Whether spans are named `subscription OnPrice`. Only for a bounded set of operations."""

    setup_warnings: bool = True
    """Whether a likely mistake in the set-up is logged as a WARNING, once for a class. False is for
    who wants only a part of the library, for example the mixin without the extension."""
    attributes: Mapping[str, str | bool | int | float] = field(default_factory=StaticAttributes)
    """Attributes of everything that is recorded: all spans, metrics and log records. They tell two
    views in one process apart. Values are str, bool, int or float. On metrics, 100 sets of
    attributes in a process have counts of their own; the values of further sets are `_OTHER`."""

    def __post_init__(self) -> None:
        """Check every option."""
        _check_provider("tracer_provider", self.tracer_provider, "TracerProvider", "get_tracer")
        _check_provider("meter_provider", self.meter_provider, "MeterProvider", "get_meter")
        _check_count("message_events", self.message_events)
        _check_duration("segment_duration", self.segment_duration)
        for name in (
            "phase_spans",
            "message_spans",
            "capture_document",
            "name_spans_after_operation",
            "setup_warnings",
        ):
            if not isinstance(value := getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {value!r}")
        _check_choice("trace_shape", self.trace_shape, get_args(TraceShape))
        _check_choice("remote_context", self.remote_context, get_args(RemoteContext))
        _check_choice("error_messages", self.error_messages, get_args(ErrorMessages))
        _check_outcomes(self.normal_outcomes)
        object.__setattr__(self, "normal_outcomes", frozenset(self.normal_outcomes))
        attributes = StaticAttributes(checked_attributes("attributes", self.attributes))
        object.__setattr__(self, "attributes", attributes)


def checked(owner: type, config: object) -> OTelConfig:
    """Return the `otel_config` of a view or extension class, or raise a TypeError."""
    if not isinstance(config, OTelConfig):
        raise TypeError(f"{owner.__qualname__}.otel_config must be an OTelConfig, not {config!r}")
    return config


MISSPELT: Final = (
    "%s.%s is not read, and its options have no effect; did you mean otel_config? Then rename it"
)
"""What is logged of an attribute that `misspelt` has found in a class."""


def misspelt(owner: type, used: OTelConfig) -> str | None:
    """Return the attribute of a class that was probably meant to be its `otel_config`, if any.

    It holds an `OTelConfig` that is not the one `used`, has a similar name, and stands below the
    class that defines `otel_config`.
    """
    for cls in owner.__mro__:
        if "otel_config" in vars(cls):
            break
        for name, value in vars(cls).items():
            is_other = isinstance(value, OTelConfig) and value is not used
            if is_other and get_close_matches(name.lower(), ["otel_config"]):
                return name
    return None


def _check_provider(name: str, value: object, kind: str, method: str) -> None:
    """Check the method of a provider: a vendor's proxy need not be of the API's class."""
    if value is not None and not callable(getattr(value, method, None)):
        raise TypeError(f"{name} must be a {kind} or None for the global one, not {value!r}")


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < 0:
        raise ValueError(f"{name} must be 0 or more, not {value}; 0 turns message events off")


def _check_duration(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds or None, not {value!r}")
    if not value > 0:  # Also of NaN.
        raise ValueError(f"{name} must be more than 0 seconds, not {value}; None turns it off")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        error = ValueError if isinstance(value, str) else TypeError
        raise error(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


def _check_outcomes(value: object) -> None:
    if isinstance(value, str) or not isinstance(value, Collection):
        raise TypeError(
            "normal_outcomes must be a set of outcomes and close codes, such as"
            f" {{'connection_lost', 4100}}, not {value!r}"
        )
    for item in value:
        # RFC 6455 7.4.2: the codes of the protocol, of frameworks and of applications.
        is_code = isinstance(item, int) and item in range(1000, 5000)
        if not (is_code or (isinstance(item, str) and item in frozenset(Outcome))):
            raise ValueError(
                f"normal_outcomes knows the close codes 1000 to 4999 and {', '.join(Outcome)};"
                f" {item!r} is neither"
            )

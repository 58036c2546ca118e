"""Trace context that came from the client, and who is whose parent.

Three carriers can bring one: the handshake's headers, the payload of `connection_init`, and the
`extensions` of an operation. The configured propagator reads them (W3C, B3, baggage, ...), keys in
any case. `OTelConfig.remote_context` says what is made of it, `trace_shape` what stands in when
there is none.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import INVALID_SPAN, INVALID_SPAN_ID, SpanContext

from strawberry_ws_otel._config import OTelConfig
from strawberry_ws_otel._current import joined, placement_of
from strawberry_ws_otel._fuse import Fuse
from strawberry_ws_otel._spans import SpanRecorder, span_id

_MAX_ENTRIES: Final = 128
"""Entries of a carrier that are looked at: it is the client who decides how many there are."""

_MAX_ENTRY: Final = 8192
"""Characters of an entry, its key and value, or it is not looked at: a header holds no more, and
propagators log what is too long for them, whole."""


class Parentage(NamedTuple):
    """Where a span starts: the context that holds its parent, and what it links to."""

    context: Context
    """The context of the application, with the parent in it."""
    links: tuple[SpanContext, ...] = ()
    is_apart: bool = False
    """Whether it is not below the connection's span, and so linked with it both ways."""
    carried: Context | None = None
    """What a carrier brought beside the parent, if one did."""


class _AnyCase(Getter[Mapping[str, list[str]]]):
    """Reads a carrier whose keys were lowered."""

    def get(self, carrier: Mapping[str, list[str]], key: str) -> list[str] | None:
        return carrier.get(key.lower())

    def keys(self, carrier: Mapping[str, list[str]]) -> list[str]:
        return list(carrier)


_GETTER: Final = _AnyCase()


class MultiMapping(Protocol):
    """What the headers of a request are: a mapping that may hold a key more than once."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]:
        """Return all values of a key."""

    def __iter__(self) -> Iterator[str]: ...


class _Headers(Getter[MultiMapping]):
    """Reads the headers of a request, which know no case, without a copy of them."""

    def get(self, carrier: MultiMapping, key: str) -> list[str] | None:
        found = [value for value in carrier.getall(key, ()) if _is_field(key, value)]
        return found or None

    def keys(self, carrier: MultiMapping) -> list[str]:
        return list(dict.fromkeys(islice(carrier, _MAX_ENTRIES)))


_HEADERS: Final = _Headers()


def remote_context(carrier: Mapping[Any, Any], fuse: Fuse) -> Context | None:
    """Return the span and baggage that `carrier` brings, alone; None if it brings no span."""
    lowered: dict[str, list[str]] = {}
    for key, value in islice(carrier.items(), _MAX_ENTRIES):
        if isinstance(key, str) and isinstance(value, str) and _is_field(key, value):
            lowered.setdefault(key.lower(), []).append(value)
    return _extracted(lowered, _GETTER, fuse) if lowered else None


def _extracted(carrier: Any, getter: Getter[Any], fuse: Fuse) -> Context | None:  # noqa: ANN401  # as its getter has it
    """Ask the propagator for what `carrier` brings; its `fields` are what it injects."""
    with fuse:
        context = propagate.extract(carrier, Context(), getter)
        if span_context(context, fuse).is_valid:
            return context
    return None


def _is_field(key: str, value: str) -> bool:
    # Propagation fields are ASCII; a propagator may trip over what cannot be encoded.
    return len(key) + len(value) <= _MAX_ENTRY and value.isascii()


def span_context(context: Context, fuse: Fuse) -> SpanContext:
    """Return what identifies the span in `context`, the invalid one where there is none."""
    with fuse:
        return trace.get_current_span(context).get_span_context()
    return INVALID_SPAN.get_span_context()


def of_request(
    config: OTelConfig, current: Context, headers: Mapping[str, str], fuse: Fuse
) -> Parentage:
    """Return the parentage of a connection or an HTTP operation.

    The current span, for example that of the server's instrumentation, comes before the headers.
    """
    if config.remote_context == "ignore" or span_context(current, fuse).is_valid:
        return Parentage(current)
    remote = _extracted(headers, _HEADERS, fuse) if headers else None
    if remote is None:
        return Parentage(current)
    if config.remote_context == "parent":
        return Parentage(joined(current, remote), carried=remote)
    return Parentage(current, (span_context(remote, fuse),))


class ConnectionTrace:
    """Where what a client asks for over one connection stands in traces."""

    __slots__ = ("_carried", "_config", "_fuse", "_handshake_id", "_init", "_span")

    def __init__(
        self,
        config: OTelConfig,
        fuse: Fuse,
        span: SpanRecorder,
        handshake: Parentage,
        handshake_id: int,
    ) -> None:
        """Begin with the span of a connection.

        Args:
            config: says what a remote context is to us, and what stands in for it.
            fuse: what keeps our failures from the host.
            span: the connection's.
            handshake: where that started.
            handshake_id: the id of the span that was current at the handshake.
        """
        self._config = config
        self._fuse = fuse
        self._span = span
        self._carried = handshake.carried
        self._handshake_id = handshake_id
        self._init: Context | None = None
        """The remote context that the payload of the init brought."""

    def init(self, payload: Mapping[str, Any], application: Context) -> Parentage:
        """Return the parentage of the connection's init.

        Args:
            payload: of `connection_init`.
            application: the context of the application as the message is handled.
        """
        self._init = self._remote(payload)
        return self._parentage(self._init, application)

    def operation(self, extensions: object, application: Context) -> Parentage:
        """Return the parentage of an operation.

        Args:
            extensions: the member of that name in its payload.
            application: the context of the application as the message is handled.
        """
        own = self._remote(extensions) if isinstance(extensions, Mapping) else None
        return self._parentage(own, application)

    def link(self, child: SpanRecorder, parentage: Parentage) -> None:
        """Link the connection's span to one that is no child of it."""
        if parentage.is_apart:
            self._span.link(child)

    def _remote(self, carrier: Mapping[str, Any]) -> Context | None:
        if self._config.remote_context == "ignore":
            return None
        return remote_context(carrier, self._fuse)

    def _parentage(self, own: Context | None, application: Context) -> Parentage:
        """Find the parent.

        The message's own carrier comes first, then a span that the application has made and left
        current since the handshake, then the carrier of the init, then what `trace_shape` says.
        """
        carried = own or self._init
        links: tuple[SpanContext, ...] = (self._span.context,)
        is_left = span_id(application) not in {INVALID_SPAN_ID, self._handshake_id}
        if self._config.remote_context == "link":
            if carried is not None:
                links = (*links, span_context(carried, self._fuse))
        elif carried is not None and (own is not None or not is_left):
            return Parentage(joined(application, carried), links, is_apart=True, carried=carried)
        if is_left:
            return Parentage(application, links, is_apart=True)
        if self._config.trace_shape == "nested":
            placement = placement_of(self._span, application, self._carried)
            nested = application if placement is None else placement.context
            return Parentage(nested, links[1:], carried=self._carried)
        return Parentage(trace.set_span_in_context(INVALID_SPAN, application), links, is_apart=True)

    def forget(self) -> None:
        """Let go of what carriers brought."""
        self._init = self._carried = None

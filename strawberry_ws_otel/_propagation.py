"""Trace context that came from the client, and the parents and links of the library's spans.

Three carriers can bring a remote context: the handshake's headers, the payload of `connection_init`
and the `extensions` of an operation. The configured propagator (W3C, B3, baggage, ...) reads them,
keys in any case. `OTelConfig.remote_context` says whether its span becomes the parent or a link,
`trace_shape` where a span starts without one.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import INVALID_SPAN, INVALID_SPAN_ID, SpanContext

from strawberry_ws_otel._config import OTelConfig
from strawberry_ws_otel._current import Placement, joined, placement_of
from strawberry_ws_otel._fuse import Fuse
from strawberry_ws_otel._spans import LinkTo, SpanRecorder, span_id

_MAX_ENTRIES: Final = 128
"""Entries of a carrier that are read: the client decides how many there are."""

_MAX_ENTRY: Final = 8192
"""Characters of a key and its value; longer entries are not read. A header holds no more, and
propagators log values that are too long for them in full length."""


class Parentage(NamedTuple):
    """Where a span starts: the application's context with the parent in it, and its links."""

    context: Context
    links: tuple[LinkTo, ...] = ()
    is_apart: bool = False
    """Whether the connection's span is not its parent: then both link to each other."""
    carried: Context | None = None
    """What a carrier brought, if one did: the parent, baggage, and values of other propagators."""
    is_nested: bool = False
    """Whether the connection's span is its parent, as `trace_shape` says."""

    def of_segments(self, fuse: Fuse) -> "Parentage":
        """Return where the later segments start of a span that has started here.

        They are roots, so that a trace ends some time, and is sampled anew. What is nested stays
        below the connection's span, whose segments change, too.
        """
        links = tuple(link for link in self.links if link.kind == "remote")
        if self.is_nested:
            return Parentage(self.context, links)
        parent = span_context(self.context if self.carried is None else self.carried, fuse)
        # The application may have made it current, too.
        if self.carried is not None or (parent.is_valid and parent.is_remote):
            links = (LinkTo(parent, "remote"),)
        return Parentage(trace.set_span_in_context(INVALID_SPAN, self.context), links)


class _AnyCase(Getter[Mapping[str, list[str]]]):
    """Reads a carrier whose keys are in lower case."""

    def get(self, carrier: Mapping[str, list[str]], key: str) -> list[str] | None:
        return carrier.get(key.lower())

    def keys(self, carrier: Mapping[str, list[str]]) -> list[str]:
        return list(carrier)


class MultiMapping(Protocol):
    """The headers of a request: a mapping that may hold a key more than once."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]: ...

    def __iter__(self) -> Iterator[str]: ...


class _Headers(Getter[MultiMapping]):
    """Reads the headers of a request, which ignore case, without a copy of them."""

    def get(self, carrier: MultiMapping, key: str) -> list[str] | None:
        found = [value for value in carrier.getall(key, ()) if _is_field(key, value)]
        return found or None

    def keys(self, carrier: MultiMapping) -> list[str]:
        return list(dict.fromkeys(islice(carrier, _MAX_ENTRIES)))


def remote_context(carrier: Mapping[Any, Any], fuse: Fuse) -> Context | None:
    """Return a context with what `carrier` brings, and nothing else; None if it has no span."""
    lowered: dict[str, list[str]] = {}
    for key, value in islice(carrier.items(), _MAX_ENTRIES):
        if isinstance(key, str) and isinstance(value, str) and _is_field(key, value):
            lowered.setdefault(key.lower(), []).append(value)
    return _extracted(lowered, _AnyCase(), fuse) if lowered else None


def _extracted(carrier: Any, getter: Getter[Any], fuse: Fuse) -> Context | None:  # noqa: ANN401  # as its getter has it
    with fuse:
        context = propagate.extract(carrier, Context(), getter)
        if span_context(context, fuse).is_valid:
            return context
    return None


def _is_field(key: str, value: str) -> bool:
    # Propagation fields are ASCII; a propagator may trip over what cannot be encoded.
    return len(key) + len(value) <= _MAX_ENTRY and value.isascii()


def span_context(context: Context, fuse: Fuse) -> SpanContext:
    """Return the `SpanContext` of the span in `context`, the invalid one where there is none."""
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
    remote = _extracted(headers, _Headers(), fuse) if headers else None
    if remote is None:
        return Parentage(current)
    if config.remote_context == "parent":
        return Parentage(joined(current, remote), carried=remote)
    return Parentage(current, (LinkTo(span_context(remote, fuse), "remote"),))


class ConnectionTrace:
    """Finds the parents and links of the spans of one connection."""

    __slots__ = ("_carried", "_config", "_fuse", "_handshake_id", "_init", "_span")

    def __init__(
        self,
        config: OTelConfig,
        fuse: Fuse,
        span: SpanRecorder,
        handshake: Parentage,
        handshake_id: int,
    ) -> None:
        """Take the connection's `span`, its parentage, and the id of the current span before it."""
        self._config = config
        self._fuse = fuse
        self._span = span
        self._carried = handshake.carried
        self._handshake_id = handshake_id
        self._init: Context | None = None
        """The remote context that the payload of `connection_init` brought."""

    def init(self, payload: Mapping[str, Any], application: Context) -> Parentage:
        """Return the parentage of the init, which is handled in the context `application`."""
        self._init = self._remote(payload)
        return self._parentage(self._init, application)

    def operation(self, extensions: object, application: Context) -> Parentage:
        """Return the parentage of an operation, which is handled in the context `application`."""
        own = self._remote(extensions) if isinstance(extensions, Mapping) else None
        return self._parentage(own, application)

    def placement(self, application: Context) -> Placement | None:
        """Put the connection's span on top of the context `application`, if it has an id."""
        return placement_of(self._span, application, self._carried)

    def link(self, parentage: Parentage, child: LinkTo) -> None:
        """Link the connection's span to one that is no child of it."""
        if parentage.is_apart:
            self._span.link(child)

    def _remote(self, carrier: Mapping[str, Any]) -> Context | None:
        if self._config.remote_context == "ignore":
            return None
        return remote_context(carrier, self._fuse)

    def _parentage(self, own: Context | None, application: Context) -> Parentage:
        """Return the parentage of what a message begins whose carrier brought `own`.

        The parent is the first of these that there is: the span of `own`, a span that the
        application has made current since the handshake, the span that `connection_init` carried,
        what `trace_shape` says.
        """
        carried = own or self._init
        links: tuple[LinkTo, ...] = (LinkTo(self._span.context, "connection"),)
        has_span = span_id(application) not in {INVALID_SPAN_ID, self._handshake_id}
        if self._config.remote_context == "link":
            if carried is not None:
                links = (*links, LinkTo(span_context(carried, self._fuse), "remote"))
        elif carried is not None and (own is not None or not has_span):
            return Parentage(joined(application, carried), links, is_apart=True, carried=carried)
        if has_span:
            return Parentage(application, links, is_apart=True)
        if self._config.trace_shape == "nested":
            placement = self.placement(application)
            nested = application if placement is None else placement.context
            return Parentage(nested, links[1:], carried=self._carried, is_nested=True)
        return Parentage(trace.set_span_in_context(INVALID_SPAN, application), links, is_apart=True)

    def forget(self) -> None:
        """Let go of what carriers brought."""
        self._init = self._carried = None

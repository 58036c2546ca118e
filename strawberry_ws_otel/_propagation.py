"""Trace context that came from the client, and who is whose parent.

Three carriers can bring one: the handshake's headers, the payload of `connection_init`, and the
`extensions` of an operation. The configured propagator reads them (W3C, B3, baggage, ...), keys in
any case. `OTelConfig.remote_context` says what is made of it, `trace_shape` what stands in when
there is none.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import INVALID_SPAN, SpanContext

from strawberry_ws_otel._config import OTelConfig
from strawberry_ws_otel._failsafe import Fuse

_MAX_ENTRIES: Final = 128
"""Entries of a carrier that are looked at: it is the client who decides how many there are."""

_MAX_ENTRY: Final = 8192
"""Characters of an entry, its key and value, or it is not looked at: a header holds no more, and
propagators log what is too long for them, whole."""


class Parentage(NamedTuple):
    """Where a span starts: the context that holds its parent, and what it links to."""

    context: Context
    """With all that the application has put into its own."""
    links: tuple[SpanContext, ...] = ()
    apart: bool = False
    """Whether it is apart from the connection's trace, and so linked with it both ways."""
    without: Context | None = None
    """The context without what a carrier brought, if one did."""

    @property
    def applications(self) -> Context:
        """The context of the application, in which no carrier has put anything."""
        return self.context if self.without is None else self.without


class _AnyCase(Getter[Mapping[str, list[str]]]):
    """Reads a carrier whose keys were lowered."""

    def get(self, carrier: Mapping[str, list[str]], key: str) -> list[str] | None:
        return carrier.get(key.lower())

    def keys(self, carrier: Mapping[str, list[str]]) -> list[str]:
        return list(carrier)


_GETTER: Final = _AnyCase()


def remote_context(carrier: Mapping[Any, Any], fuse: Fuse) -> Context | None:
    """Return the span and baggage that `carrier` brings, alone; None if it brings no span."""
    lowered: dict[str, list[str]] = {}
    for key, value in islice(carrier.items(), _MAX_ENTRIES):
        if isinstance(key, str) and isinstance(value, str) and _is_field(key, value):
            lowered.setdefault(key.lower(), []).append(value)
    if not lowered:
        return None
    with fuse:
        context = propagate.extract(lowered, Context(), _GETTER)
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


def detached(context: Context) -> Context:
    """Return `context` without its span."""
    return trace.set_span_in_context(INVALID_SPAN, context)


def joined(context: Context, carried: Context) -> Context:
    """Return `context` with what a carrier brought; its own baggage stays as it is."""
    entries = {**baggage.get_all(carried), **baggage.get_all(context)}
    return _with_baggage(Context({**context, **carried}), entries)


def rebased(current: Context, ours: Context, base: Context) -> Context:
    """Return `base` with what the application has changed on the way from `ours` to `current`."""
    if current is ours:
        return base
    changed = {key: value for key, value in current.items() if ours.get(key) is not value}
    return _with_baggage(Context({**base, **changed}), _baggage_since(current, ours, base))


def _baggage_since(current: Context, ours: Context, base: Context) -> dict[str, object]:
    """Return the same for the entries of baggage, which are one value of a context."""
    now, before = baggage.get_all(current), baggage.get_all(ours)
    kept = {
        name: value
        for name, value in baggage.get_all(base).items()
        if name in now or name not in before
    }
    return kept | {name: value for name, value in now.items() if before.get(name) != value}


def _with_baggage(context: Context, entries: Mapping[str, object]) -> Context:
    if baggage.get_all(context) == entries:
        return context
    context = baggage.clear(context)
    for name, value in entries.items():
        context = baggage.set_baggage(name, value, context)
    return context


def of_request(
    config: OTelConfig, current: Context, headers: Mapping[str, str], fuse: Fuse
) -> Parentage:
    """Return the parentage of a connection or an HTTP operation.

    The current span, say that of the server's instrumentation, comes before the headers.
    """
    if config.remote_context == "ignore" or span_context(current, fuse).is_valid:
        return Parentage(current)
    remote = remote_context(headers, fuse) if _may_carry(headers, fuse) else None
    if remote is None:
        return Parentage(current)
    if config.remote_context == "parent":
        return Parentage(joined(current, remote), without=current)
    return Parentage(current, (span_context(remote, fuse),))


def _may_carry(headers: Mapping[str, str], fuse: Fuse) -> bool:
    """Whether one of the propagator's fields is among the headers, which know no case."""
    with fuse:
        return any(field in headers for field in propagate.get_global_textmap().fields)
    return False


def within_connection(  # noqa: PLR0913, PLR0917  # all that may be a parent
    config: OTelConfig,
    connection: Context,
    application: Context,
    span: SpanContext,
    carried: Context | None,
    fuse: Fuse,
) -> Parentage:
    """Return the parentage of a connection's init or operation.

    Args:
        config: says what a remote context is to us, and what stands in for it.
        connection: the context in which the connection is served.
        application: the same without the connection's span, and without what the handshake brought.
        span: what identifies the connection's span.
        carried: the remote context that the first carrier which has one brought.
        fuse: what keeps our failures from the host.
    """
    links: tuple[SpanContext, ...] = (span,)
    if carried is not None and config.remote_context == "parent":
        return Parentage(joined(application, carried), links, apart=True)
    if carried is not None and config.remote_context == "link":
        links = (span, span_context(carried, fuse))
    if config.trace_shape == "nested":
        return Parentage(connection, links[1:])
    return Parentage(detached(application), links, apart=True)

"""The spans that a test expects, as plain dicts, and those that were recorded, to compare.

A span is called by its name, also in links and as a parent. The second of a name in a test is
`name 2`. Connections are `c1`, `c2`, ... in the order of their start.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind

from tests.support.scenarios.model import Verdict, by_client
from tests.support.scenarios.steps import COMPLETE, LEGACY, SUBSCRIBE, TRANSPORT
from tests.support.telemetry import Telemetry

SpanDict = dict[str, Any]
Event = tuple[str, dict[str, Any]]

CONNECTION = "GraphQL WebSocket Connection"
INIT = "GraphQL WebSocket Connection Init"
OPERATION = "GraphQL Operation"
PARSING = "GraphQL Document Parsing"
VALIDATION = "GraphQL Document Validation"
EXECUTION = "GraphQL Operation Execution"
NORMAL = by_client("normal", 1000)
RESULT = {TRANSPORT: "next", LEGACY: "data"}


def span(  # noqa: PLR0913  # all that a span has
    name: str,
    *,
    kind: str = "SERVER",
    parent: str | None = None,
    links: Iterable[str] = (),
    attributes: Mapping[str, Any] | None = None,
    events: Iterable[Event] = (),
    error: str | None = None,
    description: str | None = None,
) -> SpanDict:
    """A span, failed if there is an `error`; attributes that are None are not there."""
    return {
        "name": name,
        "kind": kind,
        "parent": parent,
        "links": list(links),
        "attributes": present({**(attributes or {}), "error.type": error}),
        "events": list(events),
        "status": "ERROR" if error else "UNSET",
        "description": description,
    }


def present(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if value is not None}


ONE_SEGMENT: Final = {"graphql.ws.segment.number": 0, "graphql.ws.duration": 0.0}
"""Of a connection or an operation that ends before its first segment is due."""


def phases(parent: str, *names: str) -> list[SpanDict]:
    return [span(name, kind="INTERNAL", parent=parent) for name in names]


def received(message_type: str, sequence: int = 1) -> Event:
    return _message(message_type, "receive", sequence)


def sent(message_type: str, sequence: int = 1) -> Event:
    return _message(message_type, "transmit", sequence)


def _message(message_type: str, direction: str, sequence: int) -> Event:
    return (
        f"graphql.ws.{message_type}",
        {"network.io.direction": direction, "graphql.ws.message.sequence": sequence},
    )


GREETING = (received("connection_init"), sent("connection_ack"))


def exception_events(verdict: Verdict) -> list[Event]:
    """The exception that made the close a `server_error`, if one did."""
    if verdict.outcome != "server_error" or verdict.error is None:
        return []
    attributes = {"exception.type": verdict.error, "exception.message": verdict.message}
    return [("exception", present(attributes))]


def close_event(verdict: Verdict) -> Event:
    return (
        "websocket.close",
        present(
            {
                "websocket.close.code": verdict.code,
                "websocket.close.reason": verdict.reason or None,
                "websocket.close.initiator": verdict.initiator,
                "websocket.close.outcome": verdict.outcome,
            }
        ),
    )


def closing(verdict: Verdict) -> dict[str, Any]:
    """The attributes of a close."""
    return present(
        {
            "http.response.status_code": verdict.http_status,
            "websocket.close.code": verdict.code,
            "websocket.close.reason": verdict.reason or None,
            "websocket.close.initiator": verdict.initiator,
            "websocket.close.clean": verdict.clean,
            "websocket.close.outcome": verdict.outcome,
            "websocket.close.fault": verdict.fault,
            "websocket.close.sent_code": verdict.sent,
            "websocket.close.received_code": verdict.received,
        }
    )


def connection(  # noqa: PLR0913  # all that a connection has
    protocol: str | None = TRANSPORT,
    verdict: Verdict = NORMAL,
    *,
    messages: tuple[int, int],
    operations: Iterable[str] = (),
    interrupted: int = 0,
    acknowledged: bool = True,
    parent: str | None = None,
    links: Iterable[str] | None = None,
    events: Iterable[Event] = GREETING,
    idle: float | None = 0.0,
    id_: str = "c1",
    **attributes: Any,
) -> SpanDict:
    """A connection of the client in `tests.support.raw_client`.

    Args:
        protocol: the negotiated subprotocol.
        verdict: how it closed.
        messages: how many were received and sent.
        operations: the spans of its operations.
        interrupted: how many of them died with it.
        acknowledged: whether the host sent an ack.
        parent: of the span.
        links: of the span, where they are not its init and its operations.
        events: of the span before the close, and before the exception that caused it.
        idle: seconds since the last message of the client.
        id_: which connection it is.
        attributes: further ones.
    """
    operations = list(operations)
    return span(
        CONNECTION,
        parent=parent,
        links=[INIT, *operations] if links is None else links,
        attributes={
            "websocket.connection.id": id_,
            "network.protocol.name": "websocket",
            "websocket.subprotocol": protocol,
            "url.path": "/graphql",
            "http.route": "/graphql",
            "server.address": "tests.local",
            "server.port": 8000,
            "client.address": "127.0.0.1",
            "user_agent.original": "wire/1.0",
            **closing(verdict),
            "graphql.ws.messages.received": messages[0],
            "graphql.ws.messages.sent": messages[1],
            "graphql.ws.operation.count": len(operations),
            "graphql.ws.operation.interrupted_count": interrupted,
            "graphql.ws.acknowledged": acknowledged,
            "graphql.ws.receive_idle_time": idle,
            "graphql.ws.send_idle_time": 0.0 if messages[1] else None,
            **ONE_SEGMENT,
            **attributes,
        },
        events=[*events, *exception_events(verdict), close_event(verdict)],
        error=verdict.error_type,
        description=f"closed abnormally: {verdict.outcome}" if verdict.abnormal else None,
    )


def init(
    *,
    parent: str | None = None,
    links: Iterable[str] = (CONNECTION,),
    error: str | None = None,
    id_: str = "c1",
    route: str | None = "/graphql",
) -> SpanDict:
    attributes = present({"websocket.connection.id": id_, "http.route": route})
    return span(INIT, parent=parent, links=links, attributes=attributes, error=error)


_OF_THE_END: Final = frozenset(
    {
        "error.type",
        "graphql.ws.duration",
        "graphql.ws.operation.end_reason",
        "graphql.ws.operation.interrupted_count",
        *closing(by_client("normal", 1000, "of the last segment alone")),
    }
)


def segment(  # noqa: PLR0913  # all in which it differs
    last: SpanDict,
    number: int,
    *,
    links: Iterable[str],
    events: Iterable[Event] = (),
    parent: str | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> SpanDict:
    """A segment before the `last`, from which it differs also in these attributes."""
    return {
        **last,
        "parent": parent,
        "links": list(links),
        "attributes": {
            **{key: value for key, value in last["attributes"].items() if key not in _OF_THE_END},
            "graphql.ws.segment.number": number,
            "graphql.ws.segment.continued": True,
            **(attributes or {}),
        },
        "events": list(events),
        "status": "UNSET",
        "description": None,
    }


def hashed(document: str) -> str:
    return f"sha256:{sha256(document.encode()).hexdigest()}"


def first_word(document: str) -> str:
    return document.split(maxsplit=1)[0]


def operation(  # noqa: PLR0913  # all that an operation has
    document: str,
    reason: str,
    *,
    protocol: str = TRANSPORT,
    id_: str = "a",
    name: str | None = None,
    known: bool = True,
    results: int = 0,
    events: Iterable[Event] = (),
    errors: int | None = None,
    verdict: Verdict | None = None,
    error: str | None = None,
    description: str | None = None,
    parent: str | None = None,
    links: Iterable[str] = (CONNECTION,),
    connection_id: str = "c1",
    route: str | None = "/graphql",
    **attributes: Any,
) -> SpanDict:
    """An operation over a WebSocket.

    Args:
        document: what the client asked for.
        reason: its end reason.
        protocol: the subprotocol.
        id_: the client's id.
        name: of the operation.
        known: whether its type became known.
        results: how many were sent.
        events: of the span between its first message and its end.
        errors: how many GraphQL errors there were.
        verdict: over the close that ended it.
        error: class of its failure.
        description: of the ERROR status.
        parent: of the span.
        links: of the span.
        connection_id: which connection it belongs to.
        route: that the request matched; None if no view serves the operation.
        attributes: further ones.
    """
    type_ = first_word(document) if known else None
    return span(
        type_ or OPERATION,
        parent=parent,
        links=links,
        attributes={
            "graphql.operation.type": type_,
            "graphql.operation.name": name,
            "graphql.document.hash": hashed(document),
            "websocket.connection.id": connection_id,
            "http.route": route,
            "graphql.ws.operation.id": id_,
            "graphql.subscription.id": f"{connection_id}-{id_}"
            if type_ == "subscription"
            else None,
            "graphql.ws.operation.end_reason": reason,
            "websocket.close.outcome": verdict.outcome if verdict else None,
            "websocket.close.code": verdict.code if verdict else None,
            "graphql.ws.results": results,
            "graphql.ws.time_to_first_result": 0.0 if results else None,
            "graphql.error.count": errors,
            **ONE_SEGMENT,
            **attributes,
        },
        events=[received(SUBSCRIBE[protocol]), *events],
        error=error,
        description=description,
    )


def results_of(protocol: str, *sequence: int) -> list[Event]:
    return [sent(RESULT[protocol], number) for number in sequence]


def stopped(protocol: str) -> Event:
    return received(COMPLETE[protocol])


def recorded(telemetry: Telemetry, *names: str) -> list[SpanDict]:
    """The spans that ended (those of these names), in the order of their start.

    Whatever hangs together shares a trace, and nothing else does.
    """
    spans = telemetry.spans()
    labels = _labels(spans)
    _assert_traces(spans)
    ids = _connection_ids(spans)
    return [_span_dict(span, labels, ids) for span in spans if not names or span.name in names]


def _labels(spans: Iterable[ReadableSpan]) -> dict[int, str]:
    seen: Counter[str] = Counter()
    labels = {}
    for each in spans:
        seen[each.name] += 1
        ordinal = f" {seen[each.name]}" if seen[each.name] > 1 else ""
        labels[_context(each).span_id] = f"{each.name}{ordinal}"
    return labels


def _assert_traces(spans: Iterable[ReadableSpan]) -> None:
    traces = {_context(each).span_id: _context(each).trace_id for each in spans}
    roots = [_context(each).trace_id for each in spans if each.parent is None]
    assert len(roots) == len(set(roots))
    for each in spans:
        if each.parent is not None:
            assert _context(each).trace_id == each.parent.trace_id
            assert traces.get(each.parent.span_id, each.parent.trace_id) == each.parent.trace_id


def _connection_ids(spans: Iterable[ReadableSpan]) -> dict[str, str]:
    # Each segment of a connection has its id.
    ids = dict.fromkeys(
        str((each.attributes or {})["websocket.connection.id"])
        for each in spans
        if each.name == CONNECTION
    )
    assert all(len(bytes.fromhex(id_)) == 8 for id_ in ids)
    return {id_: f"c{number}" for number, id_ in enumerate(ids, start=1)}


def _span_dict(each: ReadableSpan, labels: Mapping[int, str], ids: Mapping[str, str]) -> SpanDict:
    for link in each.links:
        if each.kind is SpanKind.SERVER:
            _assert_link(link, labels.get(_context(each).span_id, ""), labels)
    return {
        "name": each.name,
        "kind": each.kind.name,
        "parent": None if each.parent is None else _label(each.parent, labels),
        "links": [_label(link.context, labels) for link in each.links],
        "attributes": {key: _masked(value, ids) for key, value in (each.attributes or {}).items()},
        "events": [(event.name, dict(event.attributes or {})) for event in each.events],
        "status": each.status.status_code.name,
        "description": each.status.description,
    }


def _assert_link(link: Link, origin: str, labels: Mapping[int, str]) -> None:
    """Every link of ours says what it leads to, from the span `origin`."""
    attributes = dict(link.attributes or {})
    kind = attributes.pop("graphql.ws.link")
    # An application may have renamed the span: `my query`.
    target = labels.get(link.context.span_id, "")
    if link.context.is_remote or not target:
        assert kind == "remote"
    elif INIT in target:
        assert kind == "init"
    elif CONNECTION in target:
        assert kind == ("segment" if _is_connection(origin) else "connection")
    elif not _is_connection(origin):
        assert kind == "segment"
    else:
        assert kind == "operation"
        attributes.pop("graphql.operation.name", None)
    assert attributes == {}


def _is_connection(label: str) -> bool:
    return CONNECTION in label and INIT not in label


def _label(context: SpanContext, labels: Mapping[int, str]) -> str:
    """The name of a span of this process, or the trace and span of one elsewhere."""
    return labels.get(context.span_id, f"{context.trace_id:032x}-{context.span_id:016x}")


def _masked(value: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        head, dash, tail = value.partition("-")
        return f"{ids.get(head, head)}{dash}{tail}"
    return value


def _context(each: ReadableSpan) -> SpanContext:
    context: SpanContext | None = each.context
    assert context is not None
    return context


def executed(  # noqa: PLR0913  # all that an operation has
    document: str,
    *,
    span_name: str | None = None,
    name: str | None = None,
    known: bool = True,
    errors: int | None = None,
    error: str | None = None,
    events: Iterable[Event] = (),
    parent: str | None = None,
    links: Iterable[str] = (),
    route: str | None = "/graphql",
    **attributes: Any,
) -> SpanDict:
    """An operation that no message of the client's began; what it takes is as for `operation`."""
    type_ = first_word(document) if known else None
    return span(
        span_name or type_ or OPERATION,
        parent=parent,
        links=links,
        attributes={
            "graphql.operation.type": type_,
            "graphql.operation.name": name,
            "graphql.document.hash": hashed(document),
            "http.route": route,
            "graphql.error.count": errors,
            **(ONE_SEGMENT if type_ == "subscription" else {}),
            **attributes,
        },
        events=events,
        error=error,
    )


def standalone(document: str, **others: Any) -> SpanDict:
    """An operation that no view of ours serves; what it takes is as for `executed`."""
    return executed(document, route=None, **others)

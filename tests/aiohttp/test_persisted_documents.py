"""Operations whose document the client does not send: they are the connection's like any other."""

from collections.abc import Callable
from typing import Any

import pytest

from strawberry_ws_otel import OTelExtension
from tests.support.applications.conversations import (
    ACTIVE,
    DURATION,
    QUERY,
    REQUESTS,
    both,
    clients,
    forever,
    operations,
    others,
    play,
    rejected,
    served_by,
    ticks,
)
from tests.support.applications.persisted_documents import (
    FIELDS,
    HASHES,
    LAYERS,
    AsItIsBegun,
    AsItIsParsed,
    AsItIsRun,
    InAnExtension,
    InTheAdapter,
    InTheSchema,
    as_a_name,
    as_the_query,
    asks,
    in_extensions,
    in_the_payload,
)
from tests.support.applications.policy_queries import (
    Ask,
    before_it_is_begun,
    before_it_is_run,
    execute,
    stream,
)
from tests.support.applications.reading_tasks import Deferring, Pooled, Queued
from tests.support.applications.serving_tasks import schemas
from tests.support.clock import stop_clock
from tests.support.expected import (
    CONNECTION,
    EXECUTION,
    OPERATION,
    PARSING,
    VALIDATION,
    SpanDict,
    closing,
    connection,
    executed,
    hashed,
    init,
    operation,
    phases,
    recorded,
    results_of,
    sent,
    standalone,
    stopped,
)
from tests.support.hosting import hosting, part
from tests.support.raw_client import Client
from tests.support.scenarios.model import BOTH, by_client, by_server, without_frames
from tests.support.scenarios.steps import COMPLETE, LEGACY, TRANSPORT
from tests.support.schema import FOREVER, HELLO, TICKS, make_schema
from tests.support.telemetry import Telemetry
from tests.support.views import View, extension, instrumented

REMOTE = f"{0xC:032x}-{0xC1:016x}"
Fields = Callable[[str], dict[str, Any]]
protocols = pytest.mark.parametrize("protocol", BOTH)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


def by(fields: Fields) -> Callable[[Client], Any]:
    """A client that asks for ticks by these fields, and leaves when it has heard two."""

    async def talk(client: Client) -> None:
        client.json(asks(client, "a", fields(HASHES[TICKS]), to=2))
        await client.message("complete")
        await part(client)

    return talk


def unhashed(spans: list[SpanDict]) -> list[SpanDict]:
    """Spans without the hash of their document, of which a test of its own speaks."""
    for each in spans:
        each["attributes"].pop("graphql.document.hash", None)
    return spans


def conversation(protocol: str) -> list[SpanDict]:
    """What is recorded of the connection of that client."""
    return unhashed(
        [
            connection(protocol, messages=(2, 4), operations=["subscription"]),
            init(),
            ticks(protocol),
        ]
    )


def assert_one(telemetry: Telemetry, protocol: str) -> None:
    """It was answered with an error, and counted once."""
    assert unhashed(recorded(telemetry)) == conversation(protocol)
    assert telemetry.total(DURATION) == 1
    assert telemetry.total(DURATION, {"graphql.ws.operation.end_reason": "completed"}) == 1
    assert telemetry.total(ACTIVE) == 0
    assert telemetry.total(REQUESTS) == 0


# --- Fields, and places to look the document up ----------------------------------------------


@pytest.mark.parametrize("fields", FIELDS)
@protocols
async def test_an_operation_is_recorded_by_whichever_field_it_is_asked_for(
    telemetry: Telemetry, fields: Fields, protocol: str
) -> None:
    await both(telemetry, served_by(AsItIsBegun), by(fields), protocol)
    assert_one(telemetry, protocol)


@pytest.mark.parametrize("fields", [in_extensions, as_the_query])
@pytest.mark.parametrize("layer", [each for each in LAYERS if each is not AsItIsBegun])
@protocols
async def test_an_operation_is_recorded_wherever_the_handler_looks_its_document_up(
    telemetry: Telemetry, layer: type, fields: Fields, protocol: str
) -> None:
    await both(telemetry, served_by(layer), by(fields), protocol)
    assert_one(telemetry, protocol)


@protocols
async def test_an_operation_is_recorded_if_the_adapter_looks_its_document_up(
    telemetry: Telemetry, protocol: str
) -> None:
    await both(telemetry, InTheAdapter, by(in_extensions), protocol)
    assert_one(telemetry, protocol)


@protocols
async def test_an_operation_is_recorded_if_its_document_is_looked_up_as_it_is_run(
    telemetry: Telemetry, protocol: str
) -> None:
    await both(telemetry, served_by(AsItIsRun), by(as_the_query), protocol)
    assert_one(telemetry, protocol)


@protocols
async def test_an_operation_is_recorded_if_the_schema_looks_its_document_up(
    telemetry: Telemetry, protocol: str
) -> None:
    await both(telemetry, View, by(as_the_query), protocol, schema=schemas(InTheSchema))
    assert_one(telemetry, protocol)


@pytest.mark.parametrize("finder", [InAnExtension, AsItIsParsed])
@pytest.mark.parametrize("order", [1, -1], ids=["ours last", "ours first"])
@protocols
async def test_an_operation_is_recorded_if_an_extension_looks_its_document_up(
    telemetry: Telemetry, finder: Any, order: int, protocol: str
) -> None:
    extensions = (finder, OTelExtension)[::order]
    await both(telemetry, View, by(as_the_query), protocol, extensions=extensions)
    assert_one(telemetry, protocol)


# --- The document that was found -------------------------------------------------------------


@pytest.mark.parametrize("fields", [in_extensions, as_a_name, as_the_query])
@protocols
async def test_the_document_that_is_recorded_is_the_one_that_was_found(
    telemetry: Telemetry, fields: Fields, protocol: str
) -> None:
    view = instrumented(telemetry, served_by(AsItIsBegun), capture_document=True)
    await play(view, make_schema(OTelExtension), by(fields), protocol)
    captured: dict[str, Any] = {"graphql.document": TICKS}
    assert operations(telemetry) == [ticks(protocol, **captured)]


# --- Ends ------------------------------------------------------------------------------------


@protocols
async def test_such_operations_are_stopped_left_and_rejected_as_others_are(
    telemetry: Telemetry, protocol: str
) -> None:
    async def talk(client: Client) -> None:
        forever_ = in_extensions(HASHES[FOREVER])
        client.json(asks(client, "a", forever_))
        await client.message("next", "data")
        client.json({"id": "a", "type": COMPLETE[protocol]})
        client.json(asks(client, "b", forever_))
        await client.message("next", "data")
        client.json(asks(client, "c", forever_))
        await client.message("error")
        await part(client)

    view = served_by(AsItIsBegun)
    await both(telemetry, view, talk, protocol, max_subscriptions_per_connection=1)
    stop = [*results_of(protocol, 1), stopped(protocol)]
    verdict = by_client("normal", 1000)
    rejected = operation(
        FOREVER,
        "rejected",
        protocol=protocol,
        id_="c",
        known=False,
        events=[sent("error")],
        error="rejected",
    )
    assert unhashed(operations(telemetry)) == unhashed(
        [
            forever(protocol, "a", "client_completed", events=stop),
            forever(protocol, "b", "connection_closed", verdict=verdict),
            rejected,
        ]
    )
    [connected] = recorded(telemetry, CONNECTION)
    assert connected["attributes"]["graphql.ws.operation.count"] == 3
    assert connected["attributes"]["graphql.ws.operation.interrupted_count"] == 1


async def test_a_query_without_a_document_is_recorded(telemetry: Telemetry) -> None:
    async def talk(client: Client) -> None:
        client.json(asks(client, "a", in_extensions(HASHES[HELLO])))
        await client.message("complete")
        await part(client)

    await both(telemetry, served_by(AsItIsBegun), talk)
    events = [*results_of(TRANSPORT, 1), sent("complete")]
    assert unhashed(recorded(telemetry)) == unhashed(
        [
            connection(messages=(2, 3), operations=["query"]),
            init(),
            operation(HELLO, "completed", name="Hello", results=1, events=events),
            *phases("query", PARSING, VALIDATION, EXECUTION),
        ]
    )
    assert telemetry.total(REQUESTS, QUERY) == 1


@protocols
async def test_such_operations_that_are_asked_for_at_once_are_kept_apart(
    telemetry: Telemetry, protocol: str
) -> None:
    async def talk(client: Client) -> None:
        client.json(
            asks(client, "a", in_extensions(HASHES[FOREVER])),
            asks(client, "b", in_the_payload(HASHES[TICKS]), to=2),
        )
        await client.message("complete")
        await part(client)

    await both(telemetry, served_by(AsItIsBegun), talk, protocol)
    verdict = by_client("normal", 1000)
    assert unhashed(operations(telemetry)) == unhashed(
        [
            forever(protocol, "a", "connection_closed", verdict=verdict),
            ticks(protocol, id_="b"),
        ]
    )


@protocols
async def test_such_an_operation_before_the_ack_is_rejected(
    telemetry: Telemetry, protocol: str
) -> None:
    """The host refuses it before it looks for a document."""

    async def talk(client: Client) -> None:
        client.json(asks(client, "a", in_extensions(HASHES[TICKS]), to=2))

    view = served_by(AsItIsBegun)
    await both(telemetry, view, talk, protocol, abnormal=1, greets=False)
    verdict = by_server("unauthorized", 4401, "Unauthorized", echo=4401)
    [connected] = recorded(telemetry, CONNECTION)
    assert connected["attributes"].items() >= closing(verdict).items()
    assert connected["attributes"]["graphql.ws.operation.count"] == 1
    assert operations(telemetry) == unhashed(
        [operation(TICKS, "rejected", protocol=protocol, known=False, error="rejected")]
    )


@protocols
async def test_the_extensions_that_bring_the_hash_may_bring_the_parent(
    telemetry: Telemetry, protocol: str
) -> None:
    def fields(hash_: str) -> dict[str, Any]:
        return in_extensions(hash_, traceparent=f"00-{REMOTE}-01")

    await both(telemetry, served_by(AsItIsBegun), by(fields), protocol)
    assert unhashed(operations(telemetry)) == unhashed([ticks(protocol, parent=REMOTE)])


# --- Together with other things --------------------------------------------------------------


@pytest.mark.parametrize("way", [Queued, Pooled, Deferring])
@protocols
async def test_such_an_operation_is_recorded_whoever_pulls_the_messages(
    telemetry: Telemetry, way: type, protocol: str
) -> None:
    await both(telemetry, served_by(AsItIsBegun, way), by(in_extensions), protocol)
    assert_one(telemetry, protocol)


@pytest.mark.parametrize("ask", [execute, stream])
@pytest.mark.parametrize("place", [before_it_is_begun, before_it_is_run])
@protocols
async def test_a_policy_query_is_not_such_an_operation(
    telemetry: Telemetry, place: Callable[[Ask], type], ask: Ask, protocol: str
) -> None:
    await both(telemetry, served_by(place(ask), AsItIsBegun), by(in_extensions), protocol)
    assert unhashed(clients(telemetry)) == unhashed([ticks(protocol)])
    [own] = others(telemetry)
    assert (own["name"], own["parent"]) == ("query", "subscription")


@protocols
async def test_the_mixin_alone_records_such_an_operation(
    telemetry: Telemetry, protocol: str
) -> None:
    await both(telemetry, served_by(AsItIsBegun), by(in_extensions), protocol, extensions=())
    events = [*results_of(protocol, 1, 2), sent("complete")]
    assert unhashed(recorded(telemetry)) == unhashed(
        [
            connection(protocol, messages=(2, 4), operations=[OPERATION]),
            init(),
            operation(TICKS, "completed", protocol=protocol, known=False, results=2, events=events),
        ]
    )


@protocols
async def test_the_extension_alone_records_such_an_operation(
    telemetry: Telemetry, protocol: str
) -> None:
    view = served_by(AsItIsBegun)
    await play(view, make_schema(extension(telemetry)), by(in_extensions), protocol)
    assert recorded(telemetry) == [
        standalone(TICKS, name="Ticks"),
    ]


# --- Documents that nobody knows -------------------------------------------------------------


@protocols
async def test_a_document_may_be_registered_after_it_was_asked_for_in_vain(
    telemetry: Telemetry, protocol: str
) -> None:
    """The client gets an error, and asks again with the document: automatic persisted queries."""

    class Registering:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.store: dict[str, str] = {}

        async def completed(self, message: Any) -> Any:
            handler: Any = self
            payload = message["payload"]
            hash_ = payload["extensions"]["persistedQuery"]["sha256Hash"]
            if "query" in payload:
                self.store[hash_] = payload["query"]
            if hash_ in self.store:
                return {**message, "payload": {**payload, "query": self.store[hash_]}}
            error: Any = {"message": "PersistedQueryNotFound"}
            said = error if message["type"] == "start" else [error]
            await handler.send_message({"id": message["id"], "type": "error", "payload": said})
            return None

        async def handle_subscribe(self, message: Any) -> None:
            if found := await self.completed(message):
                await super().handle_subscribe(found)  # type: ignore[misc]  # the host's

        async def handle_start(self, message: Any) -> None:
            if found := await self.completed(message):
                await super().handle_start(found)  # type: ignore[misc]  # the host's

    async def talk(client: Client) -> None:
        asked = asks(client, "a", in_extensions("ffff"), to=2)
        client.json(asked)
        await client.message("error")
        client.json({**asked, "payload": {**asked["payload"], "query": TICKS}})
        await client.message("complete")
        client.json({**asked, "id": "b"})
        await client.message("complete")
        await part(client)

    await both(telemetry, served_by(Registering), talk, protocol)
    assert unhashed(operations(telemetry)) == unhashed(
        [rejected(protocol), ticks(protocol), ticks(protocol, id_="b")]
    )
    [connected] = recorded(telemetry, CONNECTION)
    assert connected["attributes"]["graphql.ws.operation.count"] == 3


@protocols
async def test_a_document_that_nobody_knows_is_the_client_s_fault_if_the_handler_closes(
    telemetry: Telemetry, protocol: str
) -> None:
    class Closing:
        async def refuse(self, message: Any) -> None:
            handler: Any = self
            await handler.websocket.close(code=4400, reason="Unknown document")

        handle_subscribe = handle_start = refuse

    async def talk(client: Client) -> None:
        client.json(asks(client, "a", in_extensions("ffff"), to=2))

    await both(telemetry, served_by(Closing), talk, protocol, abnormal=1)
    verdict = by_server("invalid_message", 4400, "Unknown document", echo=4400)
    [connected] = recorded(telemetry, CONNECTION)
    assert connected["attributes"].items() >= closing(verdict).items()
    for each in operations(telemetry):
        assert each["status"] == "ERROR"


@protocols
async def test_a_document_that_nobody_knows_is_the_client_s_fault_if_the_handler_fails(
    telemetry: Telemetry, protocol: str
) -> None:
    """Anybody can send a hash that is not there: nobody is to be woken by that."""

    async def talk(client: Client) -> None:
        client.json(asks(client, "a", in_extensions("ffff"), to=2))

    await both(telemetry, served_by(AsItIsBegun), talk, protocol, abnormal=1)
    verdict = (
        without_frames("invalid_message", "KeyError")
        if protocol == LEGACY
        else by_server("invalid_message", 4400, "Failed to parse message", echo=4400)
    )
    [connected] = recorded(telemetry, CONNECTION)
    assert connected["attributes"].items() >= closing(verdict).items()
    for each in operations(telemetry):
        assert each["status"] == "ERROR"


# --- Over HTTP -------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, -1], ids=["ours last", "ours first"])
@pytest.mark.parametrize("part_of_ours", ["both", "extension alone"])
async def test_a_request_without_a_document_is_recorded(
    telemetry: Telemetry, order: int, part_of_ours: str
) -> None:
    mixed = part_of_ours == "both"
    ours = OTelExtension if mixed else extension(telemetry)
    schema = make_schema(*(InAnExtension, ours)[::order])
    view: View = (instrumented(telemetry) if mixed else View)(schema=schema)
    async with hosting(view) as host:
        body = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": HASHES[HELLO]}}}
        assert await host.post(body) == (200, {"data": {"hello": "world"}})
    assert unhashed(recorded(telemetry)) == unhashed(
        [
            (executed if mixed else standalone)(HELLO, name="Hello"),
            *phases("query", PARSING, VALIDATION, EXECUTION),
        ]
    )
    assert telemetry.total(REQUESTS, QUERY) == 1


@pytest.mark.parametrize("order", [1, -1], ids=["ours last", "ours first"])
async def test_the_document_of_a_request_is_the_one_that_was_found(
    telemetry: Telemetry, order: int
) -> None:
    schema = make_schema(*(InAnExtension, extension(telemetry))[::order])
    view: View = View(schema=schema)
    async with hosting(view) as host:
        body = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": HASHES[HELLO]}}}
        assert await host.post(body) == (200, {"data": {"hello": "world"}})
    [query] = recorded(telemetry, "query")
    assert query["attributes"]["graphql.document.hash"] == hashed(HELLO)

"""Documents that an application keeps, and clients ask for by something else than their text."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from graphql import parse
from strawberry.aiohttp.views import AiohttpWebSocketAdapter
from strawberry.extensions import SchemaExtension

from tests.support.applications.conversations import begin, finish
from tests.support.applications.serving_tasks import Own, Schema
from tests.support.raw_client import Client
from tests.support.schema import FOREVER, HELLO, TICKS
from tests.support.views import View

HASHES = {TICKS: "0a1b", FOREVER: "2c3d", HELLO: "4e5f"}
STORE = {hash_: document for document, hash_ in HASHES.items()}
BY_NAME = {"Ticks": TICKS}


# --- How clients ask -------------------------------------------------------------------------


def in_extensions(hash_: str, **more: Any) -> dict[str, Any]:
    persisted = {"persistedQuery": {"version": 1, "sha256Hash": hash_}}
    return {"payload": {"extensions": persisted | more}}


def in_the_payload(hash_: str) -> dict[str, Any]:
    return {"payload": {"documentId": hash_}}


def in_the_message(hash_: str) -> dict[str, Any]:
    return {"documentId": hash_, "payload": {}}


def beside_null(hash_: str) -> dict[str, Any]:
    return {"payload": {"query": None, "documentId": hash_}}


def beside_nothing(hash_: str) -> dict[str, Any]:
    return {"payload": {"query": "", "documentId": hash_}}


def as_a_name(_hash: str) -> dict[str, Any]:
    return {"payload": {"operationName": "Ticks"}}


def as_the_query(hash_: str) -> dict[str, Any]:
    return {"payload": {"query": hash_}}


FIELDS = (
    *(in_extensions, in_the_payload, in_the_message, beside_null, beside_nothing, as_a_name),
    as_the_query,
)


def asks(client: Client, id_: str, fields: dict[str, Any], **variables: Any) -> dict[str, Any]:
    """The message that asks for an operation by these fields."""
    type_ = {"graphql-transport-ws": "subscribe", "graphql-ws": "start"}[str(client.protocol)]
    payload = fields["payload"] | ({"variables": variables} if variables else {})
    return {"id": id_, "type": type_, **fields, "payload": payload}


# --- Where the application looks documents up ------------------------------------------------


def looked_up(message: Any) -> Any:
    """The message with the document that it asks for, by whatever field.

    Raises:
        KeyError: there is no such document.
    """
    if message["type"] not in {"subscribe", "start"}:
        return message
    payload = message["payload"]
    query = payload.get("query")
    if query and query not in STORE:
        return message
    extensions = payload.get("extensions") or {}
    hash_ = (
        query
        or payload.get("documentId")
        or message.get("documentId")
        or extensions.get("persistedQuery", {}).get("sha256Hash")
    )
    document = STORE[hash_] if hash_ else BY_NAME[payload["operationName"]]
    return {**message, "payload": {**payload, "query": document}}


class AsItIsBegun:
    async def handle_subscribe(self, message: Any) -> None:
        await super().handle_subscribe(looked_up(message))  # type: ignore[misc]  # the host's

    async def handle_start(self, message: Any) -> None:
        await super().handle_start(looked_up(message))  # type: ignore[misc]  # the host's


class AfterAWhile:
    """As it is begun, in a store that takes its time, and in another task."""

    async def handle_subscribe(self, message: Any) -> None:
        message = await asyncio.create_task(self.found(message))
        await super().handle_subscribe(message)  # type: ignore[misc]  # the host's

    async def handle_start(self, message: Any) -> None:
        message = await asyncio.create_task(self.found(message))
        await super().handle_start(message)  # type: ignore[misc]  # the host's

    async def found(self, message: Any) -> Any:
        await asyncio.sleep(0)
        return looked_up(message)


class InPlace:
    """As it is begun; the message itself is changed."""

    async def handle_subscribe(self, message: Any) -> None:
        message["payload"] = looked_up(message)["payload"]
        await super().handle_subscribe(message)  # type: ignore[misc]  # the host's

    async def handle_start(self, message: Any) -> None:
        message["payload"] = looked_up(message)["payload"]
        await super().handle_start(message)  # type: ignore[misc]  # the host's


class AsItIsHandled:
    async def handle_message(self, message: Any) -> None:
        await super().handle_message(looked_up(message))  # type: ignore[misc]  # the host's


class AsItIsRead:
    async def handle(self) -> None:
        handler: Any = self
        begin(self)
        try:
            async for message in handler.websocket.iter_json():
                await handler.handle_message(looked_up(message))
        finally:
            await finish(self)


class ByItself(Own):
    """As the handler serves it, with nothing of the host's own way to run operations."""

    async def serve(self, message: Any, result_type: str) -> None:
        await super().serve(looked_up(message), result_type)


LAYERS = (AsItIsBegun, AfterAWhile, InPlace, AsItIsHandled, AsItIsRead, ByItself)


class LookingAdapter(AiohttpWebSocketAdapter):
    async def iter_json(self, **options: Any) -> AsyncGenerator[object, None]:
        async for message in super().iter_json(**options):
            yield looked_up(message)


class InTheAdapter(View):
    websocket_adapter_class = LookingAdapter


class AsItIsRun:
    async def run_operation(self, operation: Any) -> None:
        operation.query = STORE[operation.query]
        await super().run_operation(operation)  # type: ignore[misc]  # the host's

    async def handle_async_results(self, id_: Any, query: Any, *args: Any) -> None:
        await super().handle_async_results(id_, STORE[query], *args)  # type: ignore[misc]  # the host's


class InTheSchema(Schema):
    async def stream(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        return await super().stream(STORE[query], *args, **kwargs)


class InAnExtension(SchemaExtension):
    """Over HTTP in the extensions of the request, else in the place of the document."""

    def on_operation(self) -> Iterator[None]:
        execution: Any = self.execution_context
        extensions = execution.operation_extensions or {}
        hash_ = execution.query or extensions["persistedQuery"]["sha256Hash"]
        execution.query = STORE[hash_]
        yield


class AsItIsParsed(SchemaExtension):
    """Here the hash stays where the document should be."""

    def on_parse(self) -> Iterator[None]:
        execution: Any = self.execution_context
        execution.graphql_document = parse(STORE[execution.query])
        yield

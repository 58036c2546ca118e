"""gql, a GraphQL client for Python, on both of its WebSocket transports."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Self

from gql import Client, GraphQLRequest
from gql.client import AsyncClientSession
from gql.transport.aiohttp_websockets import AIOHTTPWebsocketsTransport
from gql.transport.exceptions import TransportError, TransportQueryError
from gql.transport.websockets import WebsocketsTransport

from tests.clients.model import Kind, RealClient
from tests.support.scenarios.model import by_client, by_server
from tests.support.scenarios.steps import LEGACY, TRANSPORT

Transport = type[AIOHTTPWebsocketsTransport] | type[WebsocketsTransport]


class GqlClient(RealClient):
    """A client in this process, which connects when it is first asked for something."""

    def __init__(self, transport: Transport, protocol: str, url: str, **options: Any) -> None:
        super().__init__()
        self._client = Client(transport=transport(url=url, subprotocols=[protocol], **options))
        self._session: AsyncClientSession | None = None
        self._operations: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()
        await asyncio.gather(*self._operations.values(), return_exceptions=True)

    async def ask(self, id_: str, document: str, **variables: Any) -> None:
        try:
            if self._session is None:
                self._session = await self._client.connect_async()  # type: ignore[no-untyped-call]  # gql's
        except TransportError:
            await self.saw({"saw": "closed"})
            return
        request = GraphQLRequest(document, variable_values=variables)
        self._operations[id_] = asyncio.create_task(self._follow(id_, self._session, request))

    async def _follow(self, id_: str, session: AsyncClientSession, request: GraphQLRequest) -> None:
        try:
            async for result in session.subscribe(request, get_execution_result=True):
                await self.saw({"saw": "result", "id": id_, "data": result.data, "errors": []})
        except TransportQueryError as error:
            # It stops at a result with errors, and says what the result was.
            errors = [str(each["message"]) for each in error.errors or ()]
            await self.saw({"saw": "over", "id": id_, "data": error.data, "errors": errors})
        except TransportError:
            await self.saw({"saw": "closed"})
        else:
            await self.saw({"saw": "over", "id": id_, "errors": []})

    async def stop(self, id_: str) -> None:
        operation = self._operations.pop(id_)
        operation.cancel()
        with suppress(asyncio.CancelledError):
            await operation

    async def leave(self) -> None:
        if self._session is not None:
            self._session = None
            await self._client.close_async()  # type: ignore[no-untyped-call]  # gql's


TRANSPORTS: Final[Mapping[str, Transport]] = {
    "aiohttp": AIOHTTPWebsocketsTransport,
    "websockets": WebsocketsTransport,
}
LEAVING: Final = {
    TRANSPORT: by_client("normal", 1000),
    # It sends `connection_terminate` first, at which the host closes.
    LEGACY: by_server("normal", 1000, echo=1000),
}


def _kind(name: str, transport: Transport, protocol: str) -> Kind:
    def connect(url: str, options: Mapping[str, Any]) -> GqlClient:
        return GqlClient(transport, protocol, url, **options)

    return Kind(
        name=f"gql over {name}, {protocol}",
        connect=connect,
        protocol=protocol,
        leaving=LEAVING[protocol],
        left="client_completed",
        answer=1000 if name == "aiohttp" else None,
    )


GQL: Final = tuple(
    _kind(name, transport, protocol)
    for name, transport in TRANSPORTS.items()
    for protocol in (TRANSPORT, LEGACY)
)

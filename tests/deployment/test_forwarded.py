"""Who the client is and what it asked for, as a proxy that is believed says it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from examples.deployment.forwarded import forwarded
from strawberry_ws_otel import _semconv as name
from tests.deployment.proxy import Settings, proxying
from tests.support.assertions import connection_span
from tests.support.hosting import Host, hosting
from tests.support.schema import make_schema
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import instrumented

ELSEWHERE = "127.0.0.2"
"""An address that is this machine's too, and no proxy's."""

LIE = {"X-Forwarded-For": "203.0.113.66"}
WHO = (name.CLIENT_ADDRESS, name.SERVER_ADDRESS, name.SERVER_PORT)
FORWARDED = {
    "the address": ({"X-Forwarded-For": "203.0.113.7"}, ("203.0.113.7", "shop.example", 80)),
    "https": ({"X-Forwarded-Proto": "https"}, ("127.0.0.1", "shop.example", 443)),
    "a port of the client's": (
        {"X-Forwarded-Proto": "https", "Host": "shop.example:8443"},
        ("127.0.0.1", "shop.example", 8443),
    ),
    "nothing": ({}, ("127.0.0.1", "shop.example", 80)),
}


async def visit(url: str, address: str, headers: Mapping[str, str]) -> None:
    """Come from that address, and leave."""
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.ws_connect(url, protocols=["graphql-transport-ws"], headers=headers),
    ):
        """Nothing is said."""


def served(telemetry: Telemetry, *middlewares: Any) -> Any:
    return hosting(instrumented(telemetry)(schema=make_schema()), *middlewares)


def who(telemetry: Telemetry) -> tuple[Any, ...]:
    attributes = attributes_of(connection_span(telemetry))
    return tuple(attributes[key] for key in WHO)


@pytest.mark.parametrize("what", FORWARDED)
async def test_the_proxy_is_believed(what: str, telemetry: Telemetry) -> None:
    headers, recorded = FORWARDED[what]
    host: Host
    async with served(telemetry, forwarded) as host:
        await visit(host.url, "127.0.0.1", {"Host": "shop.example", **headers})
        await host.served()
    assert who(telemetry) == recorded


async def test_an_untrusted_client_is_not(telemetry: Telemetry) -> None:
    host: Host
    async with served(telemetry, forwarded) as host:
        await visit(host.url, ELSEWHERE, LIE)
        await host.served()
    assert who(telemetry)[0] == ELSEWHERE


@pytest.mark.tools("nginx")
@pytest.mark.parametrize(
    ("middlewares", "address"),
    [((forwarded,), ELSEWHERE), ((), "127.0.0.1")],
    ids=["with", "without"],
)
async def test_behind_nginx_the_client_is_known_with_the_middleware_only(
    middlewares: tuple[Any, ...], address: str, telemetry: Telemetry, tmp_path: Path
) -> None:
    host: Host
    async with served(telemetry, *middlewares) as host:
        upstream = int(host.url.split(":")[2].split("/")[0])
        async with proxying(upstream, tmp_path, Settings()) as proxy:
            url = host.url.replace(str(upstream), str(proxy.port))
            await visit(url, ELSEWHERE, LIE)
            await host.served()
        assert who(telemetry) == (address, "127.0.0.1", proxy.port)

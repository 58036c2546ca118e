"""Chromium, in which graphql-ws runs in the page of `examples.browser`."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from examples.browser.page import add_page
from tests.clients.conversations import (
    FIRST,
    LEFT,
    Conversation,
    Expectation,
    Talk,
    ending,
    is_served,
    leaving,
    lives,
)
from tests.clients.habits import HEARTBEAT
from tests.clients.model import Kind
from tests.clients.node import NodeClient
from tests.support.scenarios.model import CLOSED, LIVE, Ending, by_client, without_frames
from tests.support.scenarios.steps import TRANSPORT
from tests.support.schema import FOREVER
from tests.support.server import PATH, Server, Setup
from tests.tools.programs import find


class Browser(NodeClient):
    """A tab with the page. What it is asked for, the page calls a, b, c by itself."""

    script: ClassVar = "browser.js"


def _connect(url: str, options: Mapping[str, Any]) -> Browser:
    page = url.replace("ws", "http", 1).removesuffix(PATH)
    return Browser(find("chromium"), f"{page}/?retries={options.get('retries', 0)}")


BROWSER: Final = Kind(
    name="Chromium",
    connect=_connect,
    protocol=TRANSPORT,
    leaving=by_client("normal", 1000, "Normal Closure"),
    left=CLOSED,
)
PAGE: Final = Setup(pages=add_page)
GONE: Final = by_client("normal", 1001)
LOST: Final = without_frames("connection_lost")
SILENT: Final = without_frames("heartbeat_timeout", "TimeoutError")


def does(what: str) -> Talk:
    """Something happens to the browser under a live subscription."""

    async def talk(browser: Browser, _server: Server) -> None:
        await lives(browser)
        await browser.tell(what)

    return talk


async def reloads(browser: Browser, _server: Server) -> None:
    await lives(browser)
    await browser.tell("reload")
    await browser.sees("ready", times=2)
    await browser.ask("a", FOREVER)
    await browser.sees("result", times=2, id="a")
    await browser.leave()


async def hangs(browser: Browser, server: Server) -> None:
    """Its network hears nothing for a while, and then finds the connection gone."""
    await lives(browser)
    await browser.tell("freeze the network")
    await is_served(server)
    await browser.tell("thaw")
    await browser.sees("closed", code=1006)
    await browser.sees("result", times=2, id="a")
    await browser.leave()


async def goes_offline(browser: Browser, _server: Server) -> None:
    await lives(browser)
    await browser.tell("go offline")
    await browser.leave()
    await browser.sees("closed", code=1000)


def then_leaves(first: Ending) -> Expectation:
    """It connects again, and leaves in an orderly way."""
    return lambda kind: (first, *leaving(LEFT)(kind))


BROWSER_CONVERSATIONS: Final = (
    *(
        Conversation(
            name=name,
            talk=does(name),
            expected=ending(verdict, CLOSED),
            data=FIRST,
            setup=PAGE,
        )
        for name, verdict in {
            "close the tab": GONE,
            "navigate away": GONE,
            "close the browser": GONE,
            # The process that holds the socket outlives the renderer, and closes as for a tab.
            "kill the renderer": GONE,
            "kill the network": LOST,
        }.items()
    ),
    Conversation(
        name="reload",
        talk=reloads,
        expected=then_leaves(Ending(verdict=GONE, operations=LIVE)),
        data=(*FIRST, *FIRST),
        setup=PAGE,
    ),
    Conversation(
        # Chromium refuses new connections then; to those that there are, nothing happens.
        name="go offline by emulation, which an open socket survives",
        talk=goes_offline,
        expected=leaving(LEFT),
        data=FIRST,
        setup=PAGE,
    ),
    Conversation(
        # What being offline is to a server: no answer to its PING.
        name="go offline, and come again by itself",
        talk=hangs,
        expected=then_leaves(Ending(verdict=SILENT, operations=LIVE)),
        data=(*FIRST, *FIRST),
        setup=Setup(pages=add_page, socket={"heartbeat": HEARTBEAT}),
        options={"retries": 5},
    ),
)

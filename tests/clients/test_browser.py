"""graphql-ws in Chromium, in the page of an example: what becomes of a tab is recorded as it is."""

from dataclasses import replace

import pytest

from examples.browser.page import add_page
from tests.clients.browser import BROWSER, BROWSER_CONVERSATIONS
from tests.clients.conversations import ESSENTIAL, Conversation
from tests.clients.holding import play_and_assert
from tests.support.log import LogKeeper
from tests.support.telemetry import Telemetry

pytestmark = pytest.mark.tools("node", "chromium")

TABLE = [
    *BROWSER_CONVERSATIONS,
    *(
        replace(conversation, setup=replace(conversation.setup, pages=add_page))
        for conversation in ESSENTIAL
    ),
]


@pytest.mark.parametrize("conversation", TABLE, ids=str)
async def test_the_end_of_a_tab_is_recorded_as_it_happened(
    conversation: Conversation, telemetry: Telemetry, library_log: LogKeeper
) -> None:
    await play_and_assert(conversation, BROWSER, telemetry, library_log)

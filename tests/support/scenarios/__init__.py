"""The table: every way in which a connection can end, and what is true of it."""

from tests.support.scenarios.application import APPLICATION
from tests.support.scenarios.client_closes import CLIENT_CLOSES
from tests.support.scenarios.exceptions import EXCEPTIONS
from tests.support.scenarios.excesses import EXCESSES
from tests.support.scenarios.frames import FRAMES
from tests.support.scenarios.legacy import LEGACY
from tests.support.scenarios.messages import MESSAGES
from tests.support.scenarios.network import NETWORK
from tests.support.scenarios.ordinary import ORDINARY
from tests.support.scenarios.protocol import PROTOCOL
from tests.support.scenarios.requests import REQUESTED

SCENARIOS = (
    *REQUESTED,
    *ORDINARY,
    *CLIENT_CLOSES,
    *NETWORK,
    *FRAMES,
    *PROTOCOL,
    *LEGACY,
    *APPLICATION,
    *EXCEPTIONS,
    *MESSAGES,
    *EXCESSES,
)

"""The table: every way in which a connection can end, and what is true of it."""

from tests.scenarios.application import APPLICATION
from tests.scenarios.client_closes import CLIENT_CLOSES
from tests.scenarios.exceptions import EXCEPTIONS
from tests.scenarios.excesses import EXCESSES
from tests.scenarios.frames import FRAMES
from tests.scenarios.legacy import LEGACY
from tests.scenarios.messages import MESSAGES
from tests.scenarios.network import NETWORK
from tests.scenarios.ordinary import ORDINARY
from tests.scenarios.protocol import PROTOCOL
from tests.scenarios.requests import REQUESTED

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

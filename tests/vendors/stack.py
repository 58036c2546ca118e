"""What a vendor adds to the conversations: where things go, and how to read what arrived."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.vendors.arrivals import Arrivals
from tests.vendors.receiver import Receiver

SPAN: Final = "b7ad6b7169203331"
TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
"""The client's span and trace in the conversation that brings a trace context."""

W3C: Final = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


def nothing(_path: str, _body: bytes) -> bytes:
    return b""


def no_problems(_arrivals: Arrivals) -> Iterable[str]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One vendor, set up as its section in docs/recipes/vendors.md says."""

    section: str
    """The heading of that section."""
    packages: tuple[str, ...]
    """Whose versions are printed, the vendor's first."""
    environment: Callable[[str], Mapping[str, str]]
    """Variables that lead everything to this endpoint; a deployment sets its own."""
    read: Callable[[Receiver], Arrivals]
    answer: Callable[[str, bytes], bytes] = nothing
    """What the vendor's service answers: path and body to body."""
    carrier: Mapping[str, str]
    """How a client of this vendor's brings its trace context."""
    foreign: frozenset[str] = frozenset()
    """Names of spans that the vendor's own instrumentation makes; anything else is a surprise."""
    lacks: frozenset[str] = frozenset()
    """What does not arrive: `events`; `links`; `later links`, which a live span gets; `parents`, of
    phases and of the application's spans; `remote parents`, instead of which there are links;
    `resolver's span`, where another span is current in a resolver; `metrics`; `exemplars`."""
    refused: tuple[str, ...] = ()
    """The optional calls of a span that the vendor refuses: one warning each."""
    check: Callable[[Arrivals], Iterable[str]] = no_problems
    """What else is wrong with what arrived, of what only this vendor has."""

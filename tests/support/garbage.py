"""The garbage collector, kept from looking at what a test did not make."""

import gc
from collections import Counter
from enum import Enum
from typing import Final

from strawberry_ws_otel._fuse import FailureLog, RecordRate, _Minute
from strawberry_ws_otel._spans import Spans
from tests.support.log import LIBRARY


def freeze() -> None:
    """Put all that lives out of the garbage collector's sight.

    The second collection tells the collector how little it has left to look at: by that number it
    decides when to collect the oldest generation, which keeps the tasks of tests before.
    """
    gc.collect()
    gc.freeze()
    gc.collect()


def living() -> Counter[str]:
    """What there is of the library's own objects that belong to a connection."""
    gc.collect()
    return Counter(
        type(thing).__name__
        for thing in gc.get_objects()
        if type(thing).__module__ in OF_A_CONNECTION
        # The logs and the tracer are a view class's.
        and not isinstance(thing, Enum | FailureLog | RecordRate | _Minute | Spans)
    )


OF_A_CONNECTION: Final = {
    f"{LIBRARY}.{module}"
    for module in (
        *("_close", "_connection", "_current", "_fuse", "_operation", "_operations"),
        *("_propagation", "_spans", "_operation"),
        *("_aiohttp.view", "_aiohttp.websocket", "_strawberry.adapter", "_strawberry.handlers"),
    )
}

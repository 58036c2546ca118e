"""Operations, one a connection, and how each host ends them."""

import graphql

from tests.support.scenarios.ordinary import THREE, legacy, once, transport
from tests.support.scenarios.steps import Step
from tests.support.schema import BROKEN, FAILING, HELLO, INVALID, PARTIAL, RENAME, TICKS, UNPARSABLE

CARELESS = "completed" if graphql.version_info[:2] >= (3, 3) else "error"
"""The end of an operation whose variables are no object, which graphql-core 3.3 takes."""

# request, its end over graphql-transport-ws (None: it closes the connection), and over graphql-ws
REQUESTS: dict[str, tuple[Step, str | None, str]] = {
    "a subscription that ends": (once(TICKS, variables=THREE), "completed", "completed"),
    "a subscription whose source fails": (once(FAILING), "completed", "completed"),
    "a subscription with a broken field": (once(PARTIAL), "completed", "completed"),
    "a query": (once(HELLO), "completed", "error"),
    "a query with a broken field": (once(BROKEN), "completed", "error"),
    "a mutation": (once(RENAME), "completed", "error"),
    "an invalid document": (once(INVALID), "error", "error"),
    "a variable that is missing": (once(TICKS), "error", "error"),
    "a number for a query": (once(5), "error", "error"),
    "null for a query": (once(None), "error", "error"),
    "a list for a query": (once(["x"]), "error", "error"),
    "an empty query": (once(""), "error", "error"),
    "a number for the variables": (once(FAILING, variables=5), CARELESS, CARELESS),
    "a list for the variables": (once(FAILING, variables=[1]), CARELESS, CARELESS),
    "a syntax error": (once(UNPARSABLE), None, "error"),
    "an unknown operation name": (once(FAILING, operationName="Nope"), None, "error"),
    "a number for an operation name": (once(FAILING, operationName=5), None, "error"),
    "a surrogate for an operation name": (
        once(FAILING, operationName="\ud800"),
        "failed",
        "error",
    ),
}

# Older hosts let the exception out of the view, or let the task die without a word.
NEW = {"a number for a query", "null for a query", "a list for a query", "an empty query"}
NEW_TO_TRANSPORT = NEW | {"a surrogate for an operation name"}
NEW_TO_LEGACY = NEW | {"a query", "a query with a broken field", "a mutation"}


def since(*, new: bool) -> tuple[int, ...]:
    return (0, 341) if new else ()


REQUESTED = (
    *(
        transport(name, talk, end, since=since(new=name in NEW_TO_TRANSPORT))
        for name, (talk, end, _) in REQUESTS.items()
        if end
    ),
    *(
        legacy(name, talk, end, since=since(new=name in NEW_TO_LEGACY))
        for name, (talk, _, end) in REQUESTS.items()
    ),
)

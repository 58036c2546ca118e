"""Short ways to count what is alive."""

from strawberry_ws_otel._counts import Results, Tally, Traffic


def opened(tally: Tally, subprotocol: str | None) -> Traffic:
    traffic = Traffic(subprotocol)
    tally.opened(traffic)
    return traffic


def subscribed(tally: Tally, ok: int = 0) -> Results:
    results = Results()
    results.ok = ok
    tally.subscribed(results)
    return results

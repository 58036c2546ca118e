"""Short ways to count what is alive."""

from strawberry_ws_otel._counts import Results, Totals, Traffic


def opened(totals: Totals, subprotocol: str | None) -> Traffic:
    traffic = Traffic(subprotocol)
    totals.opened(traffic)
    return traffic


def subscribed(totals: Totals, ok: int = 0) -> Results:
    results = Results()
    results.ok = ok
    totals.subscribed(results)
    return results

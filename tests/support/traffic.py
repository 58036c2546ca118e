"""Short ways to count what is alive."""

from strawberry_ws_otel._counts import Results, Tally, Traffic


def opened(tally: Tally, subprotocol: str | None) -> Traffic:
    traffic = Traffic(subprotocol)
    tally.opened(traffic)
    return traffic


def subscribed(tally: Tally, sound: int = 0) -> Results:
    results = Results()
    results.sound = sound
    tally.subscribed(results)
    return results

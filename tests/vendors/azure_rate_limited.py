"""Azure Monitor with its sampler that limits the rate, which is set so high that it keeps all."""

from dataclasses import replace

from tests.vendors import azure
from tests.vendors.stack import no_problems


def environment(endpoint: str) -> dict[str, str]:
    return {**azure.environment(endpoint), "SPANS_PER_SECOND": "1e9"}


STACK = replace(
    azure.STACK,
    section="Azure Monitor, limited by rate",
    environment=environment,
    # It writes no rate where that is 100 %.
    check=no_problems,
)

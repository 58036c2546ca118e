"""A program for tests: what there is of the library where aiohttp is not installed.

`--forbid` makes aiohttp as good as not installed. What is printed is one JSON object.
"""

import asyncio
import json
import pydoc
import sys
from typing import Any

if "--forbid" in sys.argv:
    # How Python marks what is not to be found.
    sys.modules["aiohttp"] = None  # type: ignore[assignment]

import strawberry_ws_otel
from strawberry_ws_otel import OTelConfig, OTelExtension, connection_span
from tests.support.schema import HELLO, make_schema
from tests.support.telemetry import CountingIds, Telemetry


def record() -> list[dict[str, Any]]:
    """The spans of one operation."""
    telemetry = Telemetry(ids=CountingIds())

    class Extension(OTelExtension):
        otel_config = OTelConfig(
            tracer_provider=telemetry.tracer_provider, meter_provider=telemetry.meter_provider
        )

    result = asyncio.run(make_schema(Extension).execute(HELLO))
    assert result.data == {"hello": "world"}
    return telemetry.snapshots()


def refusal() -> dict[str, str]:
    """What is raised where the mixin is imported."""
    try:
        from strawberry_ws_otel import OTelViewMixin  # noqa: F401, PLC0415  # what is tried
    except ImportError as error:
        return {type(error).__name__: str(error)}
    return {}


def main() -> None:
    """Print what there is."""
    report = {
        "spans": record(),
        "mixin": refusal(),
        "names": dir(strawberry_ws_otel),
        "documentation": pydoc.plain(pydoc.render_doc("strawberry_ws_otel")),
        "connection": connection_span().is_recording(),
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()

"""What docs/when-you-see-nothing.md says one sees, in processes of their own."""

import os
import subprocess
import sys

import pytest

from tests.support.pages import ROOT, Page, codes

PAGE = Page("docs/when-you-see-nothing.md")
WHICH, PRINTED = PAGE.blocks("python")

SETS: dict[str, str] = {
    "no provider was set": "",
    "your code, or a vendor's, turned spans or metrics off": """
from opentelemetry import metrics, trace
trace.set_tracer_provider(trace.NoOpTracerProvider())
metrics.set_meter_provider(metrics.NoOpMeterProvider())
""",
    "the SDK is set up": """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
metrics.set_meter_provider(MeterProvider())
""",
}
"""What an application did, by the meaning that the page gives it."""

CONVERSATION = """
import asyncio
from tests.support import documented
from tests.support.hosting import hosting, part

async def talk():
    async with hosting(documented.View(schema=documented.schema)) as host:
        await part(await host.acknowledged())

asyncio.run(talk())
"""


def output(code: str) -> str:
    ours = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    done = subprocess.run(  # noqa: S603  # our own page
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=ours,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize("row", PAGE.rows("There is no SDK"), ids=lambda row: row[0])
def test_the_check_prints_what_the_table_says(row: list[str]) -> None:
    printed, meaning = row
    [sets] = [code for start, code in SETS.items() if meaning.startswith(start)]
    assert output(sets + WHICH).split() == codes(printed)


def test_the_exporter_of_the_page_prints_the_spans() -> None:
    code = "\n".join((SETS["the SDK is set up"], PRINTED, CONVERSATION))
    assert '"GraphQL WebSocket Connection"' in output(code)


def test_every_cause_has_a_section_that_is_in_the_table() -> None:
    table = PAGE.text.split("\n## ")[0]
    for heading in PAGE.headings()[1:]:
        if heading == "There is no log record":
            continue
        assert f"](#{heading.lower().replace(' ', '-')})" in table, heading

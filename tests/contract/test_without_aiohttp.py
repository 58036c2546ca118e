"""The extension works where aiohttp is not installed, and the mixin says what it needs.

`nox -s without_aiohttp` runs this where aiohttp really is not installed; elsewhere the program is
forbidden to import it.
"""

import json
import subprocess
import sys
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.schema import HELLO

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What the program says of the library."""
    command = [sys.executable, "-W", "error", "-m", "tests.support.without_aiohttp"]
    forbid = [] if find_spec("aiohttp") is None else ["--forbid"]
    done = subprocess.run([*command, *forbid], cwd=ROOT, capture_output=True, check=True, text=True)  # noqa: S603  # our own program
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_the_extension_records_an_operation(report: dict[str, Any]) -> None:
    attributes = {
        "graphql.operation.type": "query",
        "graphql.operation.name": "Hello",
        "graphql.document.hash": f"sha256:{sha256(HELLO.encode()).hexdigest()}",
    }
    assert [(span["name"], span["parent"], span["attributes"]) for span in report["spans"]] == [
        ("query", None, attributes),
        ("GraphQL Document Parsing", [0x1000, 1], {}),
        ("GraphQL Document Validation", [0x1000, 1], {}),
        ("GraphQL Operation Execution", [0x1000, 1], {}),
    ]


def test_outside_a_connection_there_is_a_span_that_records_nothing(report: dict[str, Any]) -> None:
    assert report["connection"] is False


def test_the_mixin_says_how_to_install_what_it_needs(report: dict[str, Any]) -> None:
    assert report["mixin"] == {"ImportError": "OTelViewMixin needs aiohttp: pip install aiohttp"}


def test_dir_lists_what_can_be_had(report: dict[str, Any]) -> None:
    types = ["OTelConfig", "OTelExtension", "OpenConnection", "OpenOperation"]
    functions = ["connection_attributes", "connection_span", "open_connections"]
    assert report["names"] == [*types, "__version__", *functions]


def test_pydoc_documents_what_can_be_had(report: dict[str, Any]) -> None:
    page = report["documentation"]
    for name in ("class OTelConfig", "class OTelExtension", "connection_span()"):
        assert f"    {name}" in page
    assert "OTelViewMixin(" not in page

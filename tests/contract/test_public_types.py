"""A type checker knows the public names of the installed package, and refuses misspelt ones."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.types

RIGHT = """
from strawberry.aiohttp.views import GraphQLView
from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin
from strawberry_ws_otel import __version__, connection_attributes, connection_span

class View(OTelViewMixin, GraphQLView[None, None]):
    otel_config = OTelConfig(capture_document=True)

extensions = [OTelExtension]
connection_span().set_attribute("version", __version__)
connection_attributes({"tenant": "acme", "paying": True, "seats": 5, "share": 0.5})
tenant: dict[str, str] = {"tenant": "acme"}
connection_attributes(tenant)
"""
WRONG = """
from strawberry_ws_otel import OTelViewMixn
import strawberry_ws_otel
strawberry_ws_otel.OTelExtensoin
strawberry_ws_otel.connection_attributes({"tenant": None})
"""


def test_right_imports_pass_and_misspelt_ones_fail_under_mypy_strict(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    command = [sys.executable, "-m", "mypy", "--strict", "right.py", "wrong.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True)  # noqa: S603  # mypy
    errors = re.findall(r"^(\w+)\.py:(\d+): error: .*\[(.+)\]$", done.stdout, re.MULTILINE)
    assert errors == [
        ("wrong", "2", "attr-defined"),
        ("wrong", "4", "attr-defined"),
        ("wrong", "5", "dict-item"),
    ], done.stdout

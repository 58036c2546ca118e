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
from strawberry_ws_otel import __version__, connection_span
from strawberry_ws_otel.console import Conversation, ConversationExporter, Picture, show

class View(OTelViewMixin, GraphQLView[None, None]):
    otel_config = OTelConfig(capture_document=True)

extensions = [OTelExtension]
connection_span().set_attribute("version", __version__)
show(only="abnormal")

class Exporter(ConversationExporter):
    def draw(self, conversation: Conversation) -> None:
        if self.console is not None:
            self.console.print(Picture(conversation, title=conversation.outcome))
"""
WRONG = """
from strawberry_ws_otel import OTelViewMixn
import strawberry_ws_otel
strawberry_ws_otel.OTelExtensoin
from strawberry_ws_otel.console import show
show(only="errors")
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
        ("wrong", "6", "arg-type"),
    ], done.stdout

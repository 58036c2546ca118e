"""A type checker knows the public names of the installed package, and refuses misspelt ones."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.types

RIGHT = """
from typing import Any
from strawberry import Schema
from strawberry.aiohttp.views import GraphQLView
from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin
from strawberry_ws_otel import OpenConnection, OpenOperation, open_connections
from strawberry_ws_otel import __version__, connection_attributes, connection_span
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
connection_attributes({"tenant": "acme", "paying": True, "seats": 5, "share": 0.5})
schema: Schema
view = View(schema=schema, otel_config=OTelConfig(attributes={"endpoint": "admin", "tier": 1}))
view.otel_config = OTelConfig(message_events=0)

class OwnView(OTelViewMixin, GraphQLView[None, None]):
    def __init__(self, schema: Schema, **keywords: Any) -> None:
        super().__init__(schema=schema, **keywords)

OwnView(schema, otel_config=OTelConfig()).otel_config = OTelConfig()
tenant: dict[str, str] = {"tenant": "acme"}
connection_attributes(tenant)
oldest: list[OpenConnection] = open_connections(limit=None)
kinds: list[str | None] = [one.type for each in oldest for one in each.operations]
tenants: list[str | bool | int | float] = [each.attributes["tenant"] for each in oldest]
json: list[dict[str, Any]] = [each.as_dict() for each in oldest]
"""
WRONG = """
from strawberry_ws_otel import OTelViewMixn
import strawberry_ws_otel
strawberry_ws_otel.OTelExtensoin
from strawberry_ws_otel.console import show
show(only="errors")
strawberry_ws_otel.connection_attributes({"tenant": None})
from strawberry.aiohttp.views import GraphQLView
class View(strawberry_ws_otel.OTelViewMixin, GraphQLView[None, None]):
    pass
view = View(otel_config=None)
view.otel_config = None
view.otel_confg = strawberry_ws_otel.OTelConfig()
strawberry_ws_otel.open_connections("100")
strawberry_ws_otel.open_connections()[0].age = 0.0
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
        ("wrong", "7", "dict-item"),
        ("wrong", "11", "arg-type"),
        ("wrong", "12", "assignment"),
        ("wrong", "13", "attr-defined"),
        ("wrong", "14", "arg-type"),
        ("wrong", "15", "misc"),
    ], done.stdout

"""Reads the searches that Jaeger's UI offers, from the file that configures it."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from examples.operations.binaries import HERE

UI_CONFIG: Final = HERE / "jaeger-ui.json"
PARAMETER: Final = re.compile(r"#\{(.+?)\}")


def config() -> Mapping[str, Any]:
    """Read what configures the UI."""
    settings: Mapping[str, Any] = json.loads(UI_CONFIG.read_text(encoding="utf-8"))
    return settings


def saved() -> dict[str, str]:
    """Return the saved searches of the menu: a path and query of the UI for each label."""
    return {item["label"]: item["url"] for menu in config()["menu"] for item in menu["items"]}


def linked(attribute: str, value: str) -> str:
    """Return the search that the UI links to from a value of an attribute."""
    pattern = next(one for one in config()["linkPatterns"] if one["key"] == attribute)
    values = {attribute: value}
    return PARAMETER.sub(lambda found: quote(values[found[1]], safe=""), pattern["url"])

"""Reads the searches that Jaeger's UI offers, from the file that configures it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from examples.operations.binaries import HERE
from examples.operations.ports import Ports

UI_CONFIG: Final = HERE / "jaeger-ui.json"
PARAMETER: Final = re.compile(r"#\{(.+?)\}")


def config() -> Mapping[str, Any]:
    """Read what configures the UI."""
    settings: Mapping[str, Any] = json.loads(UI_CONFIG.read_text(encoding="utf-8"))
    return settings


def write(folder: Path, ports: Ports) -> Path:
    """Write the file to `folder`, with these ports."""
    file = folder / UI_CONFIG.name
    file.write_text(ports.applied_to(UI_CONFIG.read_text(encoding="utf-8")), encoding="utf-8")
    return file


def saved() -> dict[str, str]:
    """Return the saved searches of the menu: for each label a path and query of the UI.

    Those for what is open have an address before it, that of `live.py`.
    """
    return {item["label"]: item["url"] for menu in config()["menu"] for item in menu["items"]}


def linked(attribute: str, value: str) -> str:
    """Return the search that the UI links to from a value of an attribute."""
    pattern = next(one for one in config()["linkPatterns"] if one["key"] == attribute)
    values = {attribute: value}
    return PARAMETER.sub(lambda found: quote(values[found[1]], safe=""), pattern["url"])

"""Writes one conversation as an SVG picture that loads no other files."""

import re
from io import StringIO
from pathlib import Path
from typing import Final

from rich.console import Console, RenderableType

from examples.demo.screen import WIDTH

TITLE: Final = "python -m examples.demo"
WEB_FONT: Final = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
WEB_FONT_FAMILY: Final = "font-family: Fira Code, monospace"
FONT_FAMILY: Final = "font-family: ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

ASPECT: Final = 0.602
"""Width of a letter of those fonts, in heights."""


def write(file: Path, drawing: RenderableType) -> None:
    """Draw on an invisible terminal, and save the picture."""
    console = Console(
        record=True,
        file=StringIO(),
        width=WIDTH,
        highlight=False,
        emoji=False,
        force_terminal=True,
        color_system="truecolor",
    )
    console.print(drawing)
    svg = console.export_svg(title=TITLE, unique_id="conversation", font_aspect_ratio=ASPECT)
    svg = WEB_FONT.sub("", svg).replace(WEB_FONT_FAMILY, FONT_FAMILY)
    file.write_text(svg, encoding="utf-8")

"""The recipes of docs/recipes/vendors.md, which are what the programs run."""

import os
import re
from pathlib import Path
from typing import Any, Final

PAGE: Final = Path(__file__).parents[2] / "docs" / "recipes" / "vendors.md"
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXPORT: Final = re.compile(r"^export (\w+)=(\S+)$", re.MULTILINE)


class Recipe:
    """The blocks of one section, which share their names as those of one module do."""

    def __init__(self, section: str) -> None:
        blocks = _BLOCK.findall(_section(section))
        self._shell = "\n".join(code for language, code in blocks if language == "shell")
        self._python = [code for language, code in blocks if language == "python"]
        self.names: dict[str, Any] = {"__name__": "recipe"}

    def follow(self) -> None:
        """Set what the section exports, and run its first block: the set-up."""
        os.environ.update(_EXPORT.findall(self._shell))
        self._run(self._python[0])

    def finish(self) -> None:
        """Run the other blocks: what an application does on its way out."""
        for code in self._python[1:]:
            self._run(code)

    def _run(self, code: str) -> None:
        exec(compile(code, str(PAGE), "exec"), self.names)  # noqa: S102  # our own page


def _section(heading: str) -> str:
    """The text from this heading to the next one."""
    text = PAGE.read_text(encoding="utf-8")
    # A comment in a block is no heading.
    outside = _BLOCK.sub(lambda block: re.sub("^#", " ", block[0], flags=re.MULTILINE), text)
    starts = [(found[1], found.start()) for found in _HEADING.finditer(outside)]
    names = [name for name, _ in starts]
    if heading not in names:
        raise LookupError(f"{PAGE.name} has no section {heading!r}")
    here = names.index(heading)
    end = starts[here + 1][1] if here + 1 < len(starts) else len(text)
    return text[starts[here][1] : end]

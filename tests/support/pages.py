"""The pages of the documentation: their headings, tables, blocks and links."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"

_BLOCK: Final = re.compile(
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<code>.*?)^```$',
    re.DOTALL | re.MULTILINE,
)
_HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A fenced block: its language, the file that its title names, and its text."""

    language: str
    title: str
    code: str


class Page:
    """A page, by its path in the repository."""

    def __init__(self, path: str) -> None:
        self.path: Final = path
        self.file: Final = ROOT / path
        self.text: Final = self.file.read_text(encoding="utf-8")
        # A comment in a block is no heading, and what stands there in brackets is no link.
        self._prose: Final = _BLOCK.sub("", self.text)

    def __str__(self) -> str:
        return self.path

    @property
    def all_blocks(self) -> list[Block]:
        return [
            Block(found["language"], found["title"] or "", found["code"])
            for found in _BLOCK.finditer(self.text)
        ]

    def blocks(self, language: str) -> list[str]:
        """The code of the blocks of a language."""
        return [block.code for block in self.all_blocks if block.language == language]

    def section(self, title: str) -> str:
        """What stands below a heading, up to the next one."""
        texts = re.findall(rf"^#+ {title}\n(.*?)(?=^#+ |\Z)", self._prose, re.DOTALL | re.MULTILINE)
        assert len(texts) == 1, title
        return str(texts[0])

    def head(self, title: str) -> list[str]:
        """The cells of the head of the table of a section."""
        line = next(line for line in self.section(title).splitlines() if line.startswith("|"))
        return _cells(line)

    def rows(self, title: str) -> list[list[str]]:
        """The cells of the table of a section, without its head."""
        lines = [line for line in self.section(title).splitlines() if line.startswith("|")]
        return [_cells(line) for line in lines[2:]]

    def column(self, title: str, number: int) -> list[str]:
        return [row[number] for row in self.rows(title)]

    def names(self, title: str, number: int = 0) -> list[str]:
        """What stands in backticks in one column of a table."""
        return [name for cell in self.column(title, number) for name in codes(cell)]

    def headings(self) -> list[str]:
        return _HEADING.findall(self._prose)

    def anchors(self) -> set[str]:
        """The anchors that the headings have on a code host and, the same ones, on the site."""
        return {_on_a_code_host(title) for title in self.headings()} & {
            _on_the_site(title) for title in self.headings()
        }

    def links(self) -> list[str]:
        """The targets of links and pictures."""
        return _LINK.findall(self._prose)

    def local_links(self) -> Iterator[tuple[str, str]]:
        """The file, by its path in the repository, and the anchor of each link within it."""
        for link in self.links():
            if "://" not in link:
                path, _, anchor = link.partition("#")
                target = os.path.normpath(self.file.parent / path) if path else str(self.file)
                yield os.path.relpath(target, ROOT), anchor


def codes(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def pages() -> list[Page]:
    """Every page, those at the root first."""
    files = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
    return [Page(str(file.relative_to(ROOT))) for file in files]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _on_a_code_host(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _on_the_site(title: str) -> str:
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())

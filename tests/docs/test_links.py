"""Every link and picture of the documentation leads somewhere, on a code host and on the site."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.support.pages import DOCS, ROOT, Page, pages

PAGES: Final = pages()
PICTURES: Final = sorted(path for path in DOCS.rglob("*") if path.suffix in {".png", ".svg"})
LARGEST_PICTURE: Final = 250_000
ON_THE_CODE_HOST: Final = "../security/"
"""What a link leads to that is no file, but relative to those on a code host."""


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_of_a_page_leads_somewhere(page: Page) -> None:
    for path, anchor in page.local_links():
        if path.startswith(f"../{ON_THE_CODE_HOST}"):
            continue
        target = ROOT / path
        assert target.exists(), path
        assert target.is_relative_to(ROOT), path
        assert not anchor or anchor in Page(path).anchors(), f"{path}#{anchor}"


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_is_shown_and_small(picture: Path) -> None:
    shown = {path for page in PAGES for path, _ in page.local_links()}
    assert str(picture.relative_to(ROOT)) in shown
    assert picture.stat().st_size < LARGEST_PICTURE


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_picture_is_described(page: Page) -> None:
    assert not re.findall(r"!\[\]", page.text)


def test_every_page_is_in_the_navigation_of_the_site_and_no_other() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    listed = re.findall(r": (\S+\.md)$", navigation, re.MULTILINE)
    # The README and SECURITY.md.
    made = ["index.md", "security.md"]
    there = [str(file.relative_to(DOCS)) for file in DOCS.rglob("*.md")]
    assert sorted(listed) == sorted([*there, *made])


def test_the_navigation_has_the_sections_that_contributing_names() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    sections = re.findall(r"^  - ([^:]+):", navigation, re.MULTILINE)
    contributing = Page("CONTRIBUTING.md").column("Where the documentation lives", 0)
    assert contributing == sections

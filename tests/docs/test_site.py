"""The site that `nox -s docs` builds: every page is there, and it fetches nothing."""

import json
import os
import re
from html import unescape
from pathlib import Path
from typing import Final

import pytest

from tests.support.pages import DOCS, pages

pytestmark = pytest.mark.site

SITE: Final = Path(os.environ.get("SITE", "build/site"))
"""Where the session has built it."""

FETCHED: Final = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?(https?://[^\"> ]+)")
ALLOWED: Final = "https://github.com/"
"""The addresses of pictures of the repository."""


def text_of(path: str) -> str:
    return (SITE / path).read_text(encoding="utf-8")


def address_of(page: str) -> str:
    stem = page.removesuffix(".md")
    return "index.html" if stem == "index" else f"{stem}/index.html"


PAGES: Final = [
    "index.md",
    "security.md",
    *sorted(str(f.relative_to(DOCS)) for f in DOCS.rglob("*.md")),
]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_there_and_fetches_nothing_from_elsewhere(page: str) -> None:
    assert FETCHED.findall(text_of(address_of(page))) == []


@pytest.mark.parametrize("page", PAGES)
def test_no_link_of_a_page_is_to_a_markdown_file_of_the_site(page: str) -> None:
    links = re.findall(r"href=\"?([^\"> ]+)", text_of(address_of(page)))
    assert [link for link in links if link.endswith(".md") and "://" not in link] == []


def test_the_readme_is_the_first_page() -> None:
    assert "What it tells that 1006 does not" in unescape(text_of("index.html"))


def test_the_api_has_the_docstrings() -> None:
    text = unescape(re.sub("<[^>]+>", "", text_of("reference/api/index.html")))
    assert "The configuration of the view, or of all views of the class." in text
    assert "Whether parsing, validation and execution of queries and mutations get spans." in text


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("There is no SDK", "when-you-see-nothing/"),
        ("for which tenant", "recipes/auth/"),
        ("1006: there was no close frame", "reference/closes/"),
        ("WebSocketServerFailing", "operating/runbook/"),
    ],
)
def test_the_search_knows(words: str, page: str) -> None:
    index = json.loads(text_of("search/search_index.json"))
    found = {
        entry["location"].partition("#")[0] for entry in index["docs"] if words in entry["title"]
    }
    assert page in found


def test_all_pages_are_plain_markdown_also() -> None:
    assert not [page.path for page in pages() if "{%" in page.text or "???" in page.text]

"""Makes a site of pages that are read on a code host also.

The README is the first page, and SECURITY.md is a page. Links to files that are no pages lead to
the repository, whose address is `repository` in `pyproject.toml`.
"""

import posixpath
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
FROM_THE_ROOT: Final = {"index.md": "README.md", "security.md": "SECURITY.md"}
"""Pages of the site, and the file of each at the root of the repository."""

_PAGES: Final = {source: f"docs/{page}" for page, source in FROM_THE_ROOT.items()}
_LINK: Final = re.compile(r"\]\((?P<path>(?![a-z]+:)[^)#\s]+)(?P<anchor>#[^)\s]+)?\)")


def repository() -> str:
    """Return the repository's address."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"])


def on_config(config: MkDocsConfig) -> None:
    """Link the site to the repository."""
    config.repo_url = repository()
    config.repo_name = "Repository"


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages that are files at the root."""
    for page, source in FROM_THE_ROOT.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  # the host's names
    """Lead each relative link to a page of the site, or to the repository."""
    here = f"docs/{page.file.src_uri}"
    folder = posixpath.dirname(FROM_THE_ROOT.get(page.file.src_uri, here))

    def target(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link["path"]))
        anchor = link["anchor"] or ""
        if path.startswith("../../"):  # relative to a file on the code host
            return f"]({repository()}/{path.removeprefix('../../')}{anchor})"
        path = _PAGES.get(path, path)
        if path.startswith("docs/"):
            return f"]({posixpath.relpath(path, posixpath.dirname(here))}{anchor})"
        return f"]({repository()}/blob/HEAD/{path}{anchor})"

    return _LINK.sub(target, markdown)

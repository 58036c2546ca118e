"""The page on deployment quotes the files that the tests run, and its links lead somewhere."""

import re
from pathlib import Path
from textwrap import indent

import pytest

from tests.deployment.programs import ROOT

PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "examples" / "deployment"


def quoted(language: str) -> str:
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(block)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_configuration_of_gunicorn_is_the_one_that_runs() -> None:
    assert quoted("python") == (EXAMPLES / "gunicorn.conf.py").read_text(encoding="utf-8")


def test_the_configuration_of_nginx_is_part_of_the_one_that_runs() -> None:
    assert indent(quoted("nginx"), " " * 8) in (EXAMPLES / "nginx.conf").read_text(encoding="utf-8")


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((.+?)\)", PAGE))))
def test_a_link_has_its_target(link: str) -> None:
    path, _, anchor = link.partition("#")
    target = ROOT / "docs" / (path or "deployment.md")
    assert target.exists()
    assert not anchor or anchor in anchors(target)


def test_every_file_of_the_example_is_on_the_page() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    named = set(re.findall(r"examples/deployment/([\w.]+)", PAGE))
    assert names - named == {"__init__.py", "telemetry.py"}

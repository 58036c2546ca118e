"""The pages on deployment quote the files that the tests run."""

import re
from textwrap import indent
from typing import Final

from tests.support.pages import ROOT, Page

DEPLOYMENT: Final = Page("docs/operating/deployment.md")
GUNICORN: Final = Page("docs/recipes/gunicorn.md")
NGINX: Final = Page("docs/recipes/nginx.md")
EXAMPLES: Final = ROOT / "examples" / "deployment"


def quoted(page: Page, language: str) -> str:
    (block,) = page.blocks(language)
    return block


def test_the_configuration_of_gunicorn_is_the_one_that_runs() -> None:
    file = EXAMPLES / "gunicorn.conf.py"
    assert quoted(GUNICORN, "python") == file.read_text(encoding="utf-8")


def test_the_configuration_of_nginx_is_part_of_the_one_that_runs() -> None:
    file = EXAMPLES / "nginx.conf"
    assert indent(quoted(NGINX, "nginx"), " " * 8) in file.read_text(encoding="utf-8")


def test_every_file_of_the_example_is_on_a_page() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    text = DEPLOYMENT.text + GUNICORN.text + NGINX.text
    named = set(re.findall(r"examples/deployment/([\w.]+)", text))
    assert names - named == {"__init__.py", "telemetry.py"}

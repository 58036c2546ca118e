"""Every piece of Python in the documentation runs, and passes mypy --strict."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.diffs import applied
from tests.support.pages import ROOT, Page, pages
from tests.support.snippets import run, source_of

VENDORS: Final = "docs/recipes/vendors.md"
"""The page whose recipes run in an environment of each vendor's: `python -m tests.vendors`."""

ELSEWHERE: Final = {
    VENDORS: "tests/vendors/test_compatibility_page.py",
    "docs/recipes/gunicorn.md": "tests/deployment/test_deployment_page.py",
    "docs/recipes/without-code.md": "tests/docs/test_recipes.py",
    "docs/reference/log.md": "tests/docs/test_recipes.py",
    "docs/when-you-see-nothing.md": "tests/docs/test_when_you_see_nothing.py",
}
"""Pages whose Python is run by other tests, because it changes the process that runs it."""

PAGES: Final = [page for page in pages() if page.blocks("python")]


@pytest.mark.parametrize("page", [page for page in PAGES if page.path not in ELSEWHERE], ids=str)
def test_the_python_of_a_page_runs(page: Page) -> None:
    if source_of(page):
        run(page)


@pytest.mark.parametrize("path", ELSEWHERE)
def test_the_python_of_the_others_is_run_elsewhere(path: str) -> None:
    tests = (ROOT / ELSEWHERE[path]).read_text(encoding="utf-8")
    assert path in tests or "tests.vendors.page" in tests


def test_every_language_is_one_that_is_tested() -> None:
    languages = {block.language for page in pages() for block in page.all_blocks}
    assert languages <= {"diff", "json", "nginx", "promql", "python", "shell", "text", "yaml"}


def modules_of(page: Page) -> dict[str, str]:
    """The modules that a page makes: its files, and what else it has; for vendors, one for each."""
    stem = page.path.removeprefix("docs/").removesuffix(".md").replace("/", "_").replace("-", "_")
    if page.path == VENDORS:
        texts = re.split(r"^##+ ", page.text, flags=re.MULTILINE)[1:]
        blocks = [
            re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE) for text in texts
        ]
        return {
            f"{stem}_{number}": "\n".join(found) for number, found in enumerate(blocks) if found
        }
    modules = {
        Path(block.title).stem: block.code
        for block in page.all_blocks
        if block.language == "python" and block.title
    }
    if source := source_of(page):
        modules[stem] = source
    for number, change in enumerate(page.blocks("diff")):
        if "schema" in change and "import strawberry" in change:
            before, after = applied(change)
            given = "from tests.support.documented import Query, Subscription\n"
            modules[f"{stem}_{number}_before"] = given + before
            modules[f"{stem}_{number}_after"] = given + after
    return modules


RELAXED: Final = ("--ignore-missing-imports", "--allow-subclassing-any", "--allow-untyped-calls")
"""For what comes from packages of vendors, which are in environments of their own."""


@pytest.mark.types
@pytest.mark.parametrize("options", [(), RELAXED], ids=["all other pages", "vendors"])
def test_the_python_of_all_pages_passes_mypy_strict(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    files = []
    for page in pages():
        if (page.path == VENDORS) != bool(options):
            continue
        folder = tmp_path / page.file.stem.replace("-", "_")
        for name, source in modules_of(page).items():
            folder.mkdir(exist_ok=True)
            (folder / "__init__.py").touch()
            file = folder / f"{name}.py"
            file.write_text(source, encoding="utf-8")
            files.append(str(file.relative_to(tmp_path)))
    assert files
    done = subprocess.run(  # noqa: S603  # mypy
        [sys.executable, "-m", "mypy", "--strict", *options, *files],
        cwd=tmp_path,
        env={"MYPYPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

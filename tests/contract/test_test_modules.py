"""Tests are found by their subject. What two test modules need is in `tests.support`."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from tests.coverage_by_module import EXCEPTIONS, has_code, unit_test_of
from tests.support.library import MODULES as LIBRARY

ROOT: Final = Path(__file__).parents[2]
TESTS: Final = ROOT / "tests"
MODULES: Final = {
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path
    for path in sorted(TESTS.rglob("*.py"))
}
ONLY_TESTS: Final = ("unit", "contract", "aiohttp", "docs", "examples", "kit", "attacks/faults")
"""Packages whose helpers are in `tests.support`. The others are programs with tests."""

FOLDERS: Final = {
    mark: sorted(set(re.findall(r"tests/(\w+)", places)))
    for mark, places in re.findall(
        r'"-m", "(\w+)"((?:, "tests/[\w/.]+")+)', (ROOT / "noxfile.py").read_text(encoding="utf-8")
    )
}
"""Where the sessions of noxfile.py look for the tests with a mark."""


def imports_of(module: str) -> set[str]:
    """The modules that a module imports from, wherever in it, and whole modules of packages."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(f"{node.module}")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names & MODULES.keys()


def is_test(module: str) -> bool:
    return module.rpartition(".")[2].startswith(("test_", "conftest"))


def test_no_module_imports_from_a_test_module() -> None:
    imported = {module: sorted(filter(is_test, imports_of(module))) for module in MODULES}
    assert {module: names for module, names in imported.items() if names} == {}


def test_helpers_know_no_package_of_tests() -> None:
    allowed = ("tests.support", "tests.tools")
    imported = {
        module: sorted(name for name in imports_of(module) if not name.startswith(allowed))
        for module in MODULES
        if module.startswith("tests.support")
    }
    assert {module: names for module, names in imported.items() if names} == {}


@pytest.mark.parametrize("package", ONLY_TESTS)
def test_a_package_of_tests_has_no_other_modules(package: str) -> None:
    stems = {path.stem for path in (TESTS / package).glob("*.py")} - {"__init__", "conftest"}
    assert sorted(stem for stem in stems if not stem.startswith("test_")) == []


@pytest.mark.parametrize("mark", FOLDERS)
def test_a_mark_is_where_its_session_looks_for_it(mark: str) -> None:
    marked = [
        path.relative_to(TESTS).parts[0]
        for path in TESTS.rglob("test_*.py")
        if f"pytest.mark.{mark}" in path.read_text(encoding="utf-8")
    ]
    assert sorted(set(marked)) == FOLDERS[mark]


def test_each_mark_that_needs_something_has_a_session() -> None:
    marks = ["benchmark", "operations", "package", "rules", "site", "tools", "types"]
    assert sorted(FOLDERS) == marks


def test_each_module_of_the_library_has_unit_tests_of_its_name_or_an_exception() -> None:
    expected = {unit_test_of(module): module for module in filter(has_code, LIBRARY)}
    found = {path.relative_to(ROOT).as_posix() for path in (TESTS / "unit").glob("test_*.py")}
    assert sorted(found - expected.keys()) == []
    missing = {expected[path] for path in expected.keys() - found}
    assert sorted(missing - EXCEPTIONS.keys()) == []


def test_an_exception_names_tests_that_there_are() -> None:
    assert EXCEPTIONS.keys() <= LIBRARY.keys()
    packages = {path for each in EXCEPTIONS.values() for path in each.tests}
    assert all(list((ROOT / path).glob("test_*.py")) for path in packages)


def test_contributing_says_where_each_behaviour_is_tested() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    [section] = re.findall(
        r"^### Where a behaviour is tested\n(.*?)^##", contributing, re.MULTILINE | re.DOTALL
    )
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    paths = {path for row in rows for path in re.findall(r"`(tests/[\w/.]+)`", row)}
    assert all((ROOT / path).exists() for path in paths), paths
    packages = {path.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py")}
    assert packages <= {Path(path).parts[1] for path in paths}

"""Who may import whom: a core that knows no transport, edges around it, and one direction."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

import strawberry_ws_otel
from strawberry_ws_otel import _semconv
from tests.support.library import CONSOLE, FLOORS, MODULES, PACKAGE, ROOT, imports_of, tree_of

STDLIB_ONLY: Final = {"_protocol", "_close", "_semconv", "_limits"}
FORBIDDEN: Final = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.instrumentation")
ALLOWED: Final = {
    "instrumentor": {"opentelemetry.instrumentation.instrumentor.BaseInstrumentor"},
}
"""What a module with an extra of its own may import all the same."""

ON_TOP: Final = {"__init__", "instrumentor"}
"""The modules that applications import, above the edges."""


def own_imports_of(module: str) -> set[str]:
    """The modules of the library that a module imports."""
    paths = [
        name.removeprefix(f"{PACKAGE}.").split(".")
        for name in imports_of(module)
        if name.startswith(f"{PACKAGE}.")
    ]
    found = {"/".join(path[:length]) for path in paths for length in (1, 2)}
    return found & set(MODULES)


def packages_of(module: str) -> set[str]:
    """The packages beside the standard library, and the library itself, that a module imports."""
    packages = {name.partition(".")[0] for name in imports_of(module)}
    return packages - sys.stdlib_module_names - {PACKAGE}


@cache
def floor_of(module: str) -> int:
    """How many modules stand above each other down to this one."""
    return 1 + max(map(floor_of, own_imports_of(module)), default=0)


def test_the_architecture_in_contributing_is_the_one_that_is_tested() -> None:
    contributing = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    [section] = re.findall(r"^## Architecture\n(.*?)^## ", contributing, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| (`[_/a-z]+`(?:, `[_/a-z]+`)*) \| .+ \|$", section, re.MULTILINE)
    documented = [name for row in rows for name in re.findall(r"`(.+?)`", row)]
    assert sorted(documented) == sorted(name for name in MODULES if not name.endswith("/__init__"))


def test_every_module_has_its_row() -> None:
    found = {path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.rglob("*.py")}
    assert set(MODULES) == found
    assert len(MODULES) == sum(map(len, FLOORS))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_what_its_row_allows(module: str) -> None:
    own, packages = MODULES[module]
    assert own_imports_of(module) == set(own.split())
    assert packages_of(module) == packages


def test_a_module_stands_above_all_that_it_imports() -> None:
    floors = {module: number for number, floor in enumerate(FLOORS, 1) for module in floor}
    assert floors == {module: floor_of(module) for module in MODULES}


@pytest.mark.parametrize("module", sorted(STDLIB_ONLY))
def test_the_tables_of_the_core_know_the_standard_library_and_each_other(module: str) -> None:
    assert packages_of(module) == set()
    assert own_imports_of(module) <= STDLIB_ONLY


@pytest.mark.parametrize("module", [each for each in MODULES if not each.startswith(CONSOLE)])
def test_sdk_and_exporters_are_the_choice_of_the_application(module: str) -> None:
    found = {name for name in imports_of(module) if name.startswith(FORBIDDEN)}
    assert found <= ALLOWED.get(module, set())
    assert "rich" not in packages_of(module)


def test_the_console_is_imported_by_nobody_and_imports_tables_only() -> None:
    for module in MODULES:
        own = own_imports_of(module)
        if module.startswith(CONSOLE):
            assert {each for each in own if not each.startswith(CONSOLE)} <= STDLIB_ONLY
        else:
            assert not [each for each in own if each.startswith(CONSOLE)]


def test_the_library_imports_neither_rich_nor_the_sdk() -> None:
    program = (
        "import sys, strawberry_ws_otel as package; package.OTelViewMixin;"
        "print(*(name for name in ('rich', 'opentelemetry.sdk', 'strawberry_ws_otel.console')"
        " if name in sys.modules))"
    )
    done = subprocess.run(  # noqa: S603  # our own program
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == []


def modules_that_import(package: str) -> set[str]:
    return {module for module in MODULES if package in packages_of(module)}


def test_only_the_edges_know_the_hosts() -> None:
    assert all(name.startswith("_aiohttp/") for name in modules_that_import("aiohttp"))
    hosts = modules_that_import("strawberry") | modules_that_import("graphql")
    assert all(name.startswith(("_strawberry/", "_aiohttp/")) for name in hosts - ON_TOP)


def test_nothing_of_the_core_or_of_strawberry_s_edge_leads_to_aiohttp() -> None:
    for module in MODULES:
        if not module.startswith("_aiohttp/") and module not in ON_TOP:
            assert not [name for name in own_imports_of(module) if name.startswith("_aiohttp")]


def test_the_door_has_eight_names_and_a_version() -> None:
    assert set(strawberry_ws_otel.__all__) == {
        "OTelConfig",
        "OTelExtension",
        "OTelViewMixin",
        "OpenConnection",
        "OpenOperation",
        "connection_attributes",
        "connection_span",
        "open_connections",
        "__version__",
    }


# --- Module state ----------------------------------------------------------------------------

ALIASES: Final = {"TypeVar", "Literal", "Mapping", "Iterable", "Callable"}
"""What an assignment makes that is a name of a type."""

MUTATORS: Final = {
    "add",
    "append",
    "clear",
    "discard",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "setdefault",
    "sort",
    "update",
}


@dataclass(frozen=True)
class Assignment:
    """One name that a module assigns at its top."""

    module: str
    name: str
    final: bool
    value: ast.expr | None

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    @property
    def is_type(self) -> bool:
        root = self.value
        while isinstance(root, ast.Subscript | ast.Call):
            root = root.value if isinstance(root, ast.Subscript) else root.func
        return isinstance(root, ast.Name) and root.id in ALIASES

    @property
    def is_logger(self) -> bool:
        return self.value is not None and ast.unparse(self.value).startswith("logging.getLogger(")


def assignments() -> Iterator[Assignment]:
    for module in MODULES:
        for node in tree_of(module).body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                final = ast.unparse(node.annotation).startswith(("Final", "TypeAlias"))
                yield Assignment(module, node.target.id, final, node.value)
            elif isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        yield Assignment(module, target.id, final=False, value=node.value)


ASSIGNMENTS: Final = list(assignments())


@pytest.mark.parametrize("assignment", ASSIGNMENTS, ids=str)
def test_what_a_module_assigns_is_final(assignment: Assignment) -> None:
    dunder = assignment.name.startswith("__")
    assert assignment.final or assignment.is_type or assignment.is_logger or dunder


@pytest.mark.parametrize("module", MODULES)
def test_no_module_rebinds_a_global(module: str) -> None:
    assert not [node for node in ast.walk(tree_of(module)) if isinstance(node, ast.Global)]


def mutated(tree: ast.Module) -> Iterator[str]:
    """The names of what is changed in place anywhere: by item, by attribute or by a method."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(
            node.ctx, ast.Store | ast.Del
        ):
            yield ast.unparse(node.value)
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in MUTATORS
        ):
            yield ast.unparse(node.func.value)


@pytest.mark.parametrize("module", MODULES)
def test_no_module_changes_what_it_assigned(module: str) -> None:
    own = {each.name for each in ASSIGNMENTS if each.module == module and str(each) not in CHANGED}
    assert own.isdisjoint(mutated(tree_of(module)))


STATELESS: Final = {
    "_aiohttp/view._PROBE",
    "_environment._SCALARS",
    "_operation.IGNORED",
    "_operation.TRANSITIONS",
    "_operation._STOPPED",
    "_protocol._VOCABULARIES",
    "_spans.NOT_STARTED",
    "_strawberry/adapter.ADAPTER_LAYER",
    "_strawberry/handlers.HANDLER_LAYERS",
}
"""What holds objects of our own of which nobody can see a change."""

REQUESTS: Final = "_operations.unclaimed"
"""The requests, held weakly, whose operations were not executed yet.

An execution may begin in a task that has no context of ours, and knows its document only.
"""

SHOWN: Final = "console/_show.SHOWN"
"""Which tracer provider has an exporter for the console: a second `show()` adds no other one."""

LIVE: Final = "_open.live"
"""The open connections of the process, held weakly."""

CHANGED: Final = {REQUESTS, SHOWN}
"""What a module changes in place."""

STATE: Final = {
    "_metrics.metrics_of",
    "_segments.take_turns",
    "_current._CURRENT",
    REQUESTS,
    LIVE,
}
"""What holds state: that of a process, of event loops, of a task, and what lives as it lives."""


def makes_objects(value: ast.expr | None) -> bool:
    """Whether a class of ours is called in an expression."""
    return value is not None and any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id.strip("_")[0].isupper()
        for node in ast.walk(value)
    )


def test_instruments_a_context_variable_requests_and_connections_are_all_state() -> None:
    made = {
        str(assignment)
        for assignment in ASSIGNMENTS
        if not assignment.is_type and makes_objects(assignment.value)
    }
    assert made == STATELESS | STATE


# --- Names -----------------------------------------------------------------------------------

LOOKS_LIKE_A_NAME: Final = re.compile(r"(websocket|graphql)\.[a-z].*|GraphQL( [A-Z]\w+)+")
NAMES: Final = {
    value
    for name, value in vars(_semconv).items()
    if name.isupper() and name != "SCOPE" and isinstance(value, str)
}


def docstrings(tree: ast.Module) -> set[int]:
    """The strings, by their identity, that stand as statements."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def literals(module: str) -> Iterator[str]:
    tree = tree_of(module)
    documentation = docstrings(tree)
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in documentation:
            yield ast.literal_eval(node)


@pytest.mark.parametrize("module", [module for module in MODULES if module != "_semconv"])
def test_names_of_the_telemetry_stand_in_one_module(module: str) -> None:
    found = set(literals(module))
    assert found.isdisjoint(NAMES)
    assert not [literal for literal in found if LOOKS_LIKE_A_NAME.fullmatch(literal)]

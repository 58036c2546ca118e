"""Every command of the documentation can be run: what it names is there, and takes its options."""

import asyncio
import os
import re
import shlex
import sys
import tomllib
from importlib.metadata import version
from typing import Any, Final

import pytest
from opentelemetry import environment_variables as api_variables
from opentelemetry.instrumentation import environment_variables as instrumentation_variables
from opentelemetry.sdk import environment_variables

from strawberry_ws_otel._environment import readers
from tests.support.pages import DOCS, ROOT, Page, pages
from tests.vendors.page import PAGE as VENDORS

PAGES: Final = [page for page in pages() if page.path != "CHANGELOG.md"]
BLOCKS: Final = [
    pytest.param(block, id=f"{page} {block.splitlines()[0][:40]}")
    for page in PAGES
    for block in page.blocks("shell")
]
PYPROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())

RUN_ELSEWHERE: Final = {
    "amtool": "tests/kit/test_runbook.py",
    "curl": "tests/kit/test_runbook.py",
    "opentelemetry-instrument": "tests/deployment/test_opentelemetry_instrument.py",
    "pip-audit": "SECURITY.md says what it needs",
    "prometheus": "tests/kit/test_tutorial_alert.py",
    "mkdir": "tests/docs/test_tutorial.py",
    "cd": "tests/docs/test_tutorial.py",
}
"""Programs that are run where they are installed, and by what."""


def commands_of(page: Page) -> list[list[str]]:
    """The words of every command; what is joined with `&&` is several commands."""
    text = "".join(page.blocks("shell")).replace("\\\n", " ")
    return [shlex.split(one) for line in text.splitlines() for one in line.split("&&")]


def without_variables(command: list[str]) -> list[str]:
    return command[next(i for i, word in enumerate(command) if "=" not in word) :]


def exports_of(page: Page) -> list[str]:
    """The variables that a page sets."""
    words = [
        word
        for command in commands_of(page)
        for word in (
            command[1:]
            if command[0] == "export"
            else command[: len(command) - len(without_variables(command))]
        )
    ]
    return [word.partition("=")[0] for word in words]


COMMANDS: Final = [
    without_variables(command)
    for page in PAGES
    for command in commands_of(page)
    if command[0] != "export"
]
UNIQUE: Final = sorted({shlex.join(command) for command in COMMANDS})


def starting_with(*words: str) -> list[list[str]]:
    """The rest of the commands that start so."""
    commands = map(shlex.split, UNIQUE)
    return [command[len(words) :] for command in commands if command[: len(words)] == list(words)]


async def run(*command: str) -> tuple[int | None, str]:
    """Run a program in the checkout; return its status and what it printed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


MODULES: Final = [
    words for words in starting_with(".venv/bin/python", "-m") if words[0] != "pytest"
]
SERVES: Final = "examples.deployment.serve"
"""A program without options, which `tests/deployment` runs."""
FILES: Final = [words for words in starting_with(".venv/bin/python") if words[0] != "-m"]
SCRIPTS: Final = [words for words in map(shlex.split, UNIQUE) if words[0].startswith("examples/")]
COMPOSE: Final = starting_with("docker", "compose", "-f")
INSTALLS: Final = [*starting_with(".venv/bin/pip", "install"), *starting_with("pip", "install")]
CHECKS: Final = [
    shlex.join(words)
    for tool in ("ruff", "mypy", "python -m pytest", "mkdocs")
    for rest in starting_with(*f".venv/bin/{tool}".split())
    for words in ([*tool.split(), *rest],)
]
SESSIONS: Final = starting_with(".venv/bin/nox")
CONTAINERS: Final = starting_with("docker", "run")
SETUPS: Final = starting_with("python3", "-m", "venv")
OTHERS: Final = [words for words in map(shlex.split, UNIQUE) if words[0] in RUN_ELSEWHERE]


def test_every_command_is_of_a_kind_that_is_tested() -> None:
    programs = [*MODULES, *FILES, *SCRIPTS, *INSTALLS, *SETUPS, *SESSIONS, *OTHERS]
    assert len(UNIQUE) == len(programs) + len(CHECKS) + len(COMPOSE) + len(CONTAINERS)


@pytest.mark.parametrize("block", BLOCKS)
async def test_a_shell_can_read_it(block: str) -> None:
    assert await run("bash", "-n", "-c", block) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("words", MODULES, ids=" ".join)
async def test_a_program_takes_the_options_that_a_page_gives_it(words: list[str]) -> None:
    module, *options = words
    if module == SERVES:
        assert not options
        return
    status, usage = await run(sys.executable, "-m", module, "--help")
    assert status == 0, usage
    assert all(option in usage for option in options if option.startswith("-"))


@pytest.mark.parametrize("words", SCRIPTS, ids=" ".join)
async def test_a_script_is_there_and_can_be_read(words: list[str]) -> None:
    (script,) = words
    assert os.access(ROOT / script, os.X_OK)
    assert await run("bash", "-n", script) == (0, "")


@pytest.mark.parametrize("words", COMPOSE, ids=" ".join)
def test_compose_is_given_a_file_that_is_there(words: list[str]) -> None:
    assert (ROOT / words[0]).is_file()


@pytest.mark.parametrize("words", FILES, ids=" ".join)
def test_a_file_that_is_run_is_on_the_page(words: list[str]) -> None:
    titles = {block.title for page in PAGES for block in page.all_blocks}
    assert set(words) <= titles


@pytest.mark.parametrize("words", INSTALLS, ids=" ".join)
def test_what_is_installed_is_a_group_or_something_that_the_tests_need(words: list[str]) -> None:
    groups: dict[str, list[str | dict[str, str]]] = PYPROJECT["dependency-groups"]
    known = {
        re.split(r"[\[>=;]", one)[0]
        for group in groups.values()
        for one in group
        if isinstance(one, str)
    }
    words = [word for word in words if word not in {"--quiet", "--upgrade", "-e"}]
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--group":
            assert following in groups
        elif extras := re.fullmatch(r"\.\[([\w,]+)\]", word):
            assert {*extras[1].split(",")} <= {*PYPROJECT["project"]["optional-dependencies"]}
        elif word not in groups:
            # The last one is installed by `.ci/run`.
            here = {".", "../strawberry_ws_otel", "pip", "pip-audit", "opentelemetry-exporter-otlp"}
            assert word in known | here


NEEDS: Final = {"examples.operations.render": "operations"}
"""Programs that need another group than `demo`."""


def test_a_page_installs_what_its_programs_need_before_they_run() -> None:
    for page in PAGES:
        for block in page.blocks("shell"):
            for program, group in NEEDS.items():
                before, runs, _ = block.partition(f"-m {program} ")
                assert not runs or f"pip install --quiet -e . --group {group}\n" in before, page


@pytest.mark.parametrize("command", CHECKS)
def test_a_check_is_one_that_a_session_runs(command: str) -> None:
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    first, *_ = command.removeprefix("python -m ").split()
    assert f'"{first}"' in noxfile


@pytest.mark.parametrize("words", SESSIONS, ids=" ".join)
def test_a_session_is_there(words: list[str]) -> None:
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    names, _, _ = " ".join(words).partition(" -- ")
    for name in names.split():
        if not name.startswith("-"):
            assert f"def {name.partition('-')[0]}(" in noxfile


# --- Variables -------------------------------------------------------------------------------

AIOHTTP_SERVER: Final = "docs/recipes/aiohttp-server.md"
"""Its variable is set by `tests/docs/test_recipes.py`."""

VARIABLES: Final = [
    pytest.param(page, variable, id=f"{page} {variable}")
    for page in PAGES
    # Those of vendors are set before their programs run.
    if page.path != AIOHTTP_SERVER and page.file != VENDORS
    for variable in sorted(set(exports_of(page)))
    if variable.startswith("OTEL_")
]


def known_variables() -> set[str]:
    modules = api_variables, environment_variables, instrumentation_variables
    return {str(value) for module in modules for value in vars(module).values()} | {*readers()}


def number(text: str) -> tuple[int, int]:
    major, minor, *_ = text.split(".")
    return int(major), int(minor)


@pytest.mark.parametrize(("page", "variable"), VARIABLES)
def test_a_variable_is_known_to_opentelemetry_or_us(page: Page, variable: str) -> None:
    since = re.search(rf"^\| `{variable}` .*from SDK ([\d.]+) on", page.text, re.MULTILINE)
    if since and number(version("opentelemetry-sdk")) < number(since[1]):
        pytest.skip("the SDK is older")
    assert variable in known_variables()


def test_no_command_is_hidden_in_a_block_without_a_language() -> None:
    assert DOCS.is_dir()
    for page in PAGES:
        fences = re.findall(r"^ *```(.*)$", page.text, re.MULTILINE)
        assert all(fences[::2]), page

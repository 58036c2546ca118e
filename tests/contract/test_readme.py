"""The README is a door: it is short, its commands run, and its figures are those of other pages."""

import re
import tomllib
from dataclasses import dataclass
from typing import Any, Final

import pytest

from strawberry_ws_otel import __version__
from tests.support.pages import ROOT, Page, codes

README: Final = Page("README.md")
COST: Final = Page("docs/cost.md")
CI: Final = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
NOXFILE: Final = (ROOT / "noxfile.py").read_text(encoding="utf-8")
PYPROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: Final[dict[str, Any]] = PYPROJECT["project"]

LONGEST: Final = 150
FIRST_SCREEN: Final = 40
"""Lines of a README that a reader sees without scrolling."""


# --- What a reader sees first ----------------------------------------------------------------


def commands() -> list[str]:
    return [line for block in README.blocks("shell") for line in block.splitlines()]


def test_the_readme_is_short() -> None:
    assert len(README.text.splitlines()) <= LONGEST


def test_the_readme_opens_with_one_sentence_and_a_picture() -> None:
    opening, picture, _ = README.text.split("```", 2)
    assert len(re.findall(r"[.](?=\s)", opening)) == 1, "it says in one sentence what it is"
    assert picture.startswith("text\n")


def test_the_first_screen_has_exactly_two_commands() -> None:
    first = README.blocks("shell")[0]
    assert len(first.splitlines()) == 2
    assert README.text[: README.text.index(first) + len(first)].count("\n") <= FIRST_SCREEN


def test_each_of_the_two_commands_does_its_own_set_up() -> None:
    for command in commands()[:2]:
        venv, pip, package, _ = command.split(" && ")
        assert venv == "python3 -m venv .venv"
        # Python 3.11 comes with a pip that knows no groups.
        assert pip == ".venv/bin/pip install --quiet --upgrade pip"
        assert package.startswith(".venv/bin/pip install --quiet -e . --group ")


def test_ci_runs_every_command_of_the_readme() -> None:
    numbers = {int(number) for number in re.findall(r"run_readme_command (\d)", CI)}
    assert numbers == set(range(1, len(commands()) + 1))


def test_ci_reads_the_commands_from_the_readme() -> None:
    assert not [command for command in commands() if command in CI]


# --- What it costs ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What one row of the measurement costs: factors of three things, and µs of a connection."""

    factors: tuple[float, float, float]
    connection: int

    def on_top_of(self, other: "Cost") -> list[str]:
        """Say what both cost together, beside bare Strawberry."""
        pairs = zip(self.factors, other.factors, strict=True)
        percents = [f"+{round((ours * theirs - 1) * 100)} %" for ours, theirs in pairs]
        return [*percents, f"+{self.connection + other.connection} µs"]


NOTHING: Final = Cost((1, 1, 1), 0)


def measured(arm: str) -> Cost:
    """Read a row of the measurement."""
    [row] = [row for name, *row in COST.rows("CPU") if name == arm]
    *factors, connection = row
    result, subscription, query = (float(factor[1:].split()[0]) for factor in factors)
    return Cost((result, subscription, query), int(connection.split()[0]))


@pytest.mark.parametrize(
    ("page", "title"), [(README, "What it costs"), (COST, "Both halves together")], ids=str
)
def test_both_halves_cost_what_was_measured(page: Page, title: str) -> None:
    extension = measured("empty extension")
    for column, sampled in enumerate(("sampled", "not sampled"), 1):
        both = measured(f"mixin + extension, {sampled}").on_top_of(extension)
        assert [cell.split(" (")[0] for cell in page.column(title, column)] == both


def test_the_others_cost_what_was_measured() -> None:
    costs = {name: row for name, *row in README.rows("Beside other instrumentations")}
    strawberrys = measured("Strawberry's OTel extension, sampled").on_top_of(NOTHING)
    aiohttps = measured("aiohttp-server, sampled").on_top_of(NOTHING)
    ours = measured("mixin + extension, sampled").on_top_of(measured("empty extension"))
    none = {"+0 %": "none", "+-1 µs": "none"}
    for line, index in (("CPU of a result, sampled", 0), ("CPU of a connection, sampled", 3)):
        figures = [each[index] for each in (strawberrys, aiohttps, ours)]
        assert costs[line] == [none.get(figure, figure) for figure in figures]


def test_the_cost_page_says_what_strawberrys_own_extension_adds() -> None:
    arms = ("no-op", "no SDK", "not sampled", "sampled")
    percents = [
        round((measured(f"Strawberry's OTel extension, {arm}").factors[0] - 1) * 100)
        for arm in arms
    ]
    assert f"adds {min(percents)} to {max(percents)} % to a result" in COST.text


# --- Versions --------------------------------------------------------------------------------


def lowest_versions() -> dict[str, str]:
    """The lower bounds of `pyproject.toml`, of the package and of what its tests need."""
    requirements = [*PROJECT["dependencies"]]
    for extra in PROJECT["optional-dependencies"].values():
        requirements += extra
    for group in "demo", "operations", "benchmark", "test":
        requirements += PYPROJECT["dependency-groups"][group]
    named = (one for one in requirements if isinstance(one, str))
    matches = (re.match(r"([\w-]+)(?:\[\w+\])?>=([\w.]+)", one) for one in named)
    return {match[1]: match[2] for match in matches if match}


def test_the_readme_names_the_lowest_versions() -> None:
    recorded = {
        (codes(name) or [name])[0]: version for name, version, _ in README.rows("Compatibility")
    }
    lowest = lowest_versions()
    assert recorded.pop("Python") == PROJECT["requires-python"].removeprefix(">=")
    assert recorded == {name: lowest[name] for name in recorded}
    assert len(recorded) == len(PROJECT["dependencies"])


def test_the_lowest_versions_are_the_ones_that_ci_tests() -> None:
    text = (ROOT / "tests" / "constraints-lowest.txt").read_text()
    tested = dict(re.findall(r"^([\w-]+)==(\S+)$", text, re.MULTILINE))
    for name, version in lowest_versions().items():
        padded = f"{version}.0" if version.count(".") == 1 and "b" not in version else version
        assert tested[name] == padded
    assert "constraints-lowest.txt" in NOXFILE


def test_the_readme_names_the_pythons_that_ci_tests() -> None:
    [why] = [row[2] for row in README.rows("Compatibility") if row[0] == "Python"]
    minors = [
        int(minor)
        for minor in re.findall(r":: Python :: 3\.(\d+)", "\n".join(PROJECT["classifiers"]))
    ]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert f"tested with 3.{minors[0]} to 3.{minors[-1]}," in why


def numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def test_a_version_is_released_or_a_development_version_of_the_next() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased, released, *_ = re.findall(r"^## \[(.+?)\]", changelog, re.MULTILINE)
    assert unreleased == "Unreleased"
    version, is_development, _ = __version__.partition(".dev")
    if is_development:
        assert numbers(version) > numbers(released)
    else:
        assert version == released


def test_a_change_starts_with_what_it_is_about() -> None:
    unreleased = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")[1]
    changes = re.findall(r"^- .*", unreleased, re.MULTILINE)
    assert changes
    assert [change for change in changes if not change.startswith("- `")] == []


def test_ci_runs_every_session_and_contributing_has_it() -> None:
    sessions = re.findall(r"^@nox\.session.*\ndef (\w+)", NOXFILE, re.MULTILINE)
    runs = " ".join(re.findall(r'"\$\{nox\[@\]\}" (.*)', CI))
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    [table] = re.findall(r"^\| session \|.*?\n\n", contributing, re.MULTILINE | re.DOTALL)
    assert sessions
    for session in sessions:
        assert re.search(rf"\b{session}\b", runs)
        assert re.search(rf"^\| .*`{session}[-\d.]*`.* \|", table, re.MULTILINE)


def test_pre_commit_runs_the_commands_of_the_sessions() -> None:
    config = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    hooks = re.findall(r"entry: (.*)", config)
    assert hooks == ["ruff check", "ruff format --check", "mypy"]
    for hook in hooks:
        arguments = ", ".join(f'"{word}"' for word in hook.split())
        assert f"session.run({arguments})" in NOXFILE

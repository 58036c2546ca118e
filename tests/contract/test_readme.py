"""The documents say what the code says: every name and number in the README's tables, both ways."""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import strawberry
from strawberry.aiohttp.views import GraphQLView

from strawberry_ws_otel import OTelConfig, __version__, _protocol, _semconv
from strawberry_ws_otel._close import FAULTS, CloseCode, CloseFrame, Facts, verdict
from strawberry_ws_otel._environment import PREFIX, readers
from strawberry_ws_otel._operation import _FAILURES, EndReason
from tests.support.instruments import INSTRUMENTS
from tests.support.schema import Query, Subscription

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
NOXFILE = (ROOT / "noxfile.py").read_text(encoding="utf-8")
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT: dict[str, Any] = PYPROJECT["project"]

OPERATION_SPANS = {"subscription", "query", "mutation"}
"""What a span is called when the type of its operation is known."""


def blocks(language: str) -> list[str]:
    """The fenced code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def section(title: str) -> str:
    """What stands below a heading, up to the next one."""
    texts = re.findall(rf"^#+ {title}\n(.*?)(?=^#+ |\Z)", README, re.DOTALL | re.MULTILINE)
    assert len(texts) == 1, title
    return str(texts[0])


def head(title: str) -> list[str]:
    line = next(line for line in section(title).splitlines() if line.startswith("|"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def rows(title: str) -> list[list[str]]:
    """The cells of the table of a section, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def column(title: str, number: int) -> list[str]:
    return [row[number] for row in rows(title)]


def codes(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def names(title: str, number: int = 0) -> list[str]:
    """What stands in backticks in one column of a table."""
    return [name for cell in column(title, number) for name in codes(cell)]


def constants() -> dict[str, str]:
    return {key: value for key, value in vars(_semconv).items() if key.isupper()}


def values(prefix: str) -> set[str]:
    """The constants of `_semconv` whose own name starts so."""
    return {value for key, value in constants().items() if key.startswith(prefix)}


def is_attribute(constant: str) -> bool:
    return not constant.startswith(("SPAN_", "EVENT_", "METRIC_", "LOG_")) and constant not in {
        "SCOPE",
        "OTHER",
    }


# --- Names of telemetry ----------------------------------------------------------------------


def test_every_option_has_its_environment_variable_and_the_values_that_it_takes() -> None:
    documented = {codes(variable)[0]: values_ for variable, values_ in rows("Without code")}
    assert documented == {name: reader.allowed for name, reader in readers().items()}
    providers = {"tracer_provider", "meter_provider"}
    options = {f"{PREFIX}{field.name.upper()}" for field in fields(OTelConfig)}
    assert documented.keys() == options - {f"{PREFIX}{each.upper()}" for each in providers}


def test_every_span_is_in_the_readme_and_no_other() -> None:
    assert sorted(names("Spans")) == sorted(values("SPAN_") | OPERATION_SPANS)


def test_every_event_is_in_the_readme_and_no_other() -> None:
    prefix = _semconv.EVENT_MESSAGE_PREFIX
    events = {f"{prefix}<type>" if event == prefix else event for event in values("EVENT_")}
    assert sorted(names("Span events")) == sorted(events)


def test_every_metric_is_in_the_readme_and_no_other() -> None:
    assert sorted(names("Metrics")) == sorted(values("METRIC_"))


def test_every_attribute_is_in_the_readme_and_no_other() -> None:
    recorded = {*names("Span attributes"), *names("Span events", 3), *names("Metrics", 3)}
    assert recorded == {value for key, value in constants().items() if is_attribute(key)}


def test_no_attribute_is_explained_twice() -> None:
    assert len(set(names("Span attributes"))) == len(names("Span attributes"))


def test_every_message_type_is_in_the_readme_and_no_other() -> None:
    words = {"in": "receive", "out": "transmit"}
    protocols = [codes(cell)[0] for cell in head("Message types")[1:]]
    recorded = {
        (protocol, words[word], name)
        for (cell, *directions) in rows("Message types")
        for name in codes(cell)
        for protocol, directed in zip(protocols, directions, strict=True)
        for word in filter(None, directed.split(", "))
    }
    known = {
        (protocol, message_type.direction, message_type.name)
        for protocol in (_protocol.GRAPHQL_TRANSPORT_WS, _protocol.GRAPHQL_WS)
        for types in (_protocol.vocabulary(protocol).received, _protocol.vocabulary(protocol).sent)
        for message_type in types.values()
    }
    assert recorded == known


def test_every_metric_has_the_instrument_and_the_unit_that_the_readme_says() -> None:
    words = {
        "observable_up_down_counter": "up-down counter",
        "observable_counter": "counter",
        "histogram": "histogram",
    }
    recorded = {
        codes(name)[0]: (instrument, codes(unit)[0])
        for name, instrument, unit, _ in rows("Metrics")
    }
    assert recorded == {name: (words[kind], unit) for name, (kind, unit, _) in INSTRUMENTS.items()}


# --- Closes and operations -------------------------------------------------------------------


def test_every_outcome_is_in_the_readme_with_its_fault_and_no_other() -> None:
    recorded = [
        (codes(outcome)[0], abnormal, codes(fault)[0])
        for outcome, abnormal, fault, *_ in rows("Verdicts")
    ]
    assert recorded == [
        (outcome.value, "no" if fault.value == "none" else "yes", fault.value)
        for outcome, fault in FAULTS.items()
    ]


def test_every_outcome_is_explained() -> None:
    assert all(when and meaning for _, _, _, when, meaning in rows("Verdicts"))


def judged(code: int) -> tuple[str, str]:
    """The verdicts over a first close frame with this code, from the server and the client."""
    ours, theirs = Facts(upgraded=True), Facts(upgraded=True)
    ours.frame_sent(CloseFrame(code))
    theirs.frame_received(CloseFrame(code))
    return verdict(ours).outcome.value, verdict(theirs).outcome.value


def test_every_close_code_is_in_the_readme_with_its_verdicts_and_no_other() -> None:
    *named, (application, *by_range), (_, *by_default) = rows("Close codes")
    assert [(int(code), codes(name)[0]) for code, name, *_ in named] == [
        (code.value, code.name) for code in CloseCode
    ]
    for code, _, *outcomes in named:
        assert tuple(codes(cell)[0] for cell in outcomes) == judged(int(code))
    first, last = map(int, application.split("–"))  # noqa: RUF001  # as a reader expects a range
    for other, (_, *outcomes) in ((first, by_range), (last, by_range), (2999, by_default)):
        assert tuple(codes(cell)[0] for cell in outcomes) == judged(other)


def test_every_end_reason_is_in_the_readme_with_its_status_and_no_other() -> None:
    statuses = {
        **dict.fromkeys(EndReason, "unset"),
        **dict.fromkeys(_FAILURES, "ERROR"),
        EndReason.CONNECTION_CLOSED: "ERROR if abnormal",
    }
    recorded = {codes(reason)[0]: status for reason, status, _ in rows("How operations end")}
    assert recorded == {reason.value: status for reason, status in statuses.items()}


# --- Options ---------------------------------------------------------------------------------


def test_every_option_is_in_the_readme_with_its_default_and_no_other() -> None:
    default = OTelConfig()
    recorded = {codes(name)[0]: codes(value)[0] for name, value, _ in rows("Configuration")}
    assert recorded == {
        field.name: repr(getattr(default, field.name)).replace("'", '"')
        for field in fields(OTelConfig)
    }


@pytest.mark.parametrize("option", ["trace_shape", "remote_context", "error_messages"])
def test_every_choice_that_the_readme_offers_is_one(option: str) -> None:
    [meaning] = [row[2] for row in rows("Configuration") if codes(row[0]) == [option]]
    choices = re.findall(r'`"(\w+)"`', meaning)
    assert len(choices) > 1
    for choice in choices:
        OTelConfig(**{option: choice})


# --- Commands and code -----------------------------------------------------------------------


def commands() -> list[str]:
    return [line for block in blocks("shell") for line in block.splitlines()]


def test_the_readme_opens_with_exactly_two_commands() -> None:
    opening, first_block, _ = README.split("```", 2)
    assert first_block.startswith("shell\n")
    assert len(blocks("shell")[0].splitlines()) == 2
    assert len(re.findall(r"[.](?=\s)", opening)) == 2, "it says in two sentences what it is"


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


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    # No terminal, on which the console would draw.
    namespace: dict[str, Any] = {"Query": Query, "Subscription": Subscription}
    try:
        for block in blocks("python"):
            exec(compile(ast.parse(block), "README.md", "exec"), namespace)  # noqa: S102  # our own
    finally:
        namespace["StrawberryWebSocketInstrumentor"]().uninstrument()
    assert isinstance(namespace["schema"], strawberry.Schema)
    assert isinstance(namespace["LoggedInView"](schema=namespace["schema"]), GraphQLView)


def links() -> Iterator[str]:
    yield from re.findall(r"\]\(([^)]+)\)", README)


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {heading.lower().replace(" ", "-") for heading in headings}


def test_every_link_leads_somewhere() -> None:
    for link in links():
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            page = ROOT / (path or "README.md")
            assert page.is_file(), link
            assert not anchor or anchor in anchors_of(page), link


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
    recorded = {(codes(name) or [name])[0]: version for name, version, _ in rows("Compatibility")}
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
    [why] = [row[2] for row in rows("Compatibility") if row[0] == "Python"]
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

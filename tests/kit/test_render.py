"""What `render` writes are the rules, with one's own addresses, thresholds and severities."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from examples.operations import render
from examples.operations.binaries import HERE, INSTALL, installed
from examples.operations.rules import OPTIONAL
from examples.operations.thresholds import applied_to, defaults, stated
from tests.support.kit.prometheus import run
from tests.support.pages import Page

ADDRESSES = ("--jaeger", "https://jaeger.example.com/ui/", "--runbook", "https://example.com/run")
TEXTS = [(HERE / name).read_text(encoding="utf-8") for name in (*render.RULES, *OPTIONAL)]
LINKED = "links.yml"
"""The tests of where the addresses come from, which are baked in here."""

NO_JAEGER = "is not an address such as https://example.com/jaeger, without ? and #"
NO_RUNBOOK = "is not an address such as https://example.com/runbook, without #"

Render = Callable[..., str]


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Render:
    """Runs the command with these arguments, and returns what it writes."""

    def write(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["render", *ADDRESSES, *arguments])
        assert render.main() == 0
        return capsys.readouterr().out

    return write


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Render:
    """Runs the command with arguments that it refuses, and returns its last line."""

    def refuse(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["render", *ADDRESSES, *arguments])
        with pytest.raises(SystemExit) as ended:
            render.main()
        assert ended.value.code == 2
        written = capsys.readouterr()
        assert not written.out
        return written.err.splitlines()[-1].partition("error: ")[2]

    return refuse


def rules_of(text: str) -> Iterator[dict[str, Any]]:
    for document in yaml.safe_load_all(text):
        for group in document.get("spec", document).get("groups", ()):
            yield from group["rules"]


def alerts_of(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The alerts, by their name and severity."""
    return {
        (rule["alert"], rule["labels"]["severity"]): rule
        for rule in rules_of(text)
        if "alert" in rule
    }


def shipped() -> str:
    """All files of rules, one after the other, without the names of thresholds."""
    return "---\n".join(applied_to(text, defaults(TEXTS)) for text in TEXTS)


# --- The rules ----------------------------------------------------------------------------------


def test_without_changes_the_rules_are_those_of_the_files_with_the_addresses_in_them(
    write: Render,
) -> None:
    expected = [rule for rule in rules_of(shipped()) if rule.get("record") != render.LINKS]
    for rule in expected:
        for name, text in rule.get("annotations", {}).items():
            for link, address in (
                ("jaeger", "https://jaeger.example.com/ui"),
                ("runbook", "https://example.com/run"),
            ):
                text = text.replace(  # noqa: PLW2901  # both addresses
                    f'{{{{ or $externalLabels.{link} (query "websocket_alerts:links" | first'
                    f' | label "{link}") }}}}',
                    address,
                )
            rule["annotations"][name] = text
    written = write("--slo")
    assert list(rules_of(written)) == expected
    assert "externalLabels" not in written
    assert "websocket_alerts:links" not in written


def test_the_rules_for_an_objective_are_left_out_unless_asked_for(write: Render) -> None:
    assert not [rule for rule in rules_of(write()) if "_slo:" in rule.get("record", "")]
    assert ("WebSocketErrorBudgetBurns", "page") not in alerts_of(write())
    assert ("WebSocketErrorBudgetBurns", "page") in alerts_of(write("--slo"))


def test_the_resource_has_the_same_groups(write: Render) -> None:
    [rules, _] = yaml.safe_load_all(write("--crd"))
    assert rules["spec"] == yaml.safe_load(write())


def test_the_first_line_says_how_to_write_it_again(write: Render) -> None:
    first = write("--set", "ServerFailing.closes=7").splitlines()[0]
    assert first == (
        "# Written by: python -m examples.operations.render --jaeger https://jaeger.example.com/ui/"
        " --runbook https://example.com/run --set ServerFailing.closes=7"
    )


# --- Severities and labels ----------------------------------------------------------------------


def test_a_severity_has_another_name_in_every_alert(write: Render) -> None:
    before, after = write("--slo"), write("--slo", "--severity", "page=critical")
    renamed = {
        (name, "critical" if severity == "page" else severity)
        for name, severity in alerts_of(before)
    }
    assert alerts_of(after).keys() == renamed


def test_no_expression_depends_on_a_severity() -> None:
    assert not [rule for rule in rules_of(shipped()) if "severity" in rule["expr"]]


def test_both_resources_have_the_labels(write: Render) -> None:
    written = write("--crd", "--label", "release=prometheus", "--label", "team=")
    labels = {"release": "prometheus", "team": ""}
    assert [one["metadata"]["labels"] for one in yaml.safe_load_all(written)] == [labels, labels]


def test_two_severities_may_change_places(write: Render) -> None:
    swapped = write("--slo", "--severity", "page=ticket", "--severity", "ticket=page")
    names = {"page": "ticket", "ticket": "page"}
    assert alerts_of(swapped).keys() == {
        (alert, names[severity]) for alert, severity in alerts_of(write("--slo"))
    }


def test_a_label_that_looks_like_a_number_is_a_text(write: Render) -> None:
    assert write("--crd", "--label", "release=1e3").count('release: "1e3"') == 2


def test_the_page_of_a_runbook_may_have_a_query(write: Render) -> None:
    written = write("--runbook", "https://wiki.example.com/view?page=12")
    alert = alerts_of(written)["WebSocketServerFailing", "page"]
    assert alert["annotations"]["runbook_url"] == (
        "https://wiki.example.com/view?page=12#websocketserverfailing"
    )


# --- Thresholds ---------------------------------------------------------------------------------


def test_a_threshold_has_one_value_wherever_it_stands() -> None:
    places = [place for text in TEXTS for place in stated(text)]
    assert set(places) == set(defaults(TEXTS).items())


def test_a_threshold_changes_every_place_and_text_that_states_it(write: Render) -> None:
    before = write()
    after = write("--set", "SubscriptionsSilent.share_of_usual=0.025")
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), after.splitlines(), strict=True)
        if old != new
    ]
    [_, *places, text] = changed
    assert [new for _, new in places] == [old.replace("0.01 *", "0.025 *") for old, _ in places]
    assert len(places) == 3
    assert text[1] == text[0].replace("less than 1 %", "less than 2.5 %")


def test_every_threshold_can_be_set(write: Render) -> None:
    known = defaults(TEXTS)
    wanted = {name: value / 2 if value < 1 else value + 1 for name, value in known.items()}
    written = write(
        "--slo", *(word for name, one in wanted.items() for word in ("--set", f"{name}={one:f}"))
    )
    [*rules] = rules_of(shipped())
    changed = {rule.get("alert") or rule["record"] for rule in rules_of(written)}
    assert changed == {rule.get("alert") or rule["record"] for rule in rules} - {render.LINKS}
    assert not re.search(r" # [A-Z]\w+\.\w+$|\{\{/\*", written, re.MULTILINE)


def test_the_page_has_every_threshold_and_its_default() -> None:
    page = Page("docs/operating/alerts.md")
    documented = {
        name.strip("`"): default for name, default, _ in page.rows("Thresholds of your own")
    }
    assert documented == {name: f"{value:f}" for name, value in defaults(TEXTS).items()}


# --- Kubernetes ---------------------------------------------------------------------------------


def test_the_page_s_deployment_has_what_the_monitor_and_the_alerts_read(write: Render) -> None:
    [deployment] = map(yaml.safe_load, Page("docs/operating/kubernetes.md").blocks("yaml"))
    [_, monitor] = yaml.safe_load_all(write("--crd"))
    pod = deployment["spec"]["template"]
    [container] = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    environment = {one["name"]: one.get("value") for one in container["env"]}
    resource = dict(one.split("=") for one in environment["OTEL_RESOURCE_ATTRIBUTES"].split(","))
    assert ports[endpoint["port"]] == 9464
    assert pod["metadata"]["labels"] == deployment["spec"]["selector"]["matchLabels"]
    assert (
        pod["metadata"]["labels"][monitor["spec"]["jobLabel"]] == environment["OTEL_SERVICE_NAME"]
    )
    assert resource["service.instance.id"] == "$(POD_NAME)"
    # Kubernetes replaces what was defined before.
    used = set(re.findall(r"\$\((\w+)\)", environment["OTEL_RESOURCE_ATTRIBUTES"]))
    names = list(environment)
    assert used <= set(names[: names.index("OTEL_RESOURCE_ATTRIBUTES")])


# --- What is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            ("--jaeger", "jaeger.example.com"),
            f"argument --jaeger: jaeger.example.com {NO_JAEGER}",
        ),
        (
            ("--jaeger", "https://jaeger.example.com/?"),
            f"argument --jaeger: https://jaeger.example.com/? {NO_JAEGER}",
        ),
        (
            ("--runbook", "https://example.com/run#top"),
            f"argument --runbook: https://example.com/run#top {NO_RUNBOOK}",
        ),
        (
            ("--set", "ServerFailing.closes"),
            "argument --set: ServerFailing.closes is not of the form ServerFailing.closes=10",
        ),
        (
            ("--set", "ServerFailing.closes=0"),
            "ServerFailing.closes has to be a number above 0, not 0",
        ),
        (
            ("--set", "ServerFailing.closes=many"),
            "ServerFailing.closes has to be a number above 0, not many",
        ),
        (
            ("--set", "ServerFailing.share=5"),
            "ServerFailing.share is a share below 1, such as 0.01, not 5",
        ),
        (
            ("--set", "GaugeOnlyGrows.growth=0.5"),
            "GaugeOnlyGrows.growth is a multiple, and has to be above 1, not 0.5",
        ),
        (
            ("--severity", "page=ticket"),
            "two severities cannot have the same name",
        ),
        (
            ("--severity", "page=warning", "--severity", "ticket=warning"),
            "two severities cannot have the same name",
        ),
        (
            ("--severity", "warning=low"),
            "there is no severity warning. There are page, ticket",
        ),
        (
            ("--severity", "page"),
            "argument --severity: page is not of the form page=critical",
        ),
        (
            ("--label", "release=prometheus"),
            "--label is for what --crd writes",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: tuple[str, ...], error: str, refuse: Render
) -> None:
    assert refuse(*arguments) == error


def test_an_unknown_threshold_is_refused_and_the_known_ones_are_named(refuse: Render) -> None:
    error = refuse("--set", "ServerFailing.close=10")
    assert error.startswith("there is no threshold ServerFailing.close. There are ")
    assert "ServerFailing.closes, " in error


# --- Prometheus and its operator ------------------------------------------------------------------


@pytest.fixture
def schemas() -> Path:
    """The schemas that the operator publishes."""
    module = "github.com/prometheus-operator/prometheus-operator"
    folder = installed("prometheus-operator", module, "schemas/go.mod")
    if not folder.is_dir():
        (pytest.fail if os.environ.get("REQUIRE_OPERATIONS") else pytest.skip)(f"see {INSTALL}")
    return folder


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that refuses what it does not know; the operator drops that silently."""
    inner: dict[str, Any] = {
        key: closed(value)
        for key, value in schema.items()
        if key in {"items", "additionalProperties"} and isinstance(value, dict)
    }
    if "properties" in schema:
        inner["properties"] = {name: closed(one) for name, one in schema["properties"].items()}
        inner["additionalProperties"] = False
    return {**schema, **inner}


@pytest.mark.rules
def test_the_resources_are_what_the_operator_s_schemas_allow(write: Render, schemas: Path) -> None:
    written = write("--crd", "--slo", "--label", "release=prometheus")
    kinds = []
    for resource in yaml.safe_load_all(written):
        plural = f"{resource['kind'].lower()}s"
        text = (schemas / f"monitoring.coreos.com_{plural}.yaml").read_text(encoding="utf-8")
        [version] = [
            one
            for one in yaml.safe_load(text)["spec"]["versions"]
            if f"monitoring.coreos.com/{one['name']}" == resource["apiVersion"]
        ]
        schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        Draft202012Validator(closed(schema)).validate(resource["spec"])
        kinds.append(resource["kind"])
    assert kinds == ["PrometheusRule", "PodMonitor"]


@pytest.mark.rules
def test_prometheus_takes_the_rules(write: Render, tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(write("--slo"), encoding="utf-8")
    run("promtool", "check", "rules", file)


@pytest.mark.rules
@pytest.mark.parametrize(
    "name",
    [file.name for file in sorted((HERE / "rules/tests").glob("*.yml")) if file.name != LINKED],
)
def test_the_unit_tests_of_the_rules_pass(name: str, write: Render, tmp_path: Path) -> None:
    jaeger, runbook = "https://jaeger.example.com/ui", "https://example.com/run"
    optional = ("--slo",) if f"rules/{name}" in OPTIONAL else ()
    (tmp_path / "rules.yml").write_text(write(*optional), encoding="utf-8")
    text = (HERE / "rules" / "tests" / name).read_text(encoding="utf-8")
    text = text.replace("http://127.0.0.1:16686", jaeger).replace(
        "docs/operating/runbook.md", runbook
    )
    text, files = re.subn(r"^rule_files: .*$", "rule_files: [rules.yml]", text, flags=re.MULTILINE)
    assert files == 1
    file = tmp_path / "tests.yml"
    file.write_text(text, encoding="utf-8")
    run("promtool", "test", "rules", file)


@pytest.mark.rules
@pytest.mark.parametrize(("closes", "fires"), [("5", True), ("7", False)])
def test_a_threshold_and_a_severity_decide_what_fires(
    closes: str, write: Render, tmp_path: Path, *, fires: bool
) -> None:
    changed = ("--set", f"ServerFailing.closes={closes}", "--severity", "page=critical")
    (tmp_path / "rules.yml").write_text(write(*changed), encoding="utf-8")
    series = (
        'websocket_server_closes_total{job="prices", websocket_close_outcome="server_error",'
        ' websocket_close_fault="server"}'
    )
    alerts = 'ALERTS{alertname="WebSocketServerFailing", alertstate="firing"}'
    labels = (
        'ALERTS{alertname="WebSocketServerFailing", alertstate="firing", job="prices",'
        ' severity="critical", websocket_close_fault="server",'
        ' websocket_close_outcome="server_error"}'
    )
    sample = {"labels": labels, "value": 1}
    case = {
        "interval": "1m",
        "input_series": [{"series": series, "values": "0x10 6x10"}],
        "promql_expr_test": [
            {"expr": alerts, "eval_time": "13m", "exp_samples": [sample] if fires else []}
        ],
    }
    file = tmp_path / "tests.yml"
    file.write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [case]}),
        encoding="utf-8",
    )
    run("promtool", "test", "rules", file)

"""Writes the rules for your Prometheus: `python -m examples.operations.render`.

The command line says the addresses of Jaeger and of the runbook, and may change thresholds and
severities. With `--crd` it writes a PrometheusRule and a PodMonitor for the Prometheus Operator.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import yaml
from yarl import URL

from examples.operations.binaries import HERE
from examples.operations.rules import OPTIONAL, SHORTER
from examples.operations.thresholds import ThresholdError, applied_to, checked, defaults

RULES: Final = tuple(name for name in SHORTER if name.startswith("rules/"))
LINKS: Final = "websocket_alerts:links"
LINK: Final = re.compile(
    r"{{ or \$externalLabels\.(\w+) \(query "
    rf'"{LINKS}" \| first \| label "\1"\) }}}}'
)
"""Where a template takes an address from that is known here."""

METRICS_PORT: Final = "otel-metrics"
"""The name of the port at which a container exposes its metrics."""

Document: TypeAlias = dict[str, Any]
Rule: TypeAlias = dict[str, Any]


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are read best."""


class _Quoted(str):
    """A text that may look like a number: YAML 1.1 and 1.2 do not agree which texts do."""

    __slots__ = ()


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text else '"' if isinstance(text, _Quoted) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(_Quoted, _text)


def dumped(documents: Sequence[Document]) -> str:
    """Write documents as YAML."""
    return yaml.dump_all(
        documents, Dumper=_Dumper, sort_keys=False, width=sys.maxsize, allow_unicode=True
    )


def groups_of(names: Sequence[str], thresholds: Mapping[str, str]) -> list[Document]:
    """Return the groups of these files of rules, with new values of some thresholds, as written.

    Raises:
        ThresholdError: There is no such threshold, or it cannot have this value.

    """
    texts = [(HERE / name).read_text(encoding="utf-8") for name in names]
    values = checked(thresholds, defaults(texts))
    groups = [
        group for text in texts for group in yaml.safe_load(applied_to(text, values))["groups"]
    ]
    for group in groups:
        group["rules"] = [rule for rule in group["rules"] if rule.get("record") != LINKS]
    return groups


def alerts_of(groups: Sequence[Document]) -> list[Rule]:
    """Return the alerts in some groups."""
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def complete(alert: Rule, links: Mapping[str, str], severities: Mapping[str, str]) -> None:
    """Give an alert the addresses `jaeger` and `runbook`, and the new name of its severity."""
    severity = alert["labels"]["severity"]
    alert["labels"]["severity"] = severities.get(severity, severity)
    alert["annotations"] = {
        name: LINK.sub(lambda found: links[found[1]], text)
        for name, text in alert["annotations"].items()
    }


def prometheus_rule(groups: Sequence[Document], labels: Mapping[str, str]) -> Document:
    """Return the resource that has these groups of rules."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "graphql-websockets", "labels": dict(labels)},
        "spec": {"groups": list(groups)},
    }


def pod_monitor(labels: Mapping[str, str]) -> Document:
    """Return the resource that finds the pods whose containers have a port of `METRICS_PORT`."""
    bounds = {
        # As `prometheus.yml` does: the bounds of buckets as Prometheus writes them from 3.0 on.
        "sourceLabels": ["le"],
        "regex": r"(\d+)",
        "targetLabel": "le",
        "replacement": "$1.0",
    }
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": "graphql-websockets", "labels": dict(labels)},
        "spec": {
            "selector": {},
            # The alerts take the job for the service.name, and the instance for the process.
            "jobLabel": "app.kubernetes.io/name",
            "podMetricsEndpoints": [
                {
                    "port": METRICS_PORT,
                    "relabelings": [
                        {
                            "sourceLabels": ["__meta_kubernetes_pod_name"],
                            "targetLabel": "instance",
                        }
                    ],
                    "metricRelabelings": [bounds],
                }
            ],
        },
    }


# --- The command line ---------------------------------------------------------------------------


def address(pattern: str, example: str) -> Callable[[str], str]:
    """Return what reads an address that matches a pattern, without a slash at its end."""

    def read(text: str) -> str:
        if not re.fullmatch(pattern, text) or not URL(text).host:
            raise argparse.ArgumentTypeError(f"{text} is not an address such as {example}")
        return text.rstrip("/")

    return read


def pair(key: str, value: str, example: str) -> Callable[[str], tuple[str, str]]:
    """Return what reads `KEY=VALUE`, both of which match a pattern."""

    def read(text: str) -> tuple[str, str]:
        found = re.fullmatch(f"({key})=({value})", text)
        if not found:
            raise argparse.ArgumentTypeError(f"{text} is not of the form {example}")
        return found[1], found[2]

    return read


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.operations.render",
        description="Write the rules for your Prometheus to the standard output.",
    )
    parser.add_argument(
        "--jaeger",
        required=True,
        # Its path and query follow.
        type=address(r"https?://[^\s{}'\"?#]+", "https://example.com/jaeger, without ? and #"),
        metavar="URL",
        help="the address of Jaeger's UI",
    )
    parser.add_argument(
        "--runbook",
        required=True,
        # The name of the alert follows, behind a #.
        type=address(r"https?://[^\s{}'\"#]+", "https://example.com/runbook, without #"),
        metavar="URL",
        help="where you read the runbook",
    )
    parser.add_argument(
        "--slo", action="store_true", help="add the rules for those who have an objective"
    )
    parser.add_argument(
        "--crd",
        action="store_true",
        help="write a PrometheusRule and a PodMonitor for the Prometheus Operator",
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        type=pair(r"[\w./-]+", r"[\w.-]*", "release=prometheus"),
        metavar="KEY=VALUE",
        help="with --crd, a label of both, by which the operator selects them",
    )
    parser.add_argument(
        "--severity",
        action="append",
        default=[],
        type=pair(r"\w+", r"[\w-]+", "page=critical"),
        metavar="OLD=NEW",
        help="the name that a severity has for you",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=pair(r"[\w.]+", r".+", "ServerFailing.closes=10"),
        metavar="NAME=VALUE",
        help="another value of a threshold",
    )
    return parser


def main() -> int:
    """Run the command; return its exit status."""
    command = parser()
    arguments = command.parse_args()
    try:
        groups = groups_of((*RULES, *OPTIONAL) if arguments.slo else RULES, dict(arguments.set))
    except ThresholdError as error:
        command.error(str(error))
    alerts = alerts_of(groups)
    severities = dict(arguments.severity)
    known = dict.fromkeys(alert["labels"]["severity"] for alert in alerts)
    if unknown := [name for name in severities if name not in known]:
        command.error(f"there is no severity {unknown[0]}. There are {', '.join(known)}")
    if len({severities.get(name, name) for name in known}) < len(known):
        # Two rules of one alert would be the same.
        command.error("two severities cannot have the same name")
    if arguments.label and not arguments.crd:
        command.error("--label is for what --crd writes")
    for alert in alerts:
        complete(alert, {"jaeger": arguments.jaeger, "runbook": arguments.runbook}, severities)
    labels = {key: _Quoted(value) for key, value in arguments.label}
    documents = (
        [prometheus_rule(groups, labels), pod_monitor(labels)]
        if arguments.crd
        else [{"groups": groups}]
    )
    sys.stdout.write(
        f"# Written by: {command.prog} {shlex.join(sys.argv[1:])}\n{dumped(documents)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

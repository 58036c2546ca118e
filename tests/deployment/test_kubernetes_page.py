"""A program with the page's environment offers its metrics to other pods, by the page's names."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.deployment.programs import INSTRUMENT, UNAWARE_APPLICATION, Program, environment, running
from tests.deployment.receiver import Receiver
from tests.support.pages import Page
from tests.support.ports import free_port

PAGE: Final = Page("docs/operating/kubernetes.md")
[DEPLOYMENT] = map(yaml.safe_load, PAGE.blocks("yaml"))
SPEC: Final[dict[str, Any]] = DEPLOYMENT["spec"]["template"]["spec"]
POD: Final = {
    "metadata.name": "price-ticker-5d9c7b-x2x7k",
    "metadata.namespace": "shop",
    "spec.nodeName": "node-7",
}
ELSEWHERE: Final = "127.0.0.2"
"""An address that reaches a server on 0.0.0.0, and none on 127.0.0.1."""

SERVES: Final = """
import signal

expose_metrics({port})
metrics.get_meter("it").create_counter("it").add(1)
print("ready")
signal.pause()
"""
"""What a program does with the page's code. Without any metric, there is no `target_info`."""


def variables() -> dict[str, str]:
    """The environment that Kubernetes makes of the page's."""
    [container] = SPEC["containers"]
    made: dict[str, str] = {}
    for one in container["env"]:
        if "value" in one:
            made[one["name"]] = re.sub(
                r"\$\((\w+)\)", lambda found: made.get(found[1], found[0]), one["value"]
            )
        else:
            made[one["name"]] = POD[one["valueFrom"]["fieldRef"]["fieldPath"]]
    return made


def infos(text: str) -> Iterator[dict[str, str]]:
    for family in text_string_to_metric_families(text):
        yield from (one.labels for one in family.samples if one.name == "target_info")


async def scraped(program: Program, port: int) -> list[dict[str, str]]:
    """What another pod reads of the resource."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{ELSEWHERE}:{port}/metrics") as response,
    ):
        assert response.status == 200, program.printed
        return list(infos(await response.text()))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["without code", "by the code of the page"])
async def test_other_pods_read_the_metrics_and_the_names_of_the_pod(
    way: str, receiver: Receiver, tmp_path: Path
) -> None:
    port = free_port()
    if way == "without code":
        command, ready = (INSTRUMENT, sys.executable, "-u", str(UNAWARE_APPLICATION)), "Running on"
    else:
        [code] = PAGE.blocks("python")
        code += SERVES.format(port=port)
        command, ready = (sys.executable, "-u", "-c", code), "ready"
    made = variables() | {
        # What a test has of its own: free ports, the receiver, and no log.
        "PORT": str(free_port()),
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(port),
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION": "false",
    }
    output = tmp_path / "log"
    async with running(
        *command, output=output, environment=environment(receiver, **made)
    ) as program:
        await program.prints(ready)
        [info] = await scraped(program, port)
    expected = {
        "service_name": "price-ticker",
        "service_version": "1.4.2",
        "service_instance_id": POD["metadata.name"],
        "host_name": POD["spec.nodeName"],
        "k8s_pod_name": POD["metadata.name"],
        "k8s_namespace_name": POD["metadata.namespace"],
        "k8s_node_name": POD["spec.nodeName"],
    }
    said = {key: label for key, label in info.items() if not key.startswith("telemetry_")}
    assert said == expected


def test_the_environment_is_one_for_zero_code_and_for_code() -> None:
    made = variables()
    assert made["OTEL_METRICS_EXPORTER"] == "prometheus"
    # The exporter that code makes speaks HTTP only.
    assert made["OTEL_EXPORTER_OTLP_PROTOCOL"] == "http/protobuf"
    assert made["OTEL_EXPORTER_OTLP_ENDPOINT"].endswith(":4318")


def test_the_pod_has_time_to_sleep_and_to_shut_down() -> None:
    [container] = SPEC["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    # aiohttp's shutdown in the example, then an export of spans and one of metrics.
    assert pause + 2 * 10 + 2 * 30 < SPEC["terminationGracePeriodSeconds"]

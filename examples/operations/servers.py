"""The servers of the kit: the command of each, with the unchanged files of this folder."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from examples.demo.server import HOST
from examples.operations.binaries import HERE, find
from examples.operations.ports import Ports, url, variable_of
from examples.operations.process import Server


def ports_of(ports: Ports, *names: str) -> dict[str, int]:
    """Return the ports of one server by their variables."""
    return {variable_of(name): getattr(ports, name) for name in names}


def jaeger(
    ports: Ports,
    *overlays: Path,
    name: str = "Jaeger",
    environment: Mapping[str, str] | None = None,
) -> Server:
    """Describe Jaeger, with `jaeger.yaml` and additional files."""
    configs = (HERE / "jaeger.yaml", *overlays)
    return Server(
        name=name,
        command=(find("Jaeger"), *(f"--config={config}" for config in configs)),
        ports=ports_of(ports, "jaeger_query", "jaeger_query_grpc", "jaeger_otlp", "jaeger_health"),
        ready=(ports.jaeger_health, "/status"),
        environment={
            "JAEGER_UI_ASSETS": os.environ.get("JAEGER_UI_ASSETS", ""),
            **ports.environment,
            **(environment or {}),
        },
    )


def collector(
    ports: Ports,
    config: Path = HERE / "collector.yaml",
    *,
    name: str = "Collector",
    environment: Mapping[str, str] | None = None,
) -> Server:
    """Describe a Collector, run by Jaeger's binary; by default it exports to the kit's Jaeger."""
    text = config.read_text(encoding="utf-8")
    listeners = (
        *("collector_otlp", "collector_otlp_grpc", "collector_health"),
        *("collector_metrics", "collector_telemetry"),
    )
    return Server(
        name=name,
        command=(find("Jaeger"), f"--config={config}"),
        ports=ports_of(ports, *(name for name in listeners if variable_of(name) in text)),
        ready=(ports.collector_health, "/status"),
        environment={
            "JAEGER_OTLP_ENDPOINT": url(ports.jaeger_otlp),
            **ports.environment,
            **(environment or {}),
        },
    )


def live(ports: Ports) -> Server:
    """Describe what finds what is open in the kit's Jaeger."""
    return Server(
        name="The search for what is open",
        command=(sys.executable, str(HERE / "live.py")),
        ports=ports_of(ports, "live"),
        ready=(ports.live, "/"),
        environment=ports.environment,
    )


def prometheus(ports: Ports, config: Path, folder: Path) -> Server:
    """Describe Prometheus; its data are kept in `folder`."""
    return Server(
        name="Prometheus",
        command=(
            find("Prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={HOST}:{ports.prometheus}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        ),
        ports=ports_of(ports, "prometheus"),
        ready=(ports.prometheus, "/-/ready"),
    )


def alertmanager(ports: Ports, config: Path, folder: Path) -> Server:
    """Describe Alertmanager; its silences are kept in `folder`."""
    return Server(
        name="Alertmanager",
        command=(
            find("Alertmanager"),
            f"--config.file={config}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address={HOST}:{ports.alertmanager}",
            # No cluster: otherwise it listens for peers on every address.
            "--cluster.listen-address=",
            "--log.level=warn",
        ),
        ports=ports_of(ports, "alertmanager"),
        ready=(ports.alertmanager, "/-/ready"),
    )

"""The ports of the kit in one table, all on 127.0.0.1."""

import os
import re
import socket
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from typing import Final, Self

from examples.demo.server import HOST

ADDRESS: Final = re.compile(rf"{re.escape(HOST)}:(\d+)")
HIGHEST: Final = 65535


class PortError(Exception):
    """A port cannot be used; the message is for the user."""


@dataclass(frozen=True)
class Ports:
    """A port for each listener. The defaults are those in the configuration files.

    A field `jaeger_query` is the variable `JAEGER_QUERY_PORT` in the environment.
    """

    demo: int = 8000
    demo_metrics: int = 9464
    collector_otlp: int = 4318
    collector_otlp_grpc: int = 4317
    collector_metrics: int = 8889
    collector_telemetry: int = 8888
    collector_health: int = 13133
    jaeger_otlp: int = 14318
    jaeger_query: int = 16686
    jaeger_query_grpc: int = 16685
    jaeger_health: int = 13134
    prometheus: int = 9090
    alertmanager: int = 9093
    webhook: int = 9095
    live: int = 9096

    @classmethod
    def chosen(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Use the defaults, unless the environment sets another port."""
        variables = {field.name: variable_of(field.name) for field in fields(cls)}
        return cls(
            **{
                name: number(variable, environment[variable])
                for name, variable in variables.items()
                if variable in environment
            }
        )

    @classmethod
    def free(cls) -> Self:
        """Use ports that are free now."""
        with ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in fields(cls)]
            for one in sockets:
                one.bind((HOST, 0))
            return cls(
                **{
                    field.name: one.getsockname()[1]
                    for field, one in zip(fields(cls), sockets, strict=True)
                }
            )

    @property
    def environment(self) -> dict[str, str]:
        """The variables that set the ports in the YAML files of Jaeger and the Collector."""
        return {variable_of(field.name): str(getattr(self, field.name)) for field in fields(self)}

    def applied_to(self, text: str) -> str:
        """Rewrite the addresses in a file of Prometheus or Alertmanager, which has no variables."""
        ports = {
            str(field.default): str(getattr(self, field.name))  # every field has a default
            for field in fields(self)
        }
        return ADDRESS.sub(lambda found: f"{HOST}:{ports.get(found[1], found[1])}", text)


def variable_of(name: str) -> str:
    """Return the name of the variable that sets a port."""
    return f"{name.upper()}_PORT"


def number(variable: str, text: str) -> int:
    """Read a port from a variable."""
    if not text.isdecimal() or not 0 < int(text) <= HIGHEST:
        raise PortError(f"{variable}={text} is no port: it takes a number from 1 to {HIGHEST}.")
    return int(text)


def url(port: int, path: str = "") -> str:
    """Write the address of a listener."""
    return f"http://{HOST}:{port}{path}"

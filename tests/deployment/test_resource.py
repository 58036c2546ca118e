"""What the environment says of a process wins over what the examples and the page say of it."""

import os
import socket
from collections.abc import Callable
from typing import Any, Final

import pytest
from opentelemetry.sdk.resources import Resource

from examples.demo.telemetry import resource_of_demo
from examples.deployment.telemetry import resource_of_process
from tests.support import snippets
from tests.support.pages import Page

HOST: Final = socket.gethostname()
OWN: Final = {"host.name": HOST, "service.instance.id": f"{HOST}-{os.getpid()}"}
NAMED: Final = {
    "host.name": "node-7",
    "service.instance.id": "price-ticker-5d9c7b-x2x7k",
    "service.version": "1.4.2",
}


def resource_of_page() -> Resource:
    resource: Resource = snippets.run(Page("docs/operating/production.md")).resource
    return resource


BY_PROCESS: Final = pytest.mark.parametrize("make", [resource_of_process, resource_of_page])


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that says nothing."""
    for variable in ("OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(variable, raising=False)


def names_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment name all that Kubernetes knows."""
    named = ",".join(f"{key}={value}" for key, value in NAMED.items())
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", named)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "prices")


def named_by(resource: Resource) -> dict[str, Any]:
    """The attributes, without those that the SDK says of itself."""
    return {
        key: value
        for key, value in resource.attributes.items()
        if not key.startswith("telemetry.sdk.")
    }


@BY_PROCESS
def test_the_environment_wins(
    make: Callable[[], Resource], monkeypatch: pytest.MonkeyPatch
) -> None:
    names_all(monkeypatch)
    assert named_by(make()) == {**NAMED, "service.name": "prices"}


@BY_PROCESS
def test_what_the_environment_does_not_name_is_that_of_the_process(
    make: Callable[[], Resource],
) -> None:
    by_default = Resource.create().attributes
    assert make().attributes == {**by_default, **OWN}


def test_the_demo_has_its_name_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names_all(monkeypatch)
    assert named_by(resource_of_demo()) == {**NAMED, "service.name": "price-ticker"}


def test_the_demo_has_a_version_and_a_host_of_its_own() -> None:
    own = {"service.name": "price-ticker", "service.version": "1.0", "host.name": HOST}
    assert resource_of_demo().attributes == {**Resource.create().attributes, **own}

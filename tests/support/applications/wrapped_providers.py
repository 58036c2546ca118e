"""Providers that others make around the SDK's."""

import dataclasses
from typing import Any

from opentelemetry import metrics, trace


@dataclasses.dataclass
class PlainMeters(metrics.MeterProvider):
    """A dataclass: it compares by value, and so has no hash."""

    provider: metrics.MeterProvider

    def get_meter(self, *arguments: Any, **keywords: Any) -> metrics.Meter:
        return self.provider.get_meter(*arguments, **keywords)


@dataclasses.dataclass
class PlainTracers(trace.TracerProvider):
    provider: trace.TracerProvider

    def get_tracer(self, *arguments: Any, **keywords: Any) -> trace.Tracer:
        return self.provider.get_tracer(*arguments, **keywords)


class Posing:
    """A proxy, of whatever class its provider is; there are no weak references to it."""

    __slots__ = ("provider",)

    def __init__(self, provider: Any) -> None:
        object.__setattr__(self, "provider", provider)

    @property  # type: ignore[misc]  # that is how a proxy poses
    def __class__(self) -> type[Any]:
        return type(self.provider)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.provider, name)


class Duck:
    """An object with the methods of a provider and of no class of the API's."""

    def __init__(self, provider: Any) -> None:
        for name in ("get_meter", "get_tracer"):
            if hasattr(provider, name):
                setattr(self, name, getattr(provider, name))


MAKES: dict[str, tuple[Any, Any]] = {
    "unhashable": (PlainTracers, PlainMeters),
    "proxy": (Posing, Posing),
    "duck": (Duck, Duck),
}

"""The likely mistakes in the set-up of a view, each of which is one WARNING for a view class.

Each message says what is wrong, what that does, and what to do. `OTelConfig(setup_warnings=False)`
turns them off. Two more mistakes are found elsewhere: a view without the mixin by the extension,
and a missing provider by `Telemetry`.
"""

from typing import Any, Final
from weakref import WeakValueDictionary

from strawberry import Schema
from strawberry.extensions import SchemaExtension
from strawberry.extensions.tracing.opentelemetry import OpenTelemetryExtension

from strawberry_ws_otel._config import MISSPELT, OTelConfig, misspelt
from strawberry_ws_otel._fuse import FailureLog, Fuse
from strawberry_ws_otel._strawberry.extension import OTelExtension

_get_extensions: Final = Schema.get_extensions
"""Strawberry's own, which an application may override and the instrumentor replaces."""


class SetupCheck:
    """The checks of the views of one class."""

    def __init__(self, failures: FailureLog) -> None:
        """Warn in the log of the class."""
        self._failures = failures
        # An application may make a view for every request, of one schema.
        self._checked = WeakValueDictionary[int, Schema]()

    def view_made(self, view: Any, config: OTelConfig | None = None) -> None:  # noqa: ANN401  # of any class
        """Warn of the mistakes in the set-up of a view that the application has made.

        `config` is what the view is recorded with, unless that is its `otel_config`.
        """
        with Fuse(self._failures, "the check of the set-up"):
            schema = _schema_of(view)
            config = view.otel_config if config is None else config
            if not isinstance(config, OTelConfig) or not config.setup_warnings or schema is None:
                return
            if self._checked.get(id(schema)) is not schema:
                self._checked[id(schema)] = schema
                self._check(type(view), config, schema)

    def _check(self, cls: type, config: OTelConfig, schema: Schema) -> None:
        name = cls.__qualname__
        if attribute := misspelt(cls, config):
            self._failures.warn_once(MISSPELT, name, attribute)
        extensions = _extensions_of(schema)
        if extensions is None:
            return
        ours = [each for each in extensions if _is_a(each, OTelExtension)]
        if not ours:
            self._failures.warn_once(
                "the schema of %s has no OTelExtension: its operations are recorded without type,"
                " phases and errors; add it, Schema(..., extensions=[OTelExtension]), or set"
                " OTelConfig(setup_warnings=False) if you want the mixin alone",
                name,
            )
            return
        for each in ours:
            if isinstance(each, OTelExtension):
                each._is_reported = True  # noqa: SLF001  # ours
                self._failures.warn_once(
                    "the schema of %s has an instance of %s: only its first operation is recorded"
                    " with type, phases and errors; give it the class, extensions=[%s]",
                    name,
                    *(type(each).__qualname__,) * 2,
                )
        theirs = [each for each in extensions if _is_a(each, OpenTelemetryExtension)]
        if theirs and config.phase_spans:
            self._failures.warn_once(
                "the schema of %s has OpenTelemetryExtension beside OTelExtension: each operation"
                " gets the spans of both; take OpenTelemetryExtension out, or set"
                " OTelConfig(phase_spans=False) to keep it for its spans of resolvers",
                name,
            )


def _schema_of(view: object) -> Schema | None:
    """Return the schema of a view; None if it is set later, or something else stands in for it."""
    try:
        schema: object = getattr(view, "schema", None)
    except Exception:  # noqa: BLE001  # a property of the application, which may need a request
        return None
    return schema if isinstance(schema, Schema) else None


def _extensions_of(schema: Schema) -> list[Any] | None:
    """Return the extensions of a schema as it holds them, or as it makes them for an operation.

    It holds classes, factories and instances (0.319, 0.341.2). Only a call shows what a factory
    makes, or a method of the application. None if that raises, for example without a request.
    """
    extensions = list(schema.extensions)
    is_hosts = getattr(type(schema), "get_extensions", None) is _get_extensions
    if is_hosts and all(isinstance(each, type | SchemaExtension) for each in extensions):
        return extensions
    try:
        made = schema.get_extensions()
    except Exception:  # noqa: BLE001  # the application's
        return None
    # An instance that a factory has made serves this call only.
    held = {id(each) for each in extensions}
    return [each if id(each) in held else type(each) for each in made]


def _is_a(extension: object, cls: type) -> bool:
    """Whether an extension is of a class, or is the class."""
    return isinstance(extension, cls) or (
        isinstance(extension, type) and issubclass(extension, cls)
    )

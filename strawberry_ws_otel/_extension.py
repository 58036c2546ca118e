"""`OTelExtension`: what only the schema knows of an operation: type, name, phases, errors.

Every hook costs an operation 15 to 60 us, whether or not anybody looks at what it records:
Strawberry rebuilds a context manager for each. So there are three variants of the class, and each
operation gets an instance of the one that it needs:

* itself: it learns the type and the errors. Enough for an operation over a WebSocket that the view
  recorded first and that nobody samples;
* with phases: for one that is sampled;
* on its own: for an operation that no view has recorded: plain HTTP, streams, other integrations.
"""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum, auto
from operator import is_
from typing import Any, ClassVar, Self

from graphql import GraphQLError
from opentelemetry.context import Context, attach, get_current
from strawberry.extensions import SchemaExtension

from strawberry_ws_otel import _bounds, _semconv
from strawberry_ws_otel._config import OTelConfig, checked
from strawberry_ws_otel._errors import error_attributes, error_type
from strawberry_ws_otel._failsafe import FailureLog, Fuse
from strawberry_ws_otel._operation import Operation, current_operation
from strawberry_ws_otel._propagation import of_request, rebased
from strawberry_ws_otel._scope import Scope, current_scope
from strawberry_ws_otel._spans import SpanRecorder
from strawberry_ws_otel._telemetry import Telemetry
from strawberry_ws_otel._ws_operation import SocketOperation


class _Recorder(SchemaExtension):
    """Learns the type and the errors of one operation."""

    otel_config: ClassVar[OTelConfig]
    _telemetry: ClassVar[Telemetry | None] = None
    _failures: ClassVar[FailureLog]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take the operation that the view has begun, if one is there to take."""
        super().__init__(*args, **kwargs)
        self._fuse = Fuse(self._failures)
        self._operation: Operation | None = None
        self._seen_errors: list[GraphQLError] = []
        self._executing = False
        with self._fuse:
            operation = current_operation()
            if isinstance(operation, SocketOperation) and operation.claim():
                self._operation, self._fuse = operation, operation.fuse
                task = asyncio.current_task()
                if task is not None:
                    task.add_done_callback(operation.task_done)

    def on_validate(self) -> Iterator[None]:
        """Learn what the document turned out to be, as soon as it is parsed."""
        self._describe()
        yield
        self._validated()

    def get_results(self) -> dict[str, Any]:
        """Note the errors of a result, before other extensions mask them; add nothing to it."""
        if self.execution_context.pre_execution_errors:  # Called for every result.
            self._note_errors()
        return {}

    def _describe(self) -> None:
        execution = self.execution_context
        # A document without the operation that is asked for has no type.
        with self._fuse, suppress(RuntimeError):
            if self._operation is not None:
                self._operation.describe(execution.operation_type.value, execution.operation_name)

    def _validated(self) -> None:
        self._executing = not self.execution_context.pre_execution_errors

    def _note_errors(self) -> None:
        errors = self.execution_context.pre_execution_errors
        with self._fuse:
            if not errors or self._operation is None or self._were_seen(errors):
                return
            self._seen_errors = errors
            self._describe()
            config, executing = self._operation.config, self._executing
            self._operation.errors(
                error_type(errors[0]),
                len(errors),
                (error_attributes(error, config, executing=executing) for error in errors),
            )

    def _were_seen(self, errors: list[GraphQLError]) -> bool:
        """Whether these very errors were noted.

        Strawberry leaves those of a result in place while it makes the next one, and shows those
        from before execution twice, a syntax error in a new list. A source may raise the same error
        for every result.
        """
        seen = self._seen_errors
        if self._executing:
            return errors is seen
        return len(errors) == len(seen) and all(map(is_, errors, seen))

    @classmethod
    def _own_telemetry(cls) -> Telemetry:
        if cls._telemetry is None:
            cls._telemetry = Telemetry(checked(cls, cls.otel_config))
        return cls._telemetry


class _Phases(_Recorder):
    """The variant for an operation that is sampled: its phases get spans."""

    def on_parse(self) -> Iterator[None]:
        yield from self._phase(_semconv.SPAN_PARSING)

    def on_validate(self) -> Iterator[None]:
        self._describe()
        yield from self._phase(_semconv.SPAN_VALIDATION)
        self._validated()

    def on_execute(self) -> Iterator[None]:
        operation = self._operation
        if operation is not None and operation.type == "subscription":
            # Nothing tells when its source is established.
            yield
        else:
            yield from self._phase(_semconv.SPAN_EXECUTION)

    def _phase(self, name: str) -> Iterator[None]:
        span: SpanRecorder | None = None
        with self._fuse:
            if self._operation is not None:
                span = self._operation.phase(name)
        try:
            yield
        finally:
            if span is not None:
                span.end()


class _Whole(_Phases):
    """The variant for an operation that nobody recorded before: it has the span to itself."""

    _previous: Context | None = None

    def on_operation(self) -> Iterator[None]:
        raised: BaseException | None = None
        with self._fuse:
            self._begin()
        try:
            yield
        except Exception as exception:
            raised = exception
            raise
        except asyncio.CancelledError as cancellation:
            # Whoever asked is gone. A subscription ends so when its client has heard enough.
            if self._operation is not None and self._operation.type != "subscription":
                raised = cancellation
            raise
        finally:
            with self._fuse:
                self._finish(raised)

    def get_results(self) -> dict[str, Any]:
        self._note_errors()
        with self._fuse:
            if self._executing and self._operation is not None:
                self._operation.delivered()
        return {}

    def _begin(self) -> None:
        if self._operation is not None:
            raise TypeError(
                "an instance of OTelExtension serves one operation; give the class to the schema:"
                " extensions=[OTelExtension]"
            )
        self._previous = get_current()
        scope = current_scope() or Scope(self._own_telemetry())
        execution = self.execution_context
        self._operation = operation = Operation(
            scope.telemetry,
            self._fuse,
            of_request(scope.telemetry.config, self._previous, scope.headers, self._fuse),
            execution.operation_name,
            execution.query,
        )
        operation.claim()
        attach(operation.context)

    def _finish(self, raised: BaseException | None) -> None:
        if self._operation is None:
            return
        self._note_errors()
        # A stream may be closed by another task, whose context was never ours.
        if self._previous is not None and current_operation() is self._operation:
            attach(rebased(get_current(), self._operation.context, self._previous))
        self._operation.finish(None if raised is None else _bounds.exception_type(raised))


class _Need(Enum):
    """How much of the extension an operation needs."""

    ERRORS = auto()
    PHASES = auto()
    WHOLE = auto()


def _needed() -> _Need:
    """Return what the operation in whose context the caller runs needs."""
    operation = current_operation()
    if not isinstance(operation, SocketOperation) or operation.claimed:
        return _Need.WHOLE
    phased = operation.span.recording and operation.config.phase_spans
    return _Need.PHASES if phased else _Need.ERRORS


class OTelExtension(_Recorder):
    """Records every operation of a schema: type, name, phases, errors, duration.

    Give the class itself to the schema, not an instance: Strawberry makes one for each operation.

        schema = strawberry.Schema(query=Query, extensions=[OTelExtension])

    Under an `OTelViewMixin` it adds to the operations of the connection and uses the view's
    `otel_config`; anywhere else it records operations by itself, with its own.
    """

    otel_config: ClassVar[OTelConfig] = OTelConfig()
    """The configuration where no view brings one; subclass to change it."""

    _failures = FailureLog()
    _variants: ClassVar[dict[_Need, type["OTelExtension"]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the configuration, and prepare the variants of the class."""
        super().__init_subclass__(**kwargs)
        checked(cls, cls.otel_config)
        if not issubclass(cls, _Phases):
            cls._failures = FailureLog()
            cls._variants = _variants(cls)

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Make an instance of the variant that the operation at hand needs."""
        variant: type = cls
        with Fuse(cls._failures):
            variant = cls._variants.get(_needed(), cls)
        return object.__new__(variant)


def _variants(cls: type[OTelExtension]) -> dict[_Need, type[OTelExtension]]:
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return {
        need: type(cls.__name__, (cls, base), dict(names))
        for need, base in ((_Need.PHASES, _Phases), (_Need.WHOLE, _Whole))
    }


OTelExtension._variants = _variants(OTelExtension)  # noqa: SLF001  # __init_subclass__ is for others

"""`OTelExtension`: what only the schema knows of an operation: type, name, phases, errors.

Every hook costs an operation 15 to 60 us, whether or not anybody looks at what it records:
Strawberry rebuilds a context manager for each. So the class has variants, and each operation gets
an instance of the one that has the hooks it needs:

* itself, without any: an operation over a WebSocket that nobody samples. The first words of its
  document show the type, and the errors come with the results;
* typed: one that is sampled without phases, or whose first words do not show the type;
* prepared: a subscription that is sampled, of which parsing and validation are the phases;
* with phases: a query or mutation that is sampled;
* whole: an operation that no view has recorded: plain HTTP, streams, other integrations.
"""

import asyncio
import sys
from collections.abc import Collection, Iterator, Sequence
from enum import Enum, auto
from functools import partial
from operator import is_
from types import CodeType, FrameType
from typing import Any, ClassVar, Final

from graphql import GraphQLError
from opentelemetry.context import get_current
from strawberry import Schema
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import SchemaExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import (
    BaseGraphQLTransportWSHandler,
)
from strawberry.subscriptions.protocols.graphql_ws.handlers import BaseGraphQLWSHandler
from strawberry.types import ExecutionContext

from strawberry_ws_otel import _semconv
from strawberry_ws_otel._config import OTelConfig, checked
from strawberry_ws_otel._connection import Request, current_connection, current_request
from strawberry_ws_otel._current import Activation, Current, current, placement_of
from strawberry_ws_otel._fuse import FailureLog, Fuse
from strawberry_ws_otel._limits import exception_type
from strawberry_ws_otel._operation import SUBSCRIPTION, Operation, leading_operation_type
from strawberry_ws_otel._operations import Execution, unclaimed
from strawberry_ws_otel._propagation import of_request
from strawberry_ws_otel._recording import Telemetry
from strawberry_ws_otel._spans import SpanRecorder
from strawberry_ws_otel._strawberry.errors import error_attributes, error_type

_EXECUTIONS: Final = {
    Schema.stream.__code__: True,
    Schema.execute.__code__: False,
    Schema.execute_sync.__code__: False,
}
"""The host's methods that execute, and whether they stream."""


_SERVING: Final = frozenset(
    {
        BaseGraphQLTransportWSHandler.run_operation.__code__,
        BaseGraphQLWSHandler.handle_async_results.__code__,
    }
)
"""What runs as long as the host itself serves an operation."""


def _stack() -> Iterator[CodeType]:
    """Iterate over what is being executed in the running task, innermost first.

    Only the stack shows whether an execution serves a client or was asked for beside it. Looking at
    the stack slows the whole process down, so it comes last.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # documented, for CPython
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def _is_stream() -> bool:
    """Whether the schema is about to stream its results."""
    return next((_EXECUTIONS[code] for code in _stack() if code in _EXECUTIONS), False)


def _is_below(codes: Collection[CodeType]) -> bool:
    """Whether one of those functions is on the stack."""
    return any(code in codes for code in _stack())


class _Need(Enum):
    """How much of the extension an operation needs."""

    ERRORS = auto()
    TYPE = auto()
    PREPARATION = auto()
    PHASES = auto()
    WHOLE = auto()


class _Recorder(SchemaExtension):
    """Learns the errors of one operation, and its type once there is a result."""

    otel_config: ClassVar[OTelConfig]
    _telemetry: ClassVar[Telemetry | None] = None
    _failures: ClassVar[FailureLog]
    _variants: ClassVar[dict[_Need, type["_Recorder"]]]

    _fuse: Any = None
    _operation: Operation | None = None
    _seen_errors: Sequence[GraphQLError] = ()
    _is_left = False
    _host_context: ExecutionContext

    @property
    def execution_context(self) -> ExecutionContext:
        """What the host knows of the operation."""
        return self._host_context

    @execution_context.setter
    def execution_context(self, context: ExecutionContext) -> None:
        """Become the variant that the operation needs.

        The host sets it right after it has made the instance, and before it looks for hooks.
        """
        self._host_context = context
        try:
            need = self._take(context)
            self.__class__ = self._variants.get(need, type(self))
        except Exception as error:  # noqa: BLE001  # the fuse's
            self._fuse = self._fuse or Fuse(self._failures)
            self._fuse.blow(error)
        if self._fuse is None:
            self._fuse = Fuse(self._failures)

    def _take(self, context: ExecutionContext) -> _Need:
        """Take the operation that the view has begun, if this is an execution of it."""
        if self._operation is not None:
            raise TypeError(
                "an instance of OTelExtension serves one operation; give the class to the schema:"
                " extensions=[OTelExtension]"
            )
        request: Request | None = current_request() or unclaimed.find(context.query)
        connection = None if request is None else request.connection
        if connection is None:
            return _Need.WHOLE
        operation = connection.claim_own(context.query) or connection.claim(
            Execution(
                context.query,
                context.operation_name,
                _is_stream,
                partial(_is_below, _SERVING),
            ),
            request,
        )
        if operation is None:
            return _Need.WHOLE
        self._operation, self._fuse = operation, operation.fuses.library
        recording = operation.span.recording
        if recording and not operation.config.phase_spans:
            return _Need.TYPE
        expected = leading_operation_type(context.query, context.operation_name)
        if recording:
            return _Need.PREPARATION if expected == SUBSCRIPTION else _Need.PHASES
        if expected is None:
            return _Need.TYPE
        operation.expect(expected, self._describe)
        return _Need.ERRORS

    def get_results(self) -> dict[str, Any]:
        """Record the errors of a result, before other extensions mask them; add nothing to it."""
        # Called for every result.
        if self._operation is not None and self._operation.type is None:
            self._describe()
        if self._host_context.pre_execution_errors:
            self._note_errors()
        return {}

    def _describe(self) -> None:
        execution = self._host_context
        with self._fuse:
            if self._operation is None or self._operation.type is not None:
                return
            try:
                operation_type = execution.operation_type
            except RuntimeError:
                # A document without the operation that is asked for has no type.
                return
            self._operation.describe(operation_type.value, execution.operation_name)

    @property
    def _executing(self) -> bool:
        """Whether the errors of a result are those of an execution.

        Without a hook after validation it is known once the host has made a result: those from
        before execution are shown twice until then.
        """
        return self._host_context.result is not None

    def _note_errors(self) -> str | None:
        """Record the errors of a result; return the class of the first one."""
        errors = self.execution_context.pre_execution_errors
        with self._fuse:
            if not errors or self._operation is None or self._were_seen(errors):
                return None
            self._seen_errors = errors
            self._describe()
            config, executing = self._operation.config, self._executing
            first = error_type(errors[0])
            self._operation.errors(
                first,
                len(errors),
                (error_attributes(error, config, executing=executing) for error in errors),
            )
            return first
        return None

    def _were_seen(self, errors: list[GraphQLError]) -> bool:
        """Whether these very errors were noted.

        Strawberry leaves those of a result in place while it makes the next one, and shows those
        from before execution twice, a syntax error in a new list. A source may raise the same error
        for every result.
        """
        seen = self._seen_errors
        if self._is_left and len(errors) == len(seen):
            # Those that another extension has masked on the way out.
            return True
        if self._executing:
            return errors is seen
        return len(errors) == len(seen) and all(map(is_, errors, seen))

    @classmethod
    def _own_telemetry(cls) -> Telemetry:
        if cls._telemetry is None or not cls._telemetry.is_current(cls.otel_config):
            cls._telemetry = Telemetry(checked(cls, cls.otel_config), cls._failures)
        return cls._telemetry


class _Typed(_Recorder):
    """The variant that learns the type as soon as the document is parsed."""

    _executing = False

    def on_validate(self) -> Iterator[None]:
        """Learn what the document turned out to be."""
        self._describe()
        yield
        self._executing = not self.execution_context.pre_execution_errors


class _Prepared(_Typed):
    """The variant for a subscription that is sampled: what comes before its source gets spans.

    No hook says when its source is established.
    """

    def on_parse(self) -> Iterator[None]:
        yield from self._phase(_semconv.SPAN_PARSING)

    def on_validate(self) -> Iterator[None]:
        self._describe()
        yield from self._phase(_semconv.SPAN_VALIDATION)
        self._executing = not self.execution_context.pre_execution_errors

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


class _Phases(_Prepared):
    """The variant for a query or mutation that is sampled: its execution also gets a span."""

    def on_execute(self) -> Iterator[None]:
        operation = self._operation
        if operation is not None and operation.type == SUBSCRIPTION:
            yield
        else:
            yield from self._phase(_semconv.SPAN_EXECUTION)


_RAISED_BY_HOST: Final = (
    CannotGetOperationTypeError,
    InvalidOperationTypeError,
    MissingQueryError,
)
"""What the host raises instead of making a result of it."""


class _Whole(_Phases):
    """The variant for an operation that nobody recorded before: it has the span to itself.

    Other extensions may fail it before this one is entered or after it is left. In the end the host
    asks for the results all the same, unless it raises.
    """

    _activation: Activation | None = None
    _raised: BaseException | None = None
    _is_parsed = False
    _has_results = False

    def on_operation(self) -> Iterator[None]:
        with self._fuse:
            self._begin()
        try:
            yield
        except BaseException as exception:
            self._raised = exception
            raise
        finally:
            with self._fuse:
                self._left()

    def on_parse(self) -> Iterator[None]:
        self._is_parsed = True
        yield from super().on_parse()

    def on_validate(self) -> Iterator[None]:
        with self._fuse:
            if self._operation is not None:
                self._operation.document_found(self._host_context.query)
        yield from super().on_validate()

    def get_results(self) -> dict[str, Any]:
        with self._fuse:
            if self._operation is None:
                self._begin()
            failed = self._note_errors()
            if self._executing and self._operation is not None:
                self._operation.delivered(failed)
            self._has_results = True
            if self._is_left or not self._is_parsed:
                self._finish()
        return {}

    def __del__(self) -> None:
        """End what the host has left unfinished, as where another extension is cancelled."""
        with self._fuse:
            self._finish()

    def _left(self) -> None:
        """Leave the operation as the host does; finish it unless the host will ask for results."""
        self._is_left = True
        self._note_errors()
        raised = self._raised
        is_result = isinstance(raised, Exception) and not isinstance(raised, _RAISED_BY_HOST)
        if self._has_results or not (raised is None or is_result):
            self._finish()
        else:
            self._leave()

    def _leave(self) -> None:
        """Leave the context of the operation, unless the code that runs is somebody else's by now.

        A stream may be closed by another task, or late.
        """
        activation, self._activation = self._activation, None
        if activation is not None and current().operation is self._operation:
            activation.end()

    def _begin(self) -> None:
        if self._operation is not None:
            # An instance that was given to the schema, as the log says.
            return
        request, connection = current_request(), current_connection()
        telemetry = self._own_telemetry() if request is None else request.telemetry
        headers = {} if request is None else request.headers
        execution, before = self.execution_context, get_current()
        fuses = telemetry.fuses()
        fuses.library = self._fuse
        self._operation = operation = Operation(
            telemetry,
            fuses,
            execution.operation_name,
            execution.query,
            None if connection is None else {_semconv.CONNECTION_ID: connection.id},
        )
        parentage = of_request(telemetry.config, before, headers, self._fuse)
        operation.start(parentage)
        placement = placement_of(operation.span, before, parentage.carried)
        self._activation = Activation(
            Current(request, operation, placement or current().placement), self._fuse
        )

    def _finish(self) -> None:
        raised, self._raised = self._raised, None
        self._leave()
        if self._operation is not None:
            self._operation.finish(self._error_type(raised, self._operation))

    @staticmethod
    def _error_type(raised: BaseException | None, operation: Operation) -> str | None:
        """Return the class of what ended an operation, unless that is no failure."""
        if raised is None or isinstance(raised, GeneratorExit):
            return None
        if isinstance(raised, asyncio.CancelledError) and operation.type == SUBSCRIPTION:
            # Whoever asked is gone. A subscription ends so when its client has heard enough.
            return None
        return error_type(raised) if isinstance(raised, GraphQLError) else exception_type(raised)


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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the configuration, and prepare the variants of the class."""
        super().__init_subclass__(**kwargs)
        checked(cls, cls.otel_config)
        if not issubclass(cls, _Typed):
            cls._telemetry = None
            cls._failures = FailureLog()
            cls._variants = _variants(cls)


def _variants(cls: type[OTelExtension]) -> dict[_Need, type[_Recorder]]:
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return {
        _Need.ERRORS: cls,
        _Need.TYPE: type(cls.__name__, (cls, _Typed), dict(names)),
        _Need.PREPARATION: type(cls.__name__, (cls, _Prepared), dict(names)),
        _Need.PHASES: type(cls.__name__, (cls, _Phases), dict(names)),
        _Need.WHOLE: type(cls.__name__, (cls, _Whole), dict(names)),
    }


OTelExtension._variants = _variants(OTelExtension)  # noqa: SLF001  # __init_subclass__ is for others

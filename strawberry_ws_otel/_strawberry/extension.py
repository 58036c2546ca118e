"""`OTelExtension`: what only the schema knows of an operation: type, name, phases, errors.

Each hook costs an operation 15 to 60 us, even if it records nothing: Strawberry makes a context
manager of it every time (0.319, 0.341.2). So each operation gets an instance of the variant that
has only the hooks it needs:

* `OTelExtension`, without hooks: over a WebSocket, a subscription, or whatever gets no spans of
  phases. The document's first words show the type, and errors come with the results;
* `_WithType`: the same, but the first words do not show the type;
* `_WithPhases`: over a WebSocket, a sampled query or mutation, or what may be one;
* `_Standalone`: an operation that no view has recorded: plain HTTP, streams, other integrations.

The phases of a subscription get no spans. These would end hours before it does, and a tail sampler
would judge its trace by them. Nothing undoes a wrong guess: a document that begins like a
subscription and is something else has no phases, and all the rest.
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
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
from strawberry_ws_otel._config import MISSPELT, OTelConfig, checked, misspelt
from strawberry_ws_otel._connection import current_connection, current_request
from strawberry_ws_otel._current import Activation, Current, current, placement_of, running_task
from strawberry_ws_otel._fuse import FailureLog, Fuse
from strawberry_ws_otel._operation import (
    SUBSCRIPTION,
    Attributes,
    Operation,
    leading_operation_type,
)
from strawberry_ws_otel._operations import Execution, unclaimed
from strawberry_ws_otel._propagation import of_request
from strawberry_ws_otel._recording import Telemetry
from strawberry_ws_otel._spans import SpanRecorder
from strawberry_ws_otel._strawberry.errors import error_attributes, error_type

_EXECUTIONS: Final = (Schema.stream.__code__, Schema.execute.__code__, Schema.execute_sync.__code__)
"""The host's methods that execute an operation."""

_SERVING: Final = (
    BaseGraphQLTransportWSHandler.run_operation.__code__,
    BaseGraphQLWSHandler.handle_async_results.__code__,
)
"""The host's methods that run as long as a handler serves an operation."""

_SERVING_NAMES: Final = frozenset(code.co_name for code in _SERVING)
"""Their names, which a handler of the application keeps if it overrides them."""

_VIEWS: Final = "strawberry.aiohttp.views"
"""The module of the views that the mixin is for."""

_RAISED_BY_HOST: Final = CannotGetOperationTypeError | InvalidOperationTypeError | MissingQueryError
"""What `Schema.execute` raises. It makes a result of any other exception (0.319, 0.341.2)."""


def _is_of_execution(error: GraphQLError) -> bool:
    """Whether an error of a parsed document was raised by its execution, as far as it matters.

    Errors of a validation have locations and no path. Without either, the host wraps what was
    raised around resolvers, and its own refusals.
    """
    if error.locations is None and error.path is None:
        return not isinstance(error.original_error, GraphQLError | _RAISED_BY_HOST | None)
    return error.path is not None


def _innermost(codes: tuple[CodeType, ...]) -> CodeType | None:
    """Return the innermost one of some functions that are on the stack, if any.

    Only the stack shows whether an execution serves a client or is the application's own. Looking
    at it makes Python keep frames and slows the whole process, so it is the last resort.
    """
    frame: FrameType | None = sys._getframe()  # noqa: SLF001  # documented, for CPython
    while frame is not None and frame.f_code not in codes:
        frame = frame.f_back
    return None if frame is None else frame.f_code


def _serving_coroutine() -> Any:  # noqa: ANN401  # of any task
    """Return the coroutine of the running task, if it serves an operation over a WebSocket.

    That costs a small part of what it costs to look at the stack.
    """
    coroutine: Any = getattr(running_task(), "get_coro", lambda: None)()
    code = getattr(coroutine, "cr_code", None)
    return None if code is None or code.co_name not in _SERVING_NAMES else coroutine


class _WithoutHooks(SchemaExtension):
    """Records the errors of one operation, and its type once there is a result."""

    otel_config: ClassVar[OTelConfig]
    _telemetry: ClassVar[Telemetry | None]
    _failures: ClassVar[FailureLog]
    _looks_for_views: ClassVar[bool]
    """Whether to warn of a view without the mixin, at the first operation over a WebSocket."""
    _variants: ClassVar[dict[type["_WithoutHooks"], type["_WithoutHooks"]]]
    """By their hooks."""

    _operation: Operation | None = None
    _seen_errors: Sequence[GraphQLError] = ()
    _has_left = False
    """Whether the host has left `on_operation`."""
    _host_context: ExecutionContext
    _is_reported = False
    """Whether a view has warned of this instance, which its schema shares."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the configuration of an extension class, and make its variants."""
        super().__init_subclass__(**kwargs)
        if not hasattr(cls, "otel_config") or issubclass(cls, _WithType):
            # The hooks of a variant, or a variant.
            return
        checked(cls, cls.otel_config)
        cls._telemetry, cls._failures = None, FailureLog()
        cls._looks_for_views = cls.otel_config.setup_warnings
        attribute = misspelt(cls, cls.otel_config)
        if attribute and cls.otel_config.setup_warnings:
            with Fuse(cls._failures):
                cls._failures.warn_once(MISSPELT, cls.__qualname__, attribute)
        names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__}
        cls._variants = {_WithoutHooks: cls}
        for hooks in (_WithType, _WithPhases, _Standalone):
            cls._variants[hooks] = type(cls.__name__, (cls, hooks), names)

    # Not in `__init__`: the host's does nothing, so that subclasses need not call it.
    @cached_property
    def _fuse(self) -> Fuse:
        return Fuse(self._failures)

    @property
    def execution_context(self) -> ExecutionContext:
        """What the host knows of the operation."""
        return self._host_context

    @execution_context.setter
    def execution_context(self, context: ExecutionContext) -> None:
        """Become the variant that the operation needs.

        The host sets this after it has made the instance and before it looks for hooks, which it
        takes from the class (0.319, 0.341.2).
        """
        self._host_context = context
        try:
            if self._operation is None:
                self.__class__ = self._variants[self._claim(context)]
            elif not self._is_reported:
                raise TypeError(  # noqa: TRY301  # the fuse's, as all others
                    "an instance of OTelExtension serves one operation; give the class to the"
                    " schema: extensions=[OTelExtension]"
                )
        except Exception as error:  # noqa: BLE001  # the fuse's
            self._fuse.blow(error)

    def _claim(self, context: ExecutionContext) -> type["_WithoutHooks"]:
        """Find the operation of a view that this execution serves, and return the variant."""
        document, name = context.query, context.operation_name
        request = current_request() or unclaimed.find(document)
        connection = None if request is None else request.connection
        if connection is None:
            if request is None and self._looks_for_views:
                self._look_for_view()
            return _Standalone
        operation = connection.claim_own(document) or connection.claim(
            Execution(
                document,
                name,
                looks_like_stream=lambda: _innermost(_EXECUTIONS) is Schema.stream.__code__,
                is_hosts=lambda: _innermost(_SERVING) is not None,
            ),
            request,
        )
        if operation is None:
            return _Standalone
        self._operation, self._fuse = operation, operation.fuses.library
        expected = leading_operation_type(document, name)
        has_phases = operation.span.recording and operation.config.phase_spans
        if has_phases and expected != SUBSCRIPTION:
            return _WithPhases
        if expected is None:
            return _WithType
        operation.expect(expected, self._describe)
        return _WithoutHooks

    @classmethod
    def _look_for_view(cls) -> None:
        """Warn, at the first operation over a WebSocket, if its view does not record it."""
        coroutine = _serving_coroutine()
        if coroutine is None:
            return
        cls._looks_for_views = False
        with Fuse(cls._failures, "the check of the set-up"):
            view = getattr(coroutine.cr_frame.f_locals.get("self"), "view", None)
            is_aiohttps = any(each.__module__ == _VIEWS for each in type(view).__mro__)
            # The mixin and the instrumentor set it.
            if is_aiohttps and not hasattr(view, "_otel_failures"):
                name = type(view).__qualname__
                cls._failures.warn_once(
                    "%s serves WebSockets without OTelViewMixin: its connections and closes are not"
                    " recorded; put it before the view, class %s(OTelViewMixin, GraphQLView)",
                    name,
                    name,
                )

    def get_results(self) -> dict[str, Any]:
        """Record the errors of a result, before other extensions mask them; add nothing to it."""
        # The host calls this for every result.
        if self._operation is not None and self._operation.type is None:
            self._describe()
        if self._host_context.pre_execution_errors:
            self._record_errors()
        return {}

    def _describe(self) -> None:
        """Record the type and the name of the operation, once the document is parsed."""
        with self._fuse:
            if self._operation is None or self._operation.type is not None:
                return
            try:
                operation_type = self._host_context.operation_type
            except RuntimeError:
                # The document does not have the operation that is asked for.
                return
            self._operation.describe(operation_type.value, self._host_context.operation_name)

    @property
    def _was_executed(self) -> bool:
        """Whether the errors of a result were raised by its execution, and not before.

        Without a hook after validation, `result` shows it, which the host sets after the first
        result. The errors of that one show it themselves, once the document is parsed.
        """
        execution = self._host_context
        if execution.graphql_document is None:
            return False
        errors = execution.pre_execution_errors or ()
        return execution.result is not None or any(map(_is_of_execution, errors))

    def _record_errors(self) -> str | None:
        """Record the errors of a result; return the class of the first one."""
        errors = self._host_context.pre_execution_errors
        with self._fuse:
            operation = self._operation
            if not errors or operation is None or self._were_seen(errors):
                return None
            self._seen_errors = errors
            self._describe()
            config, executing = operation.config, self._was_executed
            first = error_type(errors[0])
            attributes = (error_attributes(each, config, executing=executing) for each in errors)
            operation.errors(first, len(errors), attributes)
            return first
        return None

    def _were_seen(self, errors: list[GraphQLError]) -> bool:
        """Whether these very errors were recorded.

        Strawberry leaves the errors of a result in place while it makes the next one, and shows
        those from before the execution twice, a syntax error in a new list (0.319, 0.341.2). But a
        source may raise one exception for every result.
        """
        seen = self._seen_errors
        if self._has_left and len(errors) == len(seen):
            # Another extension has masked them since.
            return True
        if self._was_executed:
            return errors is seen
        return len(errors) == len(seen) and all(map(is_, errors, seen))


class _WithType(_WithoutHooks):
    """Learns the type as soon as the document is parsed."""

    _was_executed = False

    def on_validate(self) -> Iterator[None]:
        self._describe()
        yield
        self._was_executed = not self._host_context.pre_execution_errors


class _WithPhases(_WithType):
    """Records the phases of a query or mutation."""

    def on_parse(self) -> Iterator[None]:
        execution = self._host_context
        expected = leading_operation_type(execution.query, execution.operation_name)
        if expected is None:
            yield from self._parsing_of_unknown()
        elif expected == SUBSCRIPTION:
            yield
        else:
            yield from self._phase(_semconv.SPAN_PARSING)

    def on_validate(self) -> Iterator[None]:
        self._describe()
        yield from self._phase(_semconv.SPAN_VALIDATION)
        self._was_executed = not self._host_context.pre_execution_errors

    def on_execute(self) -> Iterator[None]:
        yield from self._phase(_semconv.SPAN_EXECUTION)

    def _parsing_of_unknown(self) -> Iterator[None]:
        """Make the span afterwards: only the parsed document shows that it is no subscription."""
        started = time.time_ns()
        try:
            yield
        finally:
            self._describe()
            if (span := self._start_phase(_semconv.SPAN_PARSING, started)) is not None:
                span.end()

    def _phase(self, name: str) -> Iterator[None]:
        span = self._start_phase(name)
        try:
            yield
        finally:
            if span is not None:
                span.end()

    def _start_phase(self, name: str, start_time: int | None = None) -> SpanRecorder | None:
        with self._fuse:
            if self._operation is not None:
                return self._operation.phase(name, start_time)
        return None


class _Standalone(_WithPhases):
    """Begins and ends an operation that no view has recorded.

    An error of another extension may end it before `on_operation` begins or after it ends. The host
    calls `get_results` nevertheless, unless it raises.
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
                self._leave()

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
            self._begin()
            failed = self._record_errors()
            if self._was_executed and self._operation is not None:
                self._operation.delivered(failed)
            self._has_results = True
            # The host has left `on_operation`, or never entered it: nothing else finishes this.
            if self._has_left or not self._is_parsed:
                self._finish()
        return {}

    def __del__(self) -> None:
        """Finish what the host has abandoned, for example as another extension was cancelled."""
        with self._fuse:
            self._finish()

    def _begin(self) -> None:
        if self._operation is not None:
            # `on_operation` has begun it, or the schema was given an instance, as the log says.
            return
        request, connection = current_request(), current_connection()
        telemetry = self._own_telemetry() if request is None else request.telemetry
        headers = {} if request is None else request.headers
        execution, before = self._host_context, get_current()
        fuses = telemetry.fuses()
        fuses.library = self._fuse
        attributes: Attributes = {}
        if connection is not None:
            attributes = connection.operation_attributes
        elif request is not None:
            attributes = {_semconv.HTTP_ROUTE: request.route}
        self._operation = operation = Operation(
            telemetry, fuses, execution.operation_name, execution.query, attributes
        )
        parentage = of_request(telemetry.config, before, headers, self._fuse)
        operation.start(parentage)
        placement = placement_of(operation.span, before, parentage.carried)
        self._activation = Activation(
            Current(request, operation, placement or current().placement), self._fuse
        )

    @classmethod
    def _own_telemetry(cls) -> Telemetry:
        if cls._telemetry is None or not cls._telemetry.is_current(cls.otel_config):
            cls._telemetry = Telemetry(checked(cls, cls.otel_config), cls._failures)
        return cls._telemetry

    def _leave(self) -> None:
        """Leave the operation with the host; finish it unless `get_results` is still to come."""
        self._has_left = True
        self._record_errors()
        self._leave_context()
        is_result = isinstance(self._raised, Exception | None)
        if self._has_results or not is_result or isinstance(self._raised, _RAISED_BY_HOST):
            self._finish()

    def _leave_context(self) -> None:
        activation, self._activation = self._activation, None
        # Another task may close a stream, or the collector, in the context of something else.
        if activation is not None and current().operation is self._operation:
            activation.end()

    def _finish(self) -> None:
        raised, self._raised = self._raised, None
        self._leave_context()
        if (operation := self._operation) is None:
            return
        # A subscription normally ends when its caller cancels it or closes the stream.
        is_subscription = operation.type == SUBSCRIPTION
        normal = (GeneratorExit, asyncio.CancelledError) if is_subscription else GeneratorExit
        if raised is None or isinstance(raised, normal):
            operation.finish(None)
        else:
            operation.finish(error_type(raised))


class OTelExtension(_WithoutHooks):
    """Records every operation of a schema: type, name, phases, errors, duration.

    Give the class itself to the schema, not an instance: Strawberry makes one for each operation.

        schema = strawberry.Schema(query=Query, extensions=[OTelExtension])

    Under an `OTelViewMixin` it adds to the operations of the connection and uses the view's
    `otel_config`; anywhere else it records operations by itself, with its own.
    """

    otel_config: ClassVar[OTelConfig] = OTelConfig()
    """The configuration where no view brings one; subclass to change it."""

"""GraphQL errors as telemetry sees them."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Final

from graphql import GraphQLError
from opentelemetry.util.types import AttributeValue

from strawberry_ws_otel import _limits, _semconv
from strawberry_ws_otel._config import OTelConfig

_HOSTS: Final = frozenset({"graphql", "strawberry"})
"""The packages that execute operations."""

_PERMISSIONS: Final = "strawberry.permission"
"""The module that raises errors with the messages of the application's permissions."""

_MAX_LOCATIONS: Final = 10


def error_type(error: BaseException) -> str:
    """Return the low-cardinality class of an error: its code, else the class of its cause."""
    cause = _cause(error)
    raised = error if isinstance(cause, GraphQLError) else cause
    return _code(error) or _limits.exception_type(raised)


def error_attributes(
    error: GraphQLError, config: OTelConfig, *, executing: bool
) -> Mapping[str, AttributeValue | None]:
    """Return the attributes of the event of one error.

    A message of graphql-core or Strawberry can quote variables, literals and results. It comes from
    before the execution, or from the host's own code, which coerces arguments and results.
    """
    cause = _cause(error)
    # An error of variables comes with the execution, has no path and wraps another `GraphQLError`.
    in_resolver = executing and (
        error.path is not None or not isinstance(error.original_error, GraphQLError | None)
    )
    is_applications = in_resolver and not _is_raised_by_host(cause)
    shown = {"all": True, "execution": is_applications, "none": False}[config.error_messages]
    raised = cause if in_resolver and not isinstance(cause, GraphQLError) else None
    locations = islice(error.locations or (), _MAX_LOCATIONS)
    return {
        _semconv.ERROR_MESSAGE: _limits.bounded(error.message, _limits.MESSAGE) if shown else None,
        _semconv.ERROR_PATH: _limits.bounded(_path(error.path or ()), _limits.NAME) or None,
        _semconv.ERROR_LOCATIONS: ",".join(f"{at.line}:{at.column}" for at in locations) or None,
        _semconv.ERROR_CODE: _code(error),
        _semconv.EXCEPTION_TYPE: _limits.exception_type(raised) if raised else None,
        _semconv.EXCEPTION_MESSAGE: _limits.exception_message(raised) if raised and shown else None,
    }


def _path(keys: Iterable[str | int]) -> str:
    """Write a path as the draft does, `a[0].b`: a number is the index of an item in a list."""
    steps = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return "".join(steps).removeprefix(".")


def _code(error: BaseException) -> str | None:
    extensions: object = error.extensions if isinstance(error, GraphQLError) else None
    code = extensions.get("code") if isinstance(extensions, Mapping) else None
    return _limits.bounded(code, _limits.NAME) if isinstance(code, str) else None


def _cause(error: BaseException) -> BaseException:
    """Return what was raised, which graphql-core wraps once or more often."""
    while isinstance(error, GraphQLError) and error.original_error is not None:
        error = error.original_error
    return error


def _is_raised_by_host(cause: BaseException) -> bool:
    """Whether graphql-core or Strawberry raised it, and not a function that they called."""
    module = _limits.module_that_raised(cause)
    return module.partition(".")[0] in _HOSTS and module != _PERMISSIONS

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
"""The module that raises what the application's permissions say."""


def error_type(error: GraphQLError) -> str:
    """Return the low-cardinality class of an error: its code, else the class of its cause."""
    return _code(error) or _limits.exception_type(_raised(error) or error)


def error_attributes(
    error: GraphQLError, config: OTelConfig, *, executing: bool
) -> Mapping[str, AttributeValue | None]:
    """Return the attributes of the event of one error.

    Messages that are not the application's quote variables, literals and results: all those from
    before the execution; at its start those of variables, which have no path and wrap an error of
    graphql-core's own; and what the host raises as it takes arguments and gives out results.
    """
    located = executing and (
        error.path is not None or not isinstance(error.original_error, GraphQLError | None)
    )
    own = located and not _is_raised_by_host(error)
    shown = {"all": True, "execution": own, "none": False}[config.error_messages]
    raised = _raised(error) if located else None
    return {
        _semconv.ERROR_MESSAGE: _limits.bounded(error.message, _limits.MESSAGE) if shown else None,
        _semconv.ERROR_PATH: _limits.bounded(_path(error.path), _limits.NAME)
        if error.path
        else None,
        _semconv.ERROR_LOCATIONS: ",".join(
            f"{location.line}:{location.column}" for location in islice(error.locations or (), 10)
        )
        or None,
        _semconv.ERROR_CODE: _code(error),
        _semconv.EXCEPTION_TYPE: _limits.exception_type(raised) if raised else None,
        _semconv.EXCEPTION_MESSAGE: _limits.exception_message(raised) if raised and shown else None,
    }


def _path(keys: Iterable[str | int]) -> str:
    """Write a path as the draft does, `a[0].b`: a number is the index of an item in a list."""
    steps = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return "".join(steps).removeprefix(".")


def _code(error: GraphQLError) -> str | None:
    extensions: object = error.extensions
    code = extensions.get("code") if isinstance(extensions, Mapping) else None
    return _limits.bounded(code, _limits.NAME) if isinstance(code, str) else None


def _is_raised_by_host(error: GraphQLError) -> bool:
    """Whether graphql-core or Strawberry raised what `error` goes back to.

    Not a function that they called, nor a permission, whose message is the application's.
    """
    traceback = _origin(error).__traceback__
    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    module: str = traceback.tb_frame.f_globals.get("__name__", "")
    return module.partition(".")[0] in _HOSTS and module != _PERMISSIONS


def _raised(error: GraphQLError) -> BaseException | None:
    """Return what the application raised, unless that is a GraphQLError."""
    origin = _origin(error)
    return None if isinstance(origin, GraphQLError) else origin


def _origin(error: GraphQLError) -> BaseException:
    """Return what `error` goes back to; graphql-core wraps it once or more often."""
    cause: BaseException = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause

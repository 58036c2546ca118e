"""How long untrusted text may be, and how it is truncated.

Everything that a client sends is truncated before it is recorded. Lone surrogates, which JSON can
carry and UTF-8 cannot, are replaced: one of them would make an exporter drop a whole batch.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

T = TypeVar("T")

# In characters, except for the reason of a close.
ID: Final = 128
NAME: Final = 256  # also of a user agent, a path and the code of an error
MESSAGE: Final = 512
MAX_CAUSES: Final = 100  # exceptions of one chain that are looked at
REASON: Final = 123  # bytes: RFC 6455 5.5 gives a control frame 125, and 2 of them are the code


def bounded(value: object, limit: int) -> str:
    """Return `value` as text of at most `limit` characters that UTF-8 can encode."""
    text = (value if isinstance(value, str) else str(value))[:limit]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def bounded_reason(reason: str) -> str:
    """Return a close reason of at most 123 bytes of UTF-8, cut between characters."""
    return reason[:REASON].encode("utf-8", "replace")[:REASON].decode("utf-8", "ignore")


def present(attributes: Mapping[str, T | None]) -> dict[str, T]:
    """Return the attributes that have a value: the SDK warns of `None`."""
    return {key: value for key, value in attributes.items() if value is not None}


def class_name(thing: object) -> str:
    """Return the class of `thing` with its module, builtins bare, as `record_exception` does."""
    cls = type(thing)
    if cls.__module__ == "builtins":
        return cls.__qualname__
    return bounded(f"{cls.__module__}.{cls.__qualname__}", NAME)


def exception_type(error: BaseException) -> str:
    """Return the class of `error`, as `class_name` does."""
    return class_name(error)


def exception_message(error: BaseException) -> str:
    """Return the message of `error`; a class whose `__str__` raises has none."""
    try:
        return bounded(str(error), MESSAGE)
    except Exception:  # noqa: BLE001  # the application's own __str__
        return ""


def headline(
    error: BaseException, has_message: Callable[[BaseException], bool] = lambda _: True
) -> str:
    """Return the class and the message of `error` on one line, and those of its first cause.

    Others may have wrapped that. `has_message` says whose message to show.
    """
    first = _raised_first(error)
    behind = "" if first is error else f" (raised first: {_on_one_line(first, has_message)})"
    return _on_one_line(error, has_message) + behind


def _on_one_line(error: BaseException, has_message: Callable[[BaseException], bool]) -> str:
    message = " ".join(exception_message(error).split()) if has_message(error) else ""
    return f"{exception_type(error)}: {message}" if message else exception_type(error)


def _raised_first(error: BaseException) -> BaseException:
    """Return the first cause of `error`, also of the first exception in a group.

    What was only handled meanwhile need not have caused it: it may be the application's, which was
    on its way while telemetry failed.
    """
    for _ in range(MAX_CAUSES):
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None
        behind = inner or error.__cause__
        if behind is None:
            break
        error = behind
    return error


def module_that_raised(error: BaseException) -> str:
    """Return the name of the module whose code raised `error`, "" if nobody has."""
    traceback = error.__traceback__
    if traceback is None:
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    module: str = traceback.tb_frame.f_globals.get("__name__", "")
    return module


def utf8_size(data: str | bytes) -> int:
    """Return the size in bytes of a payload on the wire, before compression."""
    if isinstance(data, str):
        return len(data) if data.isascii() else len(data.encode("utf-8", "surrogatepass"))
    return len(data)

"""How long untrusted text may be, and how it is truncated.

Everything that a client sends is truncated before it is recorded. Lone surrogates, which JSON can
carry and UTF-8 cannot, are replaced: one of them would make an exporter drop a whole batch.
"""

from collections.abc import Mapping
from typing import Final, TypeVar

T = TypeVar("T")

# In characters, except for the reason of a close.
ID: Final = 128
NAME: Final = 256  # also of a user agent, a path and the code of an error
MESSAGE: Final = 512
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


def utf8_size(data: str | bytes) -> int:
    """Return the size in bytes of a payload on the wire, before compression."""
    if isinstance(data, str):
        return len(data) if data.isascii() else len(data.encode("utf-8", "surrogatepass"))
    return len(data)

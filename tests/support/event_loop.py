"""How a synchronous test runs coroutines."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")

Run = Callable[[Coroutine[Any, Any, Result]], Result]

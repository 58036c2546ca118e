"""What the library logs while a test runs."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LIBRARY = "strawberry_ws_otel"


class LogKeeper(logging.Handler):
    """A handler that keeps its records."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def closes(self) -> list[logging.LogRecord]:
        """The records about abnormal closes."""
        return [record for record in self.records if not is_internal(record)]


def is_internal(record: logging.LogRecord) -> bool:
    """Whether a record says that the library itself failed."""
    is_refused_call = str(record.msg).startswith("Telemetry leaves out")
    return record.module == "_fuse" and (is_refused_call or record.funcName != "warn_once")


@contextmanager
def keeping_log(*filters: Callable[[logging.LogRecord], bool]) -> Iterator[LogKeeper]:
    """What the library logs as long as this lasts, or what of it passes the filters."""
    keeper, logger = LogKeeper(), logging.getLogger(LIBRARY)
    for each in filters:
        keeper.addFilter(each)
    logger.addHandler(keeper)
    try:
        yield keeper
    finally:
        logger.removeHandler(keeper)


@contextmanager
def handling(handler: logging.Handler | logging.Filter) -> Iterator[None]:
    """The library's log has this handler, or filter."""
    logger = logging.getLogger(LIBRARY)
    logger.addFilter(handler) if isinstance(handler, logging.Filter) else logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeFilter(handler)
        if isinstance(handler, logging.Handler):
            logger.removeHandler(handler)


class RaisingHandler(logging.Handler):
    """A handler that cannot write."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("no space left on device")

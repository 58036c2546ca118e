"""Several processes: `gunicorn --config examples/deployment/gunicorn.conf.py`."""

import logging
from typing import Any

from examples.deployment.log import with_ids
from examples.deployment.telemetry import Telemetry

wsgi_app = "examples.deployment.app:create_app"
worker_class = "aiohttp.GunicornWebWorker"
workers = 2
bind = "127.0.0.1:8000"

# Seconds for a worker that has to stop: for its clients and for its last export.
graceful_timeout = 40
# A worker is killed if it does not report for so long. While it closes, it does not report.
timeout = 60


def post_fork(_server: Any, worker: Any) -> None:
    """Make the providers here: the worker needs threads and an id of its own."""
    worker.telemetry = Telemetry()
    logging.basicConfig(handlers=[with_ids(logging.StreamHandler())])
    # aiohttp's records, with the tracebacks, are in gunicorn's own log.
    for handler in worker.log.error_log.handlers:
        with_ids(handler)


def post_worker_init(worker: Any) -> None:
    """Log that the worker is ready: a signal that arrives earlier is lost."""
    worker.log.info("Worker ready (pid: %s)", worker.pid)


def worker_exit(_server: Any, worker: Any) -> None:
    """Export what is left, after every connection of the worker has ended."""
    worker.telemetry.shut_down()

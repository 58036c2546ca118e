"""Several processes: `gunicorn --config examples/deployment/gunicorn.conf.py`."""

from typing import Any

from examples.deployment.telemetry import Telemetry

wsgi_app = "examples.deployment.app:create_app"
worker_class = "aiohttp.GunicornWebWorker"
workers = 2
bind = "127.0.0.1:8000"

# A worker that is told to go has this long, in seconds, for its clients and for its last export.
graceful_timeout = 40
# One that does not answer for so long is killed, and one that says goodbye does not answer.
timeout = 60


def post_fork(_server: Any, worker: Any) -> None:
    """Make the providers here: the master's threads and ids would not be this worker's."""
    worker.telemetry = Telemetry()


def post_worker_init(worker: Any) -> None:
    """Say that the worker listens to signals from here on: one that comes earlier is lost."""
    worker.log.info("Worker ready (pid: %s)", worker.pid)


def worker_exit(_server: Any, worker: Any) -> None:
    """Export what is left; by now every connection of the worker has ended."""
    worker.telemetry.shut_down()

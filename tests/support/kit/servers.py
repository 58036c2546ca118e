"""Servers of the operator's kit that a test starts."""

from collections.abc import Callable

from examples.operations.process import Process, Server

Start = Callable[[Server], Process]

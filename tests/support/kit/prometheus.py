"""Asks Prometheus, through its JSON API."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from examples.operations.binaries import find

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Prometheus:
    url: str

    async def ask(self, path: str, **parameters: str) -> Any:
        async with (
            ClientSession(self.url) as session,
            session.get(f"/api/v1/{path}", params=parameters) as response,
        ):
            answer = await response.json()
        assert answer["status"] == "success", answer
        return answer["data"]

    async def query(self, expression: str) -> list[tuple[Labels, float]]:
        """Return the labels and the value of every series."""
        data = await self.ask("query", query=expression)
        assert data["resultType"] == "vector", data
        return [(one["metric"], float(one["value"][1])) for one in data["result"]]

    async def traces_of(self, expression: str) -> set[str]:
        """Return the ids of the traces to which the exemplars of an expression lead."""
        data = await self.ask("query_exemplars", query=expression, start="0", end="9999999999")
        return {one["labels"]["trace_id"] for series in data for one in series["exemplars"]}


def run(program: str, *arguments: str | Path) -> None:
    """Run a program of the kit's servers, which has to succeed."""
    command = [find(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert done.returncode == 0, done.stdout + done.stderr

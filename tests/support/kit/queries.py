"""The queries of the dashboard and of the runbook, as somebody asks them."""

import json
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from examples.operations import dashboard, rules
from examples.operations.panels import VARIABLES
from tests.support.pages import Page

_RUNBOOK: Final = Page("docs/operating/runbook.md")
_TITLE_OR_QUERY: Final = re.compile(
    r"^#+ (?P<title>[^\n]+)$|^```promql\n(?P<query>.*?)\n```$", re.MULTILINE | re.DOTALL
)
ALL: Final = dict.fromkeys(VARIABLES, ".*")
_OF_THE_COLLECTOR: Final = (
    "Collector seen",
    "Queue of the Collector",
    "Spans through the Collector",
)
_FIXED: Final = {
    # It reads a recording rule without that label.
    "Closes by code": frozenset({"instance"}),
    # Many services share it.
    **dict.fromkeys(_OF_THE_COLLECTOR, frozenset({"namespace", "job", "instance"})),
}
"""The variables that a panel does not depend on."""

RATE_INTERVAL: Final = "1m"
"""Four times the interval of the scrapes, as Grafana chooses it."""


class Query(NamedTuple):
    """A query, and the panel, annotation or section that asks it."""

    title: str
    text: str

    @property
    def variables(self) -> frozenset[str]:
        """The variables on which a query of the dashboard has to depend."""
        return frozenset(VARIABLES) - _FIXED.get(self.title, frozenset())

    def choosing(self, values: Mapping[str, str]) -> str:
        """Fill in the variables, as Grafana does."""
        text = self.text.replace("$__rate_interval", RATE_INTERVAL)
        for name, value in values.items():
            text = text.replace(f"${name}", value)
        return text


def of_dashboard() -> list[Query]:
    """Return the queries of the panels and annotations."""
    page = json.loads(dashboard.FILE.read_text(encoding="utf-8"))
    panels = [
        Query(panel["title"], target["expr"])
        for panel in page["panels"]
        for target in panel.get("targets", [])
    ]
    return panels + [Query(one["name"], one["expr"]) for one in page["annotations"]["list"]]


def of_runbook() -> list[Query]:
    """Return the queries of the sections, as one asks them in the kit: a minute is a second."""
    queries, title = [], ""
    for found in _TITLE_OR_QUERY.finditer(_RUNBOOK.text):
        title = found["title"] or title
        if found["query"]:
            queries.append(Query(title, rules.shortened(found["query"], 60)))
    return queries

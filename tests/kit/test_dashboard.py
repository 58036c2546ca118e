"""The dashboard's JSON is what its source makes, and every query of it selects by the variables."""

import json
import re
from typing import Any

import pytest

from examples.operations import dashboard
from tests.support.kit.queries import Query, of_dashboard

PAGE: dict[str, Any] = json.loads(dashboard.FILE.read_text(encoding="utf-8"))


def test_the_file_is_current() -> None:
    assert dashboard.FILE.read_text(encoding="utf-8") == dashboard.text(), (
        "run: python -m examples.operations.dashboard"
    )


def test_a_variable_has_all_values_also_none_and_depends_on_those_before_it() -> None:
    chosen = [one for one in PAGE["templating"]["list"] if one["type"] == "query"]
    assert [one["name"] for one in chosen] == ["cluster", "namespace", "job", "instance"]
    before: list[str] = []
    for one in chosen:
        assert one["includeAll"]
        assert one["multi"]
        assert (one["allValue"], one["current"]["value"]) == (".*", "$__all")
        assert re.findall(r"\$(\w+)", one["query"]) == before
        before.append(one["name"])


@pytest.mark.parametrize("query", of_dashboard(), ids=lambda query: query.title)
def test_every_selector_of_a_query_has_the_variables(query: Query) -> None:
    for selector in re.findall(r"\{(.+?)\}", query.text):
        assert set(re.findall(r'(\w+)=~"\$\1\|?"', selector)) == query.variables


def test_a_click_searches_for_the_service_as_jaeger_calls_it() -> None:
    links = {
        panel["title"]: link["url"]
        for panel in PAGE["panels"]
        for link in panel.get("fieldConfig", {}).get("defaults", {}).get("links", [])
    }
    assert links
    for title, link in links.items():
        assert link.startswith("${jaeger}/search?service=${__field.labels.service}&")
        assert link.endswith("&lookback=custom&start=${__from}000&end=${__to}000&limit=100")
        (query,) = (query.text for query in of_dashboard() if query.title == title)
        assert query.endswith(', "service", "$1", "job", "(?:.*/)?(.+)")')
        for label in re.findall(r"\$\{__field\.labels\.(\w+)\}", link):
            assert label == "service" or re.search(rf"sum by \(job, .*\b{label}\b", query)

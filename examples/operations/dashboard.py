"""Writes dashboard.json, a page for Grafana: `python -m examples.operations.dashboard`.

An exemplar leads from a histogram to Jaeger, if the data source links them: see
grafana-datasources.yml.
"""

from typing import Final

from grafana_foundation_sdk.builders.common import (
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
    TextBoxVariable,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.timeseries import Panel as Graph
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    VariableOption,
    VariableRefresh,
)

from examples.operations.binaries import HERE
from examples.operations.panels import CLOSES, ROWS, Panel

FILE: Final = HERE / "dashboard.json"
JAEGER: Final = "http://127.0.0.1:16686"
PROMETHEUS: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")


def graph(panel: Panel) -> Graph:
    """Build one graph, half as wide as the page."""
    built = Graph().title(panel.title).description(panel.meaning).unit(panel.unit).min(0)
    built.datasource(PROMETHEUS).height(8).span(12)
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).show_legend(show_legend=True)
    built.legend(legend.placement(LegendPlacement.BOTTOM))
    built.tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    if panel.stacked:
        built.fill_opacity(20).stacking(StackingConfig().mode(StackingMode.NORMAL))
    if panel.search:
        # Of what the page showed. Grafana has milliseconds, Jaeger microseconds.
        shown = "&lookback=custom&start=${__from}000&end=${__to}000"
        url = f"${{jaeger}}/search?service=${{job}}{panel.search}{shown}&limit=100"
        link = DashboardLink("Search in Jaeger").url(url).target_blank(target_blank=True)
        built.data_links([link])
    for number, (name, query) in enumerate(panel.queries.items()):
        target = Dataquery().ref_id(chr(ord("A") + number)).expr(query).legend_format(name)
        built.with_target(target.range().exemplar(panel.exemplars))
    return built


def page() -> Dashboard:
    """Build the page."""
    built = Dashboard("GraphQL WebSockets").uid("strawberry-ws-otel")
    built.description("Connections, operations and closes, as strawberry_ws_otel measures them.")
    built.tags(["graphql", "websocket"]).refresh("30s").time("now-3h", "now")
    built.with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    job = QueryVariable("job").label("Service").datasource(PROMETHEUS)
    job.query(f"label_values({CLOSES}, job)").refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    built.with_variable(job)
    jaeger = TextBoxVariable("jaeger").label("Jaeger").default_value(JAEGER)
    built.with_variable(jaeger.current(VariableOption(text=JAEGER, value=JAEGER)))
    for title, panels in ROWS.items():
        built.with_row(Row(title))
        for panel in panels:
            built.with_panel(graph(panel))
    return built


def text() -> str:
    """Return the page as JSON."""
    return JSONEncoder(sort_keys=True, indent=2).encode(page().build()) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    print(FILE)

"""Writes dashboard.json, a page for Grafana: `python -m examples.operations.dashboard`.

An exemplar leads from a histogram to Jaeger, if the data source links them: see
grafana-datasources.yml.
"""

from typing import Final, Self

from grafana_foundation_sdk.builders.common import (
    StackingConfig,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
    Row,
    TextBoxVariable,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.table import Panel as Grid
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
    AnnotationQuery as AnnotationModel,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from examples.operations.binaries import HERE
from examples.operations.panels import (
    ANNOTATIONS,
    CLOSES,
    ROWS,
    VARIABLES,
    Annotation,
    Panel,
    Table,
    chosen,
)

FILE: Final = HERE / "dashboard.json"
JAEGER: Final = "http://127.0.0.1:16686"
PROMETHEUS: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
ALL: Final = VariableOption(text="All", value="$__all")


def ref_id(number: int) -> str:
    """Return the name of one of a panel's queries."""
    return chr(ord("A") + number)


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
        service = "${__field.labels.service}"
        url = f"${{jaeger}}/search?service={service}{panel.search}{shown}&limit=100"
        link = DashboardLink("Search in Jaeger").url(url).target_blank(target_blank=True)
        built.data_links([link])
    for number, (name, query) in enumerate(panel.queries.items()):
        target = Dataquery().ref_id(ref_id(number)).expr(query).legend_format(name)
        built.with_target(target.range().exemplar(panel.exemplars))
    return built


def grid(table: Table) -> Grid:
    """Build one table, as wide as the page."""
    built = Grid().title(table.title).description(table.meaning)
    built.datasource(PROMETHEUS).height(8).span(24).show_header(show_header=True)
    queries = [*(column.query for column in table.columns.values()), table.info]
    for number, query in enumerate(queries):
        target = Dataquery().ref_id(ref_id(number)).expr(query).format(PromQueryFormat.TABLE)
        built.with_target(target.instant())
    values = [f"Value #{ref_id(number)}" for number in range(len(queries))]
    shown = {
        "excludeByName": {"Time": True, values[-1]: True},
        "renameByName": {**table.labels, **dict(zip(values, table.columns, strict=False))},
    }
    built.with_transformation(DataTransformerConfig("merge", options={}))
    built.with_transformation(DataTransformerConfig("organize", options=shown))
    for title, column in table.columns.items():
        built.override_by_name(title, [DynamicConfigValue("unit", column.unit)])
    return built


def variables() -> list[QueryVariable]:
    """Build the variables that choose what the page shows, each of what those before it chose."""
    names = list(VARIABLES)
    return [
        QueryVariable(name)
        .label(VARIABLES[name])
        .datasource(PROMETHEUS)
        .query(f"label_values({CLOSES}{{{chosen(*names[:number])}}}, {name})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        # What has no such label also.
        .all_value(".*")
        .current(ALL)
        for number, name in enumerate(names)
    ]


class TitledAnnotation(AnnotationModel):
    """Annotations with a title for each, which the SDK does not know."""

    title: str = ""

    def to_json(self) -> dict[str, object]:
        """Add the title."""
        return {**super().to_json(), "titleFormat": self.title}


class Marks(AnnotationQuery):
    """Builds annotations with a title for each."""

    def __init__(self) -> None:
        """Begin without any setting."""
        self._internal: TitledAnnotation = TitledAnnotation()

    def title(self, text: str) -> Self:
        """Set the title, in which `{{job}}` is a label."""
        self._internal.title = text
        return self


def marks(annotation: Annotation) -> Marks:
    """Build the annotations that a query makes."""
    built = Marks().title(annotation.title)
    return (
        built.name(annotation.name)
        .datasource(PROMETHEUS)
        .expr(annotation.query)
        .enable(enable=True)
        .icon_color(annotation.color)
    )


def page() -> Dashboard:
    """Build the page."""
    built = Dashboard("GraphQL WebSockets").uid("strawberry-ws-otel")
    built.description("Connections, operations and closes, as strawberry_ws_otel measures them.")
    built.tags(["graphql", "websocket"]).refresh("30s").time("now-3h", "now")
    built.with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    for variable in variables():
        built.with_variable(variable)
    jaeger = TextBoxVariable("jaeger").label("Jaeger").default_value(JAEGER)
    built.with_variable(jaeger.current(VariableOption(text=JAEGER, value=JAEGER)))
    for annotation in ANNOTATIONS:
        built.annotation(marks(annotation))
    for title, panels in ROWS.items():
        built.with_row(Row(title))
        for panel in panels:
            built.with_panel(graph(panel) if isinstance(panel, Panel) else grid(panel))
    return built


def text() -> str:
    """Return the page as JSON."""
    return JSONEncoder(sort_keys=True, indent=2).encode(page().build()) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    print(FILE)

"""One view may have a configuration of its own, by a keyword or set on the instance."""

from typing import Any

import pytest
from strawberry.aiohttp.views import GraphQLView

from strawberry_ws_otel import OTelConfig, OTelExtension, OTelViewMixin
from tests.support.clock import stop_clock
from tests.support.expected import CONNECTION, connection, init, recorded
from tests.support.hosting import hosting, part
from tests.support.schema import make_schema
from tests.support.telemetry import Telemetry, attributes_of
from tests.support.views import View, config

CLOSES = "websocket.server.closes"


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    stop_clock(monkeypatch)


class Passing(View):
    """A view that passes keywords on."""

    def __init__(self, *arguments: Any, database: str = "", **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.database = database


class Made(View):
    """A view that is made in its own way."""

    def __new__(cls, *_arguments: Any, **keywords: Any) -> Any:
        made = super().__new__(cls)
        made.given = sorted(keywords)  # type: ignore[attr-defined]  # for the test
        return made


class Deaf(View):
    """A view with an `__init__` of its own that knows no other keyword."""

    def __init__(self, schema: Any) -> None:
        super().__init__(schema=schema)


def recorded_class(telemetry: Telemetry, base: type[View], **options: Any) -> Any:
    class Recorded(OTelViewMixin, base):  # type: ignore[valid-type,misc]  # whichever it is
        otel_config = config(telemetry, attributes={"whose": "class"}, **options)

    return Recorded


def whose(telemetry: Telemetry) -> set[Any]:
    """To whose configuration the series of closes belong."""
    return {dict(key).get("whose") for key in telemetry.metrics().get(CLOSES, {})}


def own(telemetry: Telemetry) -> OTelConfig:
    return config(telemetry, attributes={"whose": "view"})


async def converse(view: Any) -> None:
    async with hosting(view) as host:
        await part(await host.acknowledged())


def conversation(of: str) -> list[dict[str, Any]]:
    spans = [connection(messages=(1, 1)), init()]
    return [{**span, "attributes": {**span["attributes"], "whose": of}} for span in spans]


@pytest.mark.parametrize("base", [View, Passing, Made])
async def test_a_view_takes_its_configuration_by_keyword(
    base: type[View], telemetry: Telemetry
) -> None:
    class_ = recorded_class(telemetry, base)
    view = class_(schema=make_schema(OTelExtension), otel_config=own(telemetry))
    assert whose(telemetry) == {"view"}
    await converse(view)
    assert recorded(telemetry) == conversation("view")
    assert whose(telemetry) == {"view"}
    await converse(class_(schema=make_schema(OTelExtension)))
    assert whose(telemetry) == {"view", "class"}
    assert [attributes_of(each)["whose"] for each in telemetry.spans(CONNECTION)] == [
        "view",
        "class",
    ]


def test_a_view_s_own_way_to_be_made_does_not_hear_of_it(telemetry: Telemetry) -> None:
    view = recorded_class(telemetry, Made)(schema=make_schema(), otel_config=own(telemetry))
    assert view.given == ["schema"]


def test_a_view_above_the_mixin_may_pass_it_on(telemetry: Telemetry) -> None:
    class Own(OTelViewMixin, GraphQLView[Any, Any]):
        def __init__(self, schema: Any, **keywords: Any) -> None:
            super().__init__(schema=schema, **keywords)

    view = Own(make_schema(), otel_config=own(telemetry))
    assert view.otel_config == own(telemetry)
    assert whose(telemetry) == {"view"}


async def test_a_view_that_passes_nothing_on_has_it_set(telemetry: Telemetry) -> None:
    class Own(OTelViewMixin, View):
        otel_config = config(telemetry, attributes={"whose": "class"})

        def __init__(self, schema: Any) -> None:
            super().__init__(schema=schema)

    make: Any = Own
    with pytest.raises(TypeError, match="unexpected keyword argument 'otel_config'"):
        make(make_schema(), otel_config=own(telemetry))
    view = Own(make_schema(OTelExtension))
    view.otel_config = own(telemetry)
    await converse(view)
    assert recorded(telemetry) == conversation("view")


async def test_no_series_of_the_class_appear_for_a_view_that_has_its_configuration_set(
    telemetry: Telemetry,
) -> None:
    view = recorded_class(telemetry, Deaf)(make_schema(OTelExtension))
    view.otel_config = own(telemetry)
    assert whose(telemetry) == set()
    await converse(view)
    assert whose(telemetry) == {"view"}
    del view
    assert whose(telemetry) == {"view"}


def test_a_view_may_set_it_before_its_base_is_made(telemetry: Telemetry) -> None:
    class Own(OTelViewMixin, View):
        otel_config = config(telemetry, attributes={"whose": "class"})

        def __init__(self, schema: Any) -> None:
            self.otel_config = own(telemetry)
            super().__init__(schema=schema)

    view = Own(make_schema())
    assert whose(telemetry) == {"view"}
    assert view.otel_config == own(telemetry)


@pytest.mark.parametrize("is_kept", [True, False])
def test_the_series_of_the_class_are_reported_from_the_first_view_on(
    telemetry: Telemetry, *, is_kept: bool
) -> None:
    class_ = recorded_class(telemetry, View, normal_outcomes={"connection_lost"})
    assert whose(telemetry) == set()
    views = [class_(schema=make_schema())]
    if not is_kept:
        views.clear()
    assert len(telemetry.metrics()[CLOSES]) == 19
    assert whose(telemetry) == {"class"}


def test_views_for_one_request_each_with_their_own_leave_nothing_of_the_class(
    telemetry: Telemetry,
) -> None:
    class_ = recorded_class(telemetry, View)
    for _ in range(10):
        class_(schema=make_schema(), otel_config=own(telemetry))
    assert whose(telemetry) == {"view"}
    assert class_._otel_recording.metrics._awaited == {}


@pytest.mark.parametrize("wrong", [None, {}, OTelConfig, "config"])
def test_a_keyword_of_another_type_is_refused_at_construction(
    wrong: Any, telemetry: Telemetry
) -> None:
    with pytest.raises(TypeError, match=r"Recorded\.otel_config must be an OTelConfig, not"):
        recorded_class(telemetry, View)(schema=make_schema(), otel_config=wrong)

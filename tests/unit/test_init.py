"""The door: the mixin is imported where it is asked for, and only what can be had is listed."""

import sys

import pytest

import strawberry_ws_otel
from strawberry_ws_otel._aiohttp.view import OTelViewMixin

VIEW = "strawberry_ws_otel._aiohttp.view"


def test_the_mixin_is_the_one_of_the_edge() -> None:
    assert strawberry_ws_otel.OTelViewMixin is OTelViewMixin


def test_a_name_that_is_not_there_is_missed_as_of_any_module() -> None:
    with pytest.raises(
        AttributeError, match=r"^module 'strawberry_ws_otel' has no attribute 'OTelViewMixn'$"
    ):
        _ = strawberry_ws_otel.OTelViewMixn  # type: ignore[attr-defined]  # it is not there


def test_without_aiohttp_the_mixin_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, VIEW)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(
        ImportError, match=r"^OTelViewMixin needs aiohttp: pip install aiohttp$"
    ) as raised:
        _ = strawberry_ws_otel.OTelViewMixin
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)


def test_another_module_that_is_missing_is_missed_by_its_own_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    missing = "strawberry.aiohttp.views"
    monkeypatch.delitem(sys.modules, VIEW)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModuleNotFoundError) as raised:
        _ = strawberry_ws_otel.OTelViewMixin
    assert raised.value.name == missing


@pytest.mark.parametrize("has_aiohttp", [True, False])
def test_dir_lists_the_public_names_that_can_be_had(
    monkeypatch: pytest.MonkeyPatch, *, has_aiohttp: bool
) -> None:
    if not has_aiohttp:
        monkeypatch.setitem(sys.modules, "aiohttp", None)
    functions = {"connection_attributes", "connection_span", "open_connections"}
    types = {"OTelConfig", "OTelExtension", "OpenConnection", "OpenOperation"}
    names = {"__version__"} | types | functions
    assert set(dir(strawberry_ws_otel)) == names | ({"OTelViewMixin"} if has_aiohttp else set())

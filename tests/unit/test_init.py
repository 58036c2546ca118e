"""What the package offers, with aiohttp and without it."""

import builtins
import importlib
import sys
from importlib import util
from typing import Any

import pytest

import strawberry_ws_otel
from strawberry_ws_otel import OTelConfig, OTelExtension, __version__, connection_span

VIEW = "strawberry_ws_otel._aiohttp.view"


@pytest.fixture
def without_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where aiohttp is not installed, and nothing has been imported that needs it."""
    for name in [name for name in sys.modules if name.startswith("strawberry_ws_otel._aiohttp")]:
        monkeypatch.delitem(sys.modules, name)
    # How Python marks what is not to be found.
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    find_spec = util.find_spec
    monkeypatch.setattr(
        util, "find_spec", lambda name: None if name == "aiohttp" else find_spec(name)
    )


def test_every_public_name_can_be_had() -> None:
    assert dir(strawberry_ws_otel) == sorted(strawberry_ws_otel.__all__)
    names = vars(importlib.import_module(VIEW))
    assert strawberry_ws_otel.OTelViewMixin is names["OTelViewMixin"]
    for name in strawberry_ws_otel.__all__:
        assert getattr(strawberry_ws_otel, name) is not None


def test_a_misspelt_name_is_named() -> None:
    name: Any = "OTelViewMixim"
    with pytest.raises(
        AttributeError, match=r"^module 'strawberry_ws_otel' has no attribute 'OTelViewMixim'$"
    ):
        getattr(strawberry_ws_otel, name)


@pytest.mark.usefixtures("without_aiohttp")
def test_without_aiohttp_there_is_all_but_the_mixin() -> None:
    assert dir(strawberry_ws_otel) == [
        "OTelConfig",
        "OTelExtension",
        "__version__",
        "connection_span",
    ]
    with pytest.raises(ImportError, match=r"^OTelViewMixin needs aiohttp: pip install aiohttp$"):
        _ = strawberry_ws_otel.OTelViewMixin
    assert all((OTelConfig, OTelExtension, __version__, connection_span))


def test_another_module_that_is_missing_is_named_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, VIEW, raising=False)
    own = builtins.__import__

    def fail(name: str, *arguments: Any) -> Any:
        if name == VIEW:
            raise ModuleNotFoundError("No module named 'yarl'", name="yarl")
        return own(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'yarl'$"):
        _ = strawberry_ws_otel.OTelViewMixin

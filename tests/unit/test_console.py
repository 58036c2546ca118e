"""The door of the extra: what it offers, and what it says where it is not installed."""

import subprocess
import sys
from importlib import import_module

import pytest

import strawberry_ws_otel
from strawberry_ws_otel import console

PACKAGE = "strawberry_ws_otel.console"
MESSAGE = (
    f'{PACKAGE} needs rich and the OpenTelemetry SDK: pip install "strawberry-ws-otel[console]"'
)


@pytest.fixture
def unimported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget that the package was imported, as long as a test lasts."""
    for name in list(sys.modules):
        if name == PACKAGE or name.startswith(f"{PACKAGE}."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(strawberry_ws_otel, "console")


def test_the_public_names() -> None:
    assert console.__all__ == [
        "Conversation",
        "ConversationExporter",
        "Operation",
        "OperationLine",
        "Picture",
        "show",
    ]
    assert all(hasattr(console, name) for name in console.__all__)


@pytest.mark.usefixtures("unimported")
@pytest.mark.parametrize("missing", ["rich.console", "opentelemetry.sdk.trace"])
def test_without_what_it_needs_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError) as raised:
        import_module(PACKAGE)
    assert str(raised.value) == MESSAGE


@pytest.mark.parametrize("missing", ["rich", "opentelemetry.sdk"])
def test_a_program_is_told_so_too(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; import {PACKAGE}"
    done = subprocess.run(  # noqa: S603  # the program above
        [sys.executable, "-c", program], capture_output=True, check=False, text=True
    )
    assert done.stderr.splitlines()[-1] == f"ImportError: {MESSAGE}"


@pytest.mark.usefixtures("unimported")
def test_another_module_that_is_missing_is_missed_by_its_own_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(ModuleNotFoundError) as raised:
        import_module(PACKAGE)
    assert raised.value.name == "opentelemetry.trace"

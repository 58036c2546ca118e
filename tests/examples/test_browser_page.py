"""The example with the page says plainly what it needs."""

from pathlib import Path

import pytest

from examples.browser import page
from examples.browser.__main__ import main


def test_without_graphql_ws_it_says_how_to_install_that(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page, "GRAPHQL_WS", tmp_path / "nowhere")
    assert main() == 2
    assert capsys.readouterr().err == (
        f"graphql-ws is not installed. Install it with: {page.INSTALL}\n"
    )

"""The dashboard's JSON is what its source makes."""

from examples.operations import dashboard


def test_the_file_is_current() -> None:
    assert dashboard.FILE.read_text(encoding="utf-8") == dashboard.text(), (
        "run: python -m examples.operations.dashboard"
    )

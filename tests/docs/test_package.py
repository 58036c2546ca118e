"""The package that `nox -s package` builds: what the index shows of it."""

import email
import os
import re
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path
from typing import Any, Final

import pytest

from strawberry_ws_otel import __version__
from tests.support.pages import ROOT, Page

DISTRIBUTIONS: Final = Path(os.environ.get("DISTRIBUTIONS", "dist"))
"""Where the session has built them."""

PYPROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
REPOSITORY: Final[str] = PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"]
PLACEHOLDER: Final = "OWNER"


def one(pattern: str) -> Path:
    [file] = DISTRIBUTIONS.glob(pattern)
    return file


@pytest.fixture(scope="module")
def metadata() -> Message:
    with zipfile.ZipFile(one("*.whl")) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_string(wheel.read(name).decode())


def description(metadata: Message) -> str:
    return str(metadata.get_payload())


@pytest.mark.package
def test_the_readme_of_the_index_has_no_relative_links_or_pictures(metadata: Message) -> None:
    targets = re.findall(r"\]\(([^)]+)\)", description(metadata))
    assert targets
    assert [target for target in targets if not target.startswith("https://")] == []


@pytest.mark.package
def test_the_readme_of_the_index_leads_to_the_files_of_the_repository(metadata: Message) -> None:
    prefix = f"{REPOSITORY}/blob/HEAD/"
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", description(metadata))
    paths = [target.removeprefix(prefix) for target in targets if target.startswith(prefix)]
    local = {path for path, _ in Page("README.md").local_links()}
    assert set(paths) == local
    assert all((ROOT / path).exists() for path in paths)


@pytest.mark.package
def test_the_readme_of_the_index_installs_the_package_by_its_name(metadata: Message) -> None:
    assert '\npip install "strawberry-ws-otel[console]"\n' in description(metadata)
    assert '\npip install "strawberry-ws-otel[console,instrument]" ' in description(metadata)
    assert not re.search(r"pip install \"?\.", description(metadata))
    assert "application. In a checkout" not in description(metadata)
    assert metadata["Name"] == "strawberry-ws-otel"


@pytest.mark.package
def test_every_address_of_the_package_is_below_that_of_the_repository(metadata: Message) -> None:
    addresses = [url.partition(", ")[2] for url in metadata.get_all("Project-URL", [])]
    assert REPOSITORY in addresses
    assert all(address.startswith(REPOSITORY) for address in addresses)


@pytest.mark.package
def test_the_source_can_be_built_again() -> None:
    with tarfile.open(one("*.tar.gz")) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    assert {"hatch_build.py", "README.md", "pyproject.toml", "LICENSE"} <= names
    assert not [name for name in names if name.startswith((".venv", "build/", ".nox"))]


def test_the_address_is_written_once() -> None:
    files = [ROOT / "pyproject.toml", ROOT / "mkdocs.yml", ROOT / "hatch_build.py"]
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    assert text.count(REPOSITORY) == 1
    assert not REPOSITORY.endswith("/")


def test_a_release_has_the_address_of_a_repository() -> None:
    assert ".dev" in __version__ or PLACEHOLDER not in REPOSITORY


def test_an_issue_asks_for_versions_and_the_drawing() -> None:
    template = (ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text(encoding="utf-8")
    for package in "strawberry-graphql", "aiohttp", "opentelemetry-api", "strawberry-ws-otel":
        assert package in template
    assert "drawing" in template

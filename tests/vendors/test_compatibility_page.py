"""The page of the vendors, held against what is pinned for them and run."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from tests.vendors.__main__ import programs, vendors
from tests.vendors.page import PAGE, Recipe
from tests.vendors.stack import Stack

HERE = Path(__file__).parent
ROW = re.compile(r"^\| \[(?P<section>[^]]+)\]\([^)]+\) \| (?P<rest>.+) \|$", re.MULTILINE)
PROGRAMS = [program for vendor in vendors() for program in programs(vendor)]


def stack_of(program: str) -> Stack:
    stack: Stack = import_module(f"tests.vendors.{program}").STACK
    return stack


def pins(vendor: str) -> dict[str, str]:
    lines = (HERE / f"{vendor}.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {name.lower(): version for name, version in pairs}


def rows() -> dict[str, list[str]]:
    """The cells of each stack in the table."""
    text = PAGE.read_text(encoding="utf-8")
    return {found["section"]: found["rest"].split(" | ") for found in ROW.finditer(text)}


def test_every_vendor_has_a_program() -> None:
    assert [vendor for vendor in vendors() if not programs(vendor)] == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_has_a_recipe_on_the_page(program: str) -> None:
    assert Recipe(stack_of(program).section).names == {"__name__": "recipe"}


@pytest.mark.parametrize("vendor", vendors())
def test_the_table_states_the_versions_that_are_pinned(vendor: str) -> None:
    stack, pinned = stack_of(vendor), pins(vendor)
    package = stack.packages[0]
    tested, otel = rows()[stack.section][:2]
    assert tested == f"`{package}` {pinned[package]}"
    assert otel.endswith(pinned["opentelemetry-api"])
    if "SDK" in otel:
        assert pinned["opentelemetry-sdk"] == pinned["opentelemetry-api"]


def test_all_vendors_are_tested_with_the_same_hosts() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for host in ("strawberry-graphql", "aiohttp"):
        versions = {pins(vendor)[host] for vendor in vendors()}
        assert [f"`{host}` {version}" in text for version in versions] == [True]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_table_states_what_a_stack_lacks(program: str) -> None:
    stack = stack_of(program)
    if stack.section not in rows():
        return
    _, _, _, links, events, metrics, exemplars = rows()[stack.section]
    lacks = stack.lacks
    assert (links == "none") == ("links" in lacks)
    assert (links == "those that a span starts with") == ("later links" in lacks)
    assert (events == "none") == ("events" in lacks)
    assert (metrics == "none") == ("metrics" in lacks)
    assert (exemplars == "no") == bool({"metrics", "exemplars"} & lacks)

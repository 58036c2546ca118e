"""What connections share and others do not: incidents with one culprit, with two and with none."""

from collections.abc import Sequence
from random import Random

import pytest

from examples.operations.comparing import Values, chance, network, products, telling

AGENT = "user_agent.original"
ADDRESS = "client.address"
TENANT = "tenant.id"
OPERATION = "graphql.operation.name"

BROWSER = "Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version} Safari"
SYSTEMS = "X11; Linux x86_64", "Windows NT 10.0", "Macintosh; Intel Mac OS X 10_15"


def connection(**values: str) -> Values:
    names = {"agent": AGENT, "address": ADDRESS, "tenant": TENANT, "operation": OPERATION}
    return {names.get(name, name): frozenset({value}) for name, value in values.items()}


def ordinary(count: int) -> list[Values]:
    """Many browsers, addresses and tenants; each connection has an id and a port of its own."""
    return [
        connection(
            agent=BROWSER.format(system=SYSTEMS[number % 3], version=120 + number % 7),
            address=f"10.{number % 11}.{number % 17}.{number % 200}",
            tenant=f"tenant-{number % 23}",
            instance=f"pod-{number % 5}",
            id=f"id-{number}",
            port=str(40_000 + number),
        )
        for number in range(count)
    ]


NORMAL = ordinary(210)
EVERYTHING = (AGENT, ADDRESS, TENANT, OPERATION, "instance", "id", "port")


def told(found: Sequence[Values], compared: Sequence[Values] = NORMAL) -> list[tuple[str, str]]:
    return [(one.attribute, one.value) for one in telling(found, compared, EVERYTHING)]


def test_what_most_others_have_too_comes_last_and_hides_nothing() -> None:
    common = "shop/2 (Phone) app/1"
    found = [connection(agent=common, tenant="acme")] * 20 + [connection(agent=common)] * 20
    others = [connection(agent=common)] * 120 + [connection(agent="feed-bot/1")] * 80
    values = telling(found, others, EVERYTHING)
    assert [(one.value, one.is_common) for one in values] == [("acme", False), (common, True)]


def test_one_bad_client_among_others_is_told_by_all_that_it_is() -> None:
    bot = connection(agent="feed-bot/1.2", address="192.0.2.7", tenant="acme", instance="pod-1")
    found = telling([*[bot] * 38, *ordinary(2)], NORMAL, EVERYTHING)
    assert [
        (one.attribute, one.value, len(one.found), one.found_of, one.compared, one.compared_of)
        for one in found
    ] == [
        (AGENT, "feed-bot/1.2", 38, 40, 0, 210),
        (ADDRESS, "192.0.2.7", 38, 40, 0, 210),
        (TENANT, "acme", 38, 40, 0, 210),
        ("instance", "pod-1", 39, 40, 42, 210),
    ]


def test_one_bad_tenant_with_clients_like_all_others_is_told_by_its_name_alone() -> None:
    found = [{**each, TENANT: frozenset({"acme"})} for each in ordinary(60)]
    assert told(found) == [(TENANT, "acme")]


def test_one_bad_process_is_told() -> None:
    found = [{**each, "instance": frozenset({"pod-2"})} for each in ordinary(60)]
    assert told(found) == [("instance", "pod-2")]


def test_clients_that_are_like_all_others_share_nothing() -> None:
    assert told(ordinary(100)) == []


@pytest.mark.parametrize("count", [5, 10, 40, 100])
def test_those_who_are_chosen_by_chance_share_nothing(count: int) -> None:
    chosen = [Random(seed).sample(NORMAL, count) for seed in range(50)]  # noqa: S311 - no secret
    assert [told(found) for found in chosen] == [[]] * 50


def test_a_value_that_the_others_share_as_well_tells_nothing() -> None:
    proxy = [{**each, ADDRESS: frozenset({"10.0.0.1"})} for each in NORMAL]
    assert told(proxy[:40], proxy[40:]) == []


def test_a_bad_release_is_told_by_its_version_where_the_devices_differ() -> None:
    def app(version: str, number: int) -> Values:
        return connection(agent=f"shop/{version} (Phone {number % 9}; OS {number % 5}) net/3")

    found = [app("2.3.1", number) for number in range(40)]
    assert told(found, [app("2.3.0", number) for number in range(200)]) == [(AGENT, "shop/2.3.1")]


def test_a_bad_browser_release_is_told_by_its_version() -> None:
    found = [
        connection(agent=BROWSER.format(system=SYSTEMS[number % 3], version=131))
        for number in range(30)
    ]
    assert told(found) == [(AGENT, "Chrome/131")]


def test_a_product_is_told_where_its_versions_differ() -> None:
    found = [connection(agent=f"feed-bot/1.{number}") for number in range(30)]
    assert told(found) == [(AGENT, "feed-bot")]


def test_an_office_is_told_by_its_network() -> None:
    found = [connection(address=f"203.0.113.{number}") for number in range(30)]
    assert told(found) == [(ADDRESS, "203.0.113.0/24")]


def test_one_address_is_told_and_not_its_network() -> None:
    assert told([connection(address="203.0.113.9")] * 30) == [(ADDRESS, "203.0.113.9")]


def test_two_culprits_are_told_one_after_the_other() -> None:
    one = connection(agent="feed-bot/1.2", address="192.0.2.7")
    two = connection(agent="poller/3", address="198.51.100.1")
    assert told([one, two] * 20) == [
        (AGENT, "feed-bot/1.2"),
        (ADDRESS, "192.0.2.7"),
        (AGENT, "poller/3"),
        (ADDRESS, "198.51.100.1"),
    ]


def test_an_operation_is_told_among_others_that_everybody_runs() -> None:
    found = [{OPERATION: frozenset({"Prices", "Charts"})}] * 20
    assert told(found, [{OPERATION: frozenset({"Prices"})}] * 100) == [(OPERATION, "Charts")]


def test_what_is_known_of_few_is_compared_with_those_of_whom_it_is_known() -> None:
    """A tail sampler keeps the operations of each connection that failed, and few others."""
    found = [connection(operation="Prices")] * 40
    known = [connection(operation="Prices")] * 9 + [connection(operation="Quote")]
    compared = [*known, *[connection(agent="any/1")] * 200]
    assert told(found, compared) == [(OPERATION, "Prices")]
    assert telling(found, compared, EVERYTHING, only_known=(OPERATION,)) == []


def test_without_others_what_many_have_is_told() -> None:
    bot = connection(agent="feed-bot/1.2", id="1")
    found = [*[bot] * 6, *ordinary(8)]
    assert (AGENT, "feed-bot/1.2") in told(found, [])
    assert not {"id-1", "40001"} & {value for _, value in told(found, [])}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_address_has_a_network(address: str, expected: str) -> None:
    assert list(network(address)) == [(1, expected)]


@pytest.mark.parametrize("address", ["", "unknown", "unix:/run/app.sock", "10.0.0.1:80"])
def test_what_is_no_address_has_none(address: str) -> None:
    assert list(network(address)) == []


def test_a_user_agent_has_products_and_comments() -> None:
    assert [value for _, value in products("shop/2.1 (iPhone; iOS 17; ) lib/5")] == [
        "shop/2.1",
        "shop",
        "lib/5",
        "lib",
        "iPhone",
        "iOS 17",
    ]


def test_chance_is_that_of_fishers_exact_test() -> None:
    """Fisher's own example: of eight cups, three of the four with milk first are found."""
    assert chance(3, 4, 1, 4) == pytest.approx(17 / 70)
    assert chance(4, 4, 0, 4) == pytest.approx(1 / 70)
    assert chance(0, 4, 4, 4) == pytest.approx(1)

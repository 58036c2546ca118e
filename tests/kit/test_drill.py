"""The drill can be solved: each trouble has a client of its own, which one search leads to."""

from examples.operations.drill import Watch
from examples.operations.traffic import CULPRITS, PEOPLE, TROUBLES, Client
from examples.operations.webhook import Notice


def notice(alert: str, status: str = "firing", search: str = "", **labels: str) -> Notice:
    return Notice("tickets", status, {"alertname": alert, **labels}, {"jaeger": search})


def test_each_trouble_has_a_client_like_no_other() -> None:
    clients = [*CULPRITS.values(), *PEOPLE]
    assert {alert for troubles in TROUBLES for alert in troubles} < CULPRITS.keys()
    assert len({client.address for client in clients}) == len(clients)
    for of in (lambda one: one.agent), (lambda one: one.tenant):
        culprits, people = set(map(of, CULPRITS.values())), set(map(of, PEOPLE))
        assert len(culprits) == len(CULPRITS)
        assert not culprits & people
        # No user agent or tenant tells an ordinary client.
        assert 1 < len(people) < len(PEOPLE)


def test_a_client_is_named_by_its_user_agent_its_address_and_its_tenant() -> None:
    client = Client("feed-bot/1.2", "127.0.0.22", "aggregator")
    assert client.missing_in("feed-bot/1.2 127.0.0.22 aggregator") == set()
    assert client.missing_in("feed-bot/1.3 127.0.0.22") == {"feed-bot/1.2", "aggregator"}


def test_the_search_of_an_alert_is_that_of_its_last_notice() -> None:
    watch = Watch(lambda _: None)
    watch.see(notice("WebSocketInitSlow", search="first"))
    watch.see(notice("WebSocketInitSlow", search="second"))
    assert watch.searches("WebSocketInitSlow") == ["second"]
    watch.see(notice("WebSocketInitSlow", "resolved"))
    assert watch.searches("WebSocketInitSlow") == ["second"]
    watch.forget_searches()
    assert watch.searches("WebSocketInitSlow") == []


def test_an_alert_that_several_clients_cause_is_told_by_its_label() -> None:
    watch = Watch(lambda _: None)
    for outcome in ("connection_lost", "invalid_frame"):
        watch.see(
            notice("WebSocketAbnormalCloses", search=outcome, websocket_close_outcome=outcome)
        )
    assert watch.searches("WebSocketAbnormalCloses") == ["invalid_frame"]


def test_each_change_is_reported_once() -> None:
    reported: list[Notice] = []
    watch = Watch(reported.append)
    states = "firing", "firing", "resolved", "resolved", "firing"
    for status in states:
        watch.see(notice("WebSocketInitSlow", status))
    assert [one.status for one in reported] == ["firing", "resolved", "firing"]
    assert watch.firing == watch.resolved == {"WebSocketInitSlow"}

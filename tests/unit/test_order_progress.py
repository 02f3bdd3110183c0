"""Why an open order waits, from the reports of the services."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from api.order_progress import ORDER_PATH, PlatformProgress, waiting_for_risk, waiting_for_venue
from dataflows.runtime.topology import SERVICES
from schemas.records import LIMIT, NEW, TRADE, Order
from tests.builders import order, report

NOW = 1_000_000.0
SLICE_NS = 60_000_000_000


def healthy(**changes: Any) -> PlatformProgress:
    """All services reported half a second ago and have processed the time slice `10 * SLICE_NS`."""
    row = {"updated_at": NOW - 0.5, "moved_at": NOW - 0.5, "last_tick_ns": 10 * SLICE_NS, "feed_finished": False}
    stats = {name: dict(row) for name in ORDER_PATH}
    fields: dict[str, Any] = {"stats": stats, "children": {}, "now": NOW, "market_open": lambda: True}
    return PlatformProgress(**{**fields, **changes})


def with_report(service: str, **values: Any) -> PlatformProgress:
    progress = healthy()
    return progress._replace(stats={**progress.stats, service: {**progress.stats[service], **values}})


def approved(minute: int = 10, **terms: Any) -> Order:
    built = order(1, ts_ns=minute * SLICE_NS)
    return built._replace(terms=built.terms._replace(**terms))


def test_order_path_holds_every_service_upstream_of_risk_in_order() -> None:
    """Compare with the topology: the services whose clocks reach risk. `feedback` lags by one time slice."""
    owners = {topic: name for name, service in SERVICES.items() for topic in service.outputs}
    upstream, pending = set[str](), ["risk"]
    while pending:
        service = pending.pop()
        if service not in upstream:
            upstream.add(service)
            pending += [owners[source.topic] for source in SERVICES[service].inputs]
    assert set(ORDER_PATH) == upstream - {"feedback"}
    for position, service in enumerate(ORDER_PATH):
        direct = {owners[source.topic] for source in SERVICES[service].inputs if not source.feedback}
        assert direct <= set(ORDER_PATH[:position]), service


@pytest.mark.parametrize(
    ("progress", "cause", "service", "text"),
    [
        (lambda: healthy(), "next_slice", "risk", "next time slice"),
        (
            lambda: with_report("market_data", feed_finished=True),
            "feed_finished",
            "market_data",
            "1970-01-01T00:10:00Z",
        ),
        (lambda: with_report("portfolio", updated_at=NOW - 40), "service_down", "portfolio", "40 s old"),
        (
            lambda: with_report("portfolio", moved_at=NOW - 30, last_tick_ns=9 * SLICE_NS),
            "service_behind",
            "portfolio",
            "no time slice for 30 s",
        ),
        (lambda: healthy(stats={}), "service_down", "market_data", "no report"),
        (
            lambda: healthy(children={"signals": {"status": "failed", "reason": "crash loop: exited with status 1"}}),
            "service_down",
            "signals",
            "in a crash loop",
        ),
        (lambda: healthy(children={"risk": {"status": "stopped"}}), "service_down", "risk", "risk is stopped"),
        (lambda: healthy(halted="drill"), "halted", "risk", "halted: drill"),
        (lambda: healthy(reconciling="orders differ"), "reconciling", "execution", "orders differ"),
    ],
)
def test_an_undecided_order_names_the_service_or_event_it_waits_for(
    progress: Callable[[], PlatformProgress], cause: str, service: str, text: str
) -> None:
    waiting = waiting_for_risk(progress())
    assert (waiting.cause, waiting.service) == (cause, service)
    assert text in waiting.text


@pytest.mark.parametrize(
    ("feed_moved_s", "service_moved_s", "slice_s", "behind"),
    [
        (1, 31, 30, False),  # the feed closed a slice after its heartbeat of 30 s, and the service has not reported yet
        (11, 31, 30, True),  # the service has not processed a slice of 11 s ago
        (1, 41, 30, True),  # the feed closed an earlier slice at least 11 s ago
        (0, 11, 0, True),
        (0, 9, 0, False),
    ],
)
def test_a_service_is_behind_only_if_an_old_time_slice_is_unprocessed(
    feed_moved_s: float, service_moved_s: float, slice_s: float, behind: bool
) -> None:
    progress = with_report("portfolio", moved_at=NOW - service_moved_s, last_tick_ns=9 * SLICE_NS)
    feed = {**progress.stats["market_data"], "moved_at": NOW - feed_moved_s}
    progress = progress._replace(stats={**progress.stats, "market_data": feed}, slice_s=lambda: slice_s)
    assert (waiting_for_risk(progress).cause == "service_behind") == behind


def test_the_service_furthest_upstream_is_named_because_it_stops_the_others() -> None:
    progress = with_report("features", updated_at=NOW - 40)
    stuck = {name: {**row, "moved_at": NOW - 40} for name, row in progress.stats.items() if name != "market_data"}
    stats = {**stuck, "market_data": {**progress.stats["market_data"], "last_tick_ns": 11 * SLICE_NS}}
    assert waiting_for_risk(progress._replace(stats=stats)).service == "features"


def test_a_quiet_feed_is_not_a_service_that_stands_still() -> None:
    rows = {name: {**row, "moved_at": NOW - 600} for name, row in healthy().stats.items()}
    assert waiting_for_risk(healthy(stats=rows)).cause == "next_slice"


@pytest.mark.parametrize(
    ("progress", "waiting_order", "sent", "cause"),
    [
        (healthy(), approved(10), False, "next_slice"),
        (healthy(), approved(9), False, "next_bar"),
        (healthy(market_open=lambda: False), approved(9), False, "market_closed"),
        (healthy(), approved(9, parent_id="cmd-1"), False, "parent"),
        (healthy(halted="drill"), approved(9), False, "halted"),
        (healthy(broker="alpaca"), approved(9), True, "broker"),
        (healthy(broker="alpaca"), approved(9), False, "gateway"),
        (healthy(broker="alpaca", reconciling="orders differ"), approved(9), False, "reconciling"),
        (with_report("market_data", feed_finished=True), approved(9), False, "feed_finished"),
        (with_report("execution", updated_at=NOW - 99), approved(9, order_type=LIMIT), False, "service_down"),
    ],
)
def test_an_approved_order_without_a_report_names_what_it_waits_for(
    progress: PlatformProgress, waiting_order: Order, sent: bool, cause: str
) -> None:
    waiting = waiting_for_venue(progress, waiting_order, [], sent=sent)
    assert waiting is not None and waiting.cause == cause


def test_an_accepted_order_waits_for_its_price_alone_while_the_platform_is_healthy() -> None:
    resting = approved(9, order_type=LIMIT)
    assert waiting_for_venue(healthy(), resting, [report(1, resting, NEW)], sent=False) is None
    stopped = with_report("market_data", feed_finished=True)
    waiting = waiting_for_venue(stopped, resting, [report(1, resting, NEW)], sent=False)
    assert waiting is not None and waiting.cause == "feed_finished"
    partly = approved(9)
    waiting = waiting_for_venue(healthy(), partly, [report(1, partly, TRADE, 4, 100)], sent=False)
    assert waiting is not None and waiting.cause == "next_bar"

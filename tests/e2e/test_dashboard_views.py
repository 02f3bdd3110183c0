"""The views of the dashboard in a browser, on a running platform: data, layout, strategy results, circuit breakers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Route, expect

from dataflows.runtime.topology import COMPACT
from deploy.supervisor.process_spec import DATAFLOW_NAMES
from tests import http
from tests.e2e.browser import PASSWORD, VIEWS
from tests.e2e.cli_platform import CliPlatform
from tests.e2e.conftest import Dashboard

pytestmark = pytest.mark.timeout(600)

CLOSED_LOT = {
    "seq": 1,
    "match_id": "match-1-1",
    "symbol": "AAPL",
    "direction": "LONG",
    "quantity": 1000,
    "opened_at": "2024-01-12T14:31:00Z",
    "entry_price": 185.25,
    "closed_at": "2024-01-16T20:59:00Z",
    "exit_price": 183.5,
    "pnl": -1750,
    "fees": 10,
    "mae": -0.0213,
    "mfe": 0.0045,
    "lot_id": "lot-1",
    "open_execution_id": "exe-1",
    "close_execution_id": "exe-2",
}


def test_every_view_shows_data_and_fits_the_width(dashboard: Dashboard) -> None:
    admin = dashboard.admin
    page = admin.page
    shown = {
        "Portfolio": "Total value",
        "Performance": "Max drawdown",
        "Risk": "Limit usage",
        "Trades": "New order",
        "System": "market_data",
        "Strategies": "Strategies",
    }
    assert set(shown) == set(VIEWS)
    for view, text in shown.items():
        admin.open_view(view)
        expect(page.get_by_text(text, exact=True).first).to_be_visible()
        expect(page.get_by_text("Loading…")).to_have_count(0)
        unlabelled = page.evaluate(
            """() => [...document.querySelectorAll("input, select, button, [role=img]")].filter(
                control => !(control.labels?.length || control.ariaLabel || control.textContent.trim())
            ).map(control => control.outerHTML)"""
        )
        assert unlabelled == [], f"{view}: controls without an accessible name"
    admin.open_view("System")
    expect(page.get_by_role("region", name="Checks", exact=True)).to_contain_text("verify")
    expect(page.get_by_role("region", name="Processes", exact=True).locator("tbody tr").first).to_be_visible()
    expect(page.locator(".dataflows tbody tr")).to_have_count(len({*DATAFLOW_NAMES, COMPACT}))
    expect(page.locator(".dataflows .badge.bad")).to_have_count(0)


def test_no_table_hides_or_covers_a_cell_at_any_width(dashboard: Dashboard) -> None:
    """At 390 px the columns that have no place are in the details of each row; at 1440 px the actions cover nothing."""
    admin = dashboard.admin
    page = admin.page
    admin.open_view("Trades")
    order_id = admin.order("BUY", "3", "MSFT", "LIMIT", prices={"Limit price": "1.25"})
    admin.order("BUY", "9000", "AAPL", send_anyway=True)
    expect(admin.row(order_id)).to_contain_text("ACCEPTED")
    # Whether the platform has closed a lot by now depends on the strategies.
    closed_lots = {
        "lots": [CLOSED_LOT, {**CLOSED_LOT, "match_id": "match-0-1", "mae": None, "mfe": None}],
        "next": None,
    }
    page.route("**/api/v1/portfolio/closed-lots?*", lambda route: route.fulfill(json=closed_lots))
    try:
        for view in VIEWS:
            admin.open_view(view)
            for tab in ("Orders", "Executions", "Closed lots", "Risk rejections") if view == "Trades" else ("",):
                if tab:
                    page.get_by_role("button", name=tab, exact=True).click()
                    expect(page.locator(".list tbody tr").first).to_be_visible()
                for width in (1440, 1024, 390):
                    page.set_viewport_size({"width": width, "height": 900})
                    # The tables measure a new width between two frames.
                    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
                    assert admin.layout_faults() == [], f"{view} {tab} at {width} px"
        admin.open_view("Trades")
        row = admin.row(order_id)
        row.get_by_role("button", name=f"Details of {order_id}").click()
        details = page.locator("tr.details")
        for name in ("Avg fill", "Fees", "Order ID"):
            expect(details.locator("dt", has_text=name)).to_be_visible()
        expect(details).to_contain_text(order_id)
        details.get_by_role("button", name=f"Cancel {order_id}").click()
        expect(row).to_contain_text("CANCELLED")
        page.get_by_role("button", name="Closed lots", exact=True).click()
        for match_id, excursions in (("match-1-1", ("−2.13 %", "+0.45 %")), ("match-0-1", ("–", "–"))):
            page.get_by_role("button", name=f"Details of {match_id}").click()
            for name, text in zip(("MAE", "MFE"), excursions, strict=True):
                expect(details.locator("div", has_text=name).locator("dd").last).to_have_text(text)
            page.get_by_role("button", name=f"Details of {match_id}").click()
    finally:
        page.set_viewport_size({"width": 1440, "height": 900})
        page.unroute("**/api/v1/portfolio/closed-lots?*")


def test_the_banner_shows_the_worst_alert_the_end_of_the_feed_and_a_crash_loop(dashboard: Dashboard) -> None:
    """The API's responses are replaced, because these states stop the platform that the other tests use."""
    admin = dashboard.admin
    page = admin.page
    alert = {"severity": "warning", "opened_at": "2024-01-15T10:00:00Z", "messages_sent": 1, "messages_waiting": 0}
    alerts = [
        {**alert, "key": "disk_space", "name": "disk_space", "summary": "5% of the disk is free"},
        {
            **alert,
            "key": "daily_loss",
            "name": "daily_loss",
            "summary": "today's P&L is -6,000",
            "severity": "critical",
        },
    ]
    state = {
        "feed": {"state": "finished", "event_time": "2013-10-09T19:59:00Z", "last_slice_at": "2024-01-15T10:00:00Z"},
        "processes": [
            {"name": "features", "status": "failed", "restarts": 6, "reason": "crash loop: killed", "crash_loop": True}
        ],
        "checks": [],
    }
    page.route("**/api/v1/alerts?*", lambda route: route.fulfill(json=alerts))
    page.route("**/api/v1/system", lambda route: route.fulfill(json=state))
    try:
        admin.open_view("System")
        lines = page.locator(".warnings p")
        expect(lines.nth(0)).to_contain_text("Critical: Today's P&L is -6,000, since 2024-01-15 10:00:00 UTC. 1 more")
        expect(lines.nth(1)).to_contain_text("Feed finished at 2013-10-09 19:59:00 UTC")
        expect(lines.nth(2)).to_contain_text("features is in a crash loop and is not restarted: killed")
        expect(page.locator(".status-bar")).to_contain_text("Market data finished")
        expect(page.get_by_role("region", name="Open alerts", exact=True).locator("tbody tr").first).to_contain_text(
            "P&L"
        )
        expect(admin.row("features").last).to_contain_text("crash loop")
        page.get_by_label("Time zone").select_option("America/New_York")
        expect(lines.nth(1)).to_contain_text("2013-10-09 15:59:00 New York")
    finally:
        page.get_by_label("Time zone").select_option("UTC")
        page.unroute("**/api/v1/alerts?*")
        page.unroute("**/api/v1/system")
    expect(page.locator("#feed-finished")).to_have_count(0)


def answer_with(body: object) -> Callable[[Route], None]:
    """Return a handler that answers a request with this JSON."""

    def answer(route: Route) -> None:
        route.fulfill(json=body)

    return answer


def test_a_trading_strategy_is_shown_with_its_books_and_resumed_with_a_reason(dashboard: Dashboard) -> None:
    """The API's responses are replaced, because the platform that the other tests use runs view strategies only."""
    admin = dashboard.admin
    page = admin.page
    strategy = {
        "strategy": "pairs",
        "form": "trading",
        "state": "SUSPENDED",
        "symbols": ["KO", "PEP"],
        "capital": 500_000,
        "equity": 500_300,
        "cash": 480_000,
        "realized_pnl": 100,
        "unrealized_pnl": 210,
        "fees": 10,
        "total_pnl": 300,
        "open_positions": 1,
        "last_updated": "2024-01-15T10:31:00Z",
        "suspension": {
            "strategy": "pairs",
            "since": "2024-01-15T10:31:00Z",
            "symbol": "",
            "cause_id": "",
            "error": "ZeroDivisionError",
            "message": "division by zero",
            "file": "pairs.py",
            "line": 17,
        },
        "last_action": {
            "action_id": "act-pairs-2",
            "timestamp": "2024-01-15T10:31:00Z",
            "kind": "SUSPENDED",
            "symbol": "",
        },
    }
    position = {
        "symbol": "KO",
        "in_universe": True,
        "quantity": 500,
        "avg_price": 40,
        "cost_basis": 20_000,
        "market_value": 20_210,
        "unrealized_pnl": 210,
        "realized_pnl": 100,
        "fees": 10,
        "last_updated": "2024-01-15T10:30:00Z",
    }
    points = [
        {"timestamp": f"2024-01-15T10:{minute}:00Z", "equity": equity, "cash": 480_000, "capital": 500_000}
        for minute, equity in ((29, 500_000), (30, 499_990), (31, 500_300))
    ]
    action = {
        "seq": 1,
        "timestamp": "2024-01-15T10:29:00Z",
        "action_id": "act-pairs-1",
        "strategy": "pairs",
        "kind": "SUBMIT_ORDER",
        "symbol": "KO",
        "reason": "entry",
        "cause_ids": ["feat-KO-1"],
        "arguments": {"symbol": "KO", "side": "BUY", "quantity": "500"},
    }
    resumes: list[str | None] = []

    def resume(route: Route) -> None:
        resumes.append(route.request.post_data)
        route.fulfill(json={"command_id": "cmd-1", "strategy": "pairs", "status": "PENDING"})

    responses: dict[str, object] = {
        "**/api/v1/strategies": [strategy],
        "**/api/v1/strategies/pairs": {**strategy, "positions": [position]},
        "**/api/v1/strategies/pairs/equity?*": points,
        "**/api/v1/strategy-actions?*": {"actions": [action], "next": None},
    }
    for pattern, body in responses.items():
        page.route(pattern, answer_with(body))
    page.route("**/api/v1/strategies/pairs/resume", resume)
    try:
        admin.open_view("Strategies")
        expect(admin.row("pairs")).to_contain_text("SUSPENDED")
        expect(admin.row("pairs")).to_contain_text("500,300.00")
        expect(page.locator(".strategies-view")).to_contain_text("ZeroDivisionError: division by zero pairs.py:17")
        expect(page.get_by_label("Equity of pairs over time")).to_be_visible()
        expect(page.get_by_role("region", name="Positions of the strategy", exact=True)).to_contain_text("20,210.00")
        expect(admin.row("act-pairs-1")).to_contain_text("Submit order")
        for width in (1440, 1024, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            assert admin.layout_faults() == [], f"Strategies at {width} px"
        page.set_viewport_size({"width": 1440, "height": 900})
        page.get_by_role("button", name="Resume pairs", exact=True).click()
        page.get_by_label("Reason").fill("fixed the division")
        page.get_by_role("button", name="Resume strategy", exact=True).click()
        expect(page.get_by_text("Resume request sent for pairs.")).to_be_visible()
        assert resumes == ['{"reason":"fixed the division"}']
    finally:
        page.set_viewport_size({"width": 1440, "height": 900})
        for pattern in (*responses, "**/api/v1/strategies/pairs/resume"):
            page.unroute(pattern)


def test_strategy_results_add_up_to_the_ledgers_pnl(dashboard: Dashboard) -> None:
    admin = dashboard.admin
    page = admin.page
    admin.open_view("Trades")
    expect(admin.row(admin.order("BUY", "2", "MSFT"))).to_contain_text("FILLED")
    admin.open_view("Performance")
    panel = page.get_by_role("region", name="Results by strategy", exact=True)
    expect(panel.locator("tbody tr", has_text="Manual orders")).to_be_visible()
    expect(panel.locator("#ledger-pnl b")).not_to_have_text("–")
    # Read the whole table in one step, because the next attribution may replace it.
    rows, (total,), ledger = page.evaluate(
        """() => {
            const panel = document.querySelector(".strategies");
            const texts = row => [...row.cells].map(cell => cell.textContent);
            const rows = selector => [...panel.querySelectorAll(selector)].map(texts);
            return [rows("tbody tr"), rows("tfoot tr"), panel.querySelector("#ledger-pnl b").textContent];
        }"""
    )
    assert total[0] == "Total" and len(rows) >= 1
    titles = panel.locator("thead th").all_inner_texts()
    for title in ("Realized P&L", "Unrealized P&L", "Fees", "Cash flows", "Total P&L"):
        column = titles.index(title)
        added = sum(number(row[column]) for row in rows)
        assert abs(added - number(total[column])) <= 0.005 * (len(rows) + 1), f"{title}: {rows}, total {total}"
    assert abs(number(total[titles.index("Total P&L")]) - number(ledger)) < 0.015
    expect(panel.locator(".error")).to_have_count(0)


def number(text: str) -> float:
    """Parse a displayed number; an unknown value counts as 0."""
    return 0.0 if text == "–" else float(text.replace(",", "").replace("−", "-"))


def symbol_with_signal(platform: CliPlatform) -> str:
    """Wait for the first signal of a strategy and return its symbol."""
    tokens = http.post(f"{platform.api_url}/api/v1/auth/login", json={"username": "admin", "password": PASSWORD}).json()
    with http.client(base_url=platform.api_url, headers={"Authorization": f"Bearer {tokens['access_token']}"}) as api:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            for price in api.get("/api/v1/market/prices").json():
                if api.get(f"/api/v1/signals/{price['symbol']}").json():
                    return str(price["symbol"])
            time.sleep(1)
    raise AssertionError("no signal within five minutes")


def test_the_signals_of_a_symbol_are_shown(dashboard: Dashboard) -> None:
    admin = dashboard.admin
    page = admin.page
    symbol = symbol_with_signal(dashboard.platform)
    admin.open_view("Portfolio")
    page.get_by_label("Chart symbol").select_option(symbol)
    signals = page.get_by_role("region", name=f"Signals for {symbol}")
    expect(signals.get_by_role("region", name="Model forecast")).to_contain_text("No model is registered")
    strategies = signals.get_by_role("region", name="Strategy signals").get_by_role("listitem")
    expect(strategies.filter(has_text="ensemble")).to_contain_text("confidence")
    expect(strategies.filter(has_text="ema_12")).to_contain_text("confidence")
    # The simulator publishes headlines one by one, so there may be none for this symbol yet.
    expect(signals.get_by_role("region", name="News sentiment")).to_contain_text(re.compile("confidence|No news yet"))


def test_a_circuit_breaker_and_the_kill_switch_are_set_and_released(dashboard: Dashboard) -> None:
    admin = dashboard.admin
    page = admin.page
    admin.open_view("Risk")
    breaker = page.get_by_role("region", name="Circuit breakers").first.locator("tbody tr", has_text="Daily loss (%)")
    expect(breaker).to_contain_text("ACTIVE")
    breaker.get_by_role("button", name="Halt").click()
    confirm = page.get_by_role("dialog")
    expect(confirm.get_by_role("button", name="Trip breaker: halt")).to_be_disabled()
    confirm.get_by_label("Reason").fill("risk drill")
    confirm.get_by_role("button", name="Trip breaker: halt").click()
    expect(breaker).to_contain_text("HALTED")
    expect(breaker).to_contain_text("risk drill")
    admin.open_view("Trades")
    order_id = admin.order("BUY", "1", "SPY", send_anyway=True)
    sent = page.locator(f'[data-order="{order_id}"]')
    expect(sent).to_contain_text("Circuit breaker")
    admin.open_view("Risk")
    breaker.get_by_role("button", name="Release").click()
    confirm.get_by_label("Reason").fill("end of drill")
    confirm.get_by_role("button", name="Release breaker").click()
    expect(breaker).to_contain_text("ACTIVE")

    state = page.locator("#trading-state")
    for action, expected in (("Halt all trading", "Trading halted"), ("Resume all trading", "Trading active")):
        page.get_by_role("region", name="Kill switch").get_by_role("button", name=action).click()
        confirm.get_by_label("Reason").fill("risk drill")
        confirm.get_by_role("button", name=action).click()
        expect(state).to_have_text(expected)
    commands = page.get_by_role("region", name="Commands", exact=True)
    expect(commands).to_contain_text("end of drill")


def test_the_pages_load_nothing_from_other_servers(dashboard: Dashboard) -> None:
    """The reference of the API works without internet: no request leaves its own address."""
    platform, chromium = dashboard.platform, dashboard.chromium
    context = chromium.new_context()
    page, requested = context.new_page(), []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(f"{platform.api_url}/docs")
    expect(page.get_by_role("heading", name="POST /api/v1/orders", exact=True)).to_be_visible()
    assert requested == [f"{platform.api_url}/docs"]
    context.close()

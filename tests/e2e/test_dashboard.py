"""The dashboard in a browser, on a running platform: its views, orders, circuit breakers, roles and reconnection."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from deploy.supervisor.control import start_one, stop_one
from deploy.supervisor.process_spec import DATAFLOW_NAMES
from tests.e2e.browser import PASSWORD, VIEWS, DashboardTab, open_browser
from tests.e2e.cli_platform import CliPlatform

pytestmark = pytest.mark.timeout(600)

SETTINGS = """
risk_manager:
  circuit_breaker_threshold: 0.05
feedback:
  attribution_interval_s: 5
signals:
  ensemble:
    enabled: true
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_browser() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[CliPlatform]:
    """Request the browser first, so that the platform does not start if the browser is missing."""
    folder = tmp_path_factory.mktemp("dashboard")
    (folder / "settings.yaml").write_text(SETTINGS)
    running = CliPlatform(folder / "home")
    running.environment["PLATFORM_DASHBOARD"] = "on"
    try:
        output = running.run("start", "--settings", str(folder / "settings.yaml"))
        assert dashboard_url(running) in output
        yield running
    finally:
        running.cli("stop")


def dashboard_url(platform: CliPlatform) -> str:
    return f"http://localhost:{platform.ports.dashboard}"


@pytest.fixture(scope="module")
def admin(platform: CliPlatform, chromium: Browser) -> Iterator[DashboardTab]:
    """A tab of the user admin, who has replaced the one-time password from the first start."""
    one_time_password = (platform.home.secrets / "admin-password").read_text().strip()
    tab = DashboardTab(chromium, dashboard_url(platform))
    tab.log_in("admin", "not the password")
    expect(tab.page.get_by_role("alert")).to_contain_text("Wrong username or password")
    tab.log_in("admin", one_time_password)
    tab.change_password(one_time_password)
    tab.wait_until_live()
    yield tab
    tab.close()


def test_every_view_shows_data_and_fits_the_width(admin: DashboardTab) -> None:
    page = admin.page
    shown = {
        "Portfolio": "Total value",
        "Performance": "Max drawdown",
        "Risk": "Limit usage",
        "Trades": "New order",
        "System": "market_data",
    }
    assert set(shown) == set(VIEWS)
    for view, text in shown.items():
        admin.open_view(view)
        expect(page.get_by_text(text, exact=True).first).to_be_visible()
        expect(page.get_by_text("Loading…")).to_have_count(0)
        for width in (390, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{view} is wider than {width}"
        unlabelled = page.evaluate(
            """() => [...document.querySelectorAll("input, select, button, [role=img]")].filter(
                control => !(control.labels?.length || control.ariaLabel || control.textContent.trim())
            ).map(control => control.outerHTML)"""
        )
        assert unlabelled == [], f"{view}: controls without an accessible name"
    expect(page.locator(".dataflows tbody tr")).to_have_count(len(DATAFLOW_NAMES))
    expect(page.locator(".dataflows .badge.bad")).to_have_count(0)


def test_a_fill_appears_in_every_view_without_a_reload(admin: DashboardTab) -> None:
    page = admin.page
    page.evaluate("window.sameDocument = true")
    admin.open_view("Trades")
    order_id = admin.order("BUY", "7", "AAPL")
    sent = page.locator(f'[data-order="{order_id}"]')
    expect(sent).to_have_attribute("data-status", "FILLED")
    row = page.locator("tr", has_text=order_id)
    expect(row).to_contain_text("FILLED")
    page.get_by_role("button", name="Executions").click()
    expect(page.locator("tr", has_text=order_id).filter(has_text="Fill")).to_be_visible()
    admin.open_view("Portfolio")
    page.get_by_label("Chart symbol").select_option("AAPL")
    expect(page.locator(".canvas")).not_to_have_attribute("data-fills", "0")
    positions = page.get_by_role("region", name="Positions", exact=True)
    expect(positions.get_by_role("row").filter(has_text="AAPL")).to_be_visible()
    assert page.evaluate("window.sameDocument"), "the page was reloaded"


def test_a_working_order_is_changed_and_cancelled(admin: DashboardTab) -> None:
    page = admin.page
    admin.open_view("Trades")
    first = admin.order("BUY", "5", "MSFT", "LIMIT", prices={"Limit price": "1.25"})
    expect(page.locator(f'[data-order="{first}"]')).to_have_attribute("data-status", "ACCEPTED")
    row = page.locator("tr", has_text=first)
    row.get_by_role("button", name=f"Change {first}").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Change order").click()
    expect(dialog.get_by_role("alert")).to_have_text("Change at least one value.")
    dialog.get_by_label("Limit price").fill("1.30")
    dialog.get_by_role("button", name="Change order").click()
    expect(dialog).to_have_count(0)
    expect(page.locator(f'[data-order="{first}"]')).to_have_attribute("data-status", "REPLACED")
    second = page.locator("[data-order]").first.get_attribute("data-order")
    assert second is not None and second != first
    changed = page.locator(f'[data-order="{second}"]')
    expect(changed).to_have_attribute("data-status", "ACCEPTED")
    row = page.locator("tr").filter(has=page.get_by_role("button", name=f"Explain {second}"))
    expect(row).to_contain_text(f"replaces {first}")
    expect(row).to_contain_text("1.30")
    row.get_by_role("button", name=f"Cancel {second}").click()
    expect(changed).to_have_attribute("data-status", "CANCELLED")
    expect(row).to_contain_text("CANCELLED")
    expect(row.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(row.get_by_role("button", name="Change")).to_have_count(0)


def test_a_trailing_stop_needs_a_distance_and_is_accepted(admin: DashboardTab) -> None:
    page = admin.page
    admin.open_view("Trades")
    form = page.get_by_role("region", name="New order")
    form.get_by_label("Order type").select_option("TRAILING_STOP")
    expect(form.get_by_label("Limit price")).to_have_count(0)
    expect(form.get_by_label("Stop price")).to_have_count(0)
    options = form.get_by_label("Time in force").locator("option")
    assert options.evaluate_all("options => options.map(option => option.value)") == ["DAY", "GTC", "GTD"]
    order_id = admin.order("SELL", "2", "AAPL", "TRAILING_STOP", prices={"Trailing distance": "30"})
    sent = page.locator(f'[data-order="{order_id}"]')
    expect(sent).to_have_attribute("data-status", "ACCEPTED")
    expect(sent).to_contain_text("trail 30 %")
    sent.get_by_role("button", name=f"Cancel {order_id}").click()
    expect(sent).to_have_attribute("data-status", "CANCELLED")


def test_bracket_exits_become_active_after_the_fill(admin: DashboardTab) -> None:
    page = admin.page
    admin.open_view("Trades")
    form = page.get_by_role("region", name="New order")
    form.get_by_text("Take profit and stop loss (bracket)").click()
    entry = admin.order("BUY", "2", "AAPL", prices={"Take-profit price": "9999", "Stop-loss price": "0.5"})
    expect(page.locator(f'[data-order="{entry}"]')).to_have_attribute("data-status", "FILLED")
    target, stop = (
        page.locator("tr").filter(has=page.get_by_role("button", name=f"Explain {entry}-{leg}")) for leg in ("tp", "sl")
    )
    for leg, price in ((target, "9,999.00"), (stop, "stop 0.5000")):
        expect(leg).to_contain_text("ACCEPTED")
        expect(leg).to_contain_text(price)
        expect(leg).to_contain_text("reduce-only")
    for leg in (target, stop):
        leg.get_by_role("button", name="Cancel").click()
        expect(leg).to_contain_text("CANCELLED")
    for label in ("Take-profit price", "Stop-loss price"):
        form.get_by_label(label).fill("")


def test_strategy_results_add_up_to_the_ledgers_pnl(admin: DashboardTab) -> None:
    page = admin.page
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


def test_a_rejected_order_shows_its_reason_and_who_requested_it(admin: DashboardTab) -> None:
    page = admin.page
    admin.open_view("Trades")
    form = page.get_by_role("region", name="New order")
    form.get_by_label("Symbol").fill("AAPL")
    form.get_by_label("Quantity").fill("many")
    form.get_by_role("button", name="Check order").click()
    expect(form.get_by_role("alert")).to_have_text("Enter a quantity above 0.")
    order_id = admin.order("BUY", "9000", "AAPL", send_anyway=True)
    sent = page.locator(f'[data-order="{order_id}"]')
    expect(sent).to_have_attribute("data-status", "REFUSED")
    expect(sent).to_contain_text("Max order notional")
    form.get_by_role("button", name="Check order").click()
    expect(form.locator(".check-result")).to_contain_text("Fails the risk checks. Max order notional")
    # The form accepts this price, but the API rejects it, and the form shows the error of the API.
    form.get_by_label("Order type").select_option("LIMIT")
    form.get_by_label("Limit price").fill("9999999999")
    form.get_by_role("button", name="Check order").click()
    expect(form.get_by_role("alert")).to_contain_text("limit_price")
    form.get_by_label("Order type").select_option("MARKET")
    form.get_by_label("Symbol").fill("ZZZZ")
    form.get_by_role("button", name="Check order").click()
    expect(form.locator(".check-result")).to_contain_text("No market data for ZZZZ. Check the symbol.")
    page.get_by_role("button", name="Risk rejections", exact=True).click()
    rejected = page.locator("tr", has_text="Max order notional").first
    expect(rejected).to_contain_text("9,000")
    rejected.get_by_role("button", name="Explain").click()
    explanation = page.get_by_role("dialog")
    expect(explanation).to_contain_text("admin requested SUBMIT_ORDER")
    page.keyboard.press("Escape")
    expect(explanation).to_have_count(0)


def test_a_circuit_breaker_and_the_kill_switch_are_set_and_released(admin: DashboardTab) -> None:
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


def symbol_with_signal(platform: CliPlatform) -> str:
    """Wait for the first signal of a strategy and return its symbol."""
    tokens = httpx.post(
        f"{platform.api_url}/api/v1/auth/login", json={"username": "admin", "password": PASSWORD}
    ).json()
    with httpx.Client(base_url=platform.api_url, headers={"Authorization": f"Bearer {tokens['access_token']}"}) as api:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            for price in api.get("/api/v1/market/prices").json():
                if api.get(f"/api/v1/signals/{price['symbol']}").json():
                    return str(price["symbol"])
            time.sleep(1)
    raise AssertionError("no signal within two minutes")


def test_the_signals_of_a_symbol_are_shown(admin: DashboardTab, platform: CliPlatform) -> None:
    page = admin.page
    symbol = symbol_with_signal(platform)
    admin.open_view("Portfolio")
    page.get_by_label("Chart symbol").select_option(symbol)
    signals = page.get_by_role("region", name=f"Signals for {symbol}")
    expect(signals.get_by_role("region", name="Model forecast")).to_contain_text("No model is registered")
    strategies = signals.get_by_role("region", name="Strategy signals").get_by_role("listitem")
    expect(strategies.filter(has_text="ensemble")).to_contain_text("confidence")
    expect(strategies.filter(has_text="ema_12")).to_contain_text("confidence")
    # The simulator publishes headlines one by one, so there may be none for this symbol yet.
    expect(signals.get_by_role("region", name="News sentiment")).to_contain_text(re.compile("confidence|No news yet"))


def test_a_viewer_sees_all_views_but_no_trading_controls(
    admin: DashboardTab, platform: CliPlatform, chromium: Browser
) -> None:
    tokens = httpx.post(
        f"{platform.api_url}/api/v1/auth/login", json={"username": "admin", "password": PASSWORD}
    ).json()
    created = httpx.post(
        f"{platform.api_url}/api/v1/users",
        json={"username": "watcher", "role": "viewer"},
        headers={"Authorization": f"Bearer {tokens['access_token']}"},
    ).json()
    viewer = DashboardTab(chromium, dashboard_url(platform))
    viewer.log_in("watcher", created["one_time_password"])
    viewer.change_password(created["one_time_password"])
    viewer.wait_until_live()
    page = viewer.page
    viewer.open_view("Trades")
    expect(page.locator("tbody tr").first).to_be_visible()
    expect(page.get_by_role("region", name="New order")).to_have_count(0)
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    viewer.open_view("Risk")
    expect(page.get_by_role("region", name="Kill switch")).to_contain_text("Requires the role risk or admin.")
    expect(page.get_by_role("button", name="Halt")).to_have_count(0)
    expect(page.get_by_role("region", name="Commands", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    assert viewer.errors == []
    viewer.close()


def test_the_dashboard_reconnects_after_an_api_restart(admin: DashboardTab, platform: CliPlatform) -> None:
    page = admin.page
    admin.open_view("Portfolio")
    admin.wait_until_live()
    value = page.locator(".key-figures dd").first
    before = value.inner_text()
    stop_one(platform.home, "api")
    expect(page.locator("#connection-lost")).to_contain_text("Connection lost")
    expect(page.locator("main")).to_have_class("stale")
    assert value.inner_text() not in ("", "–"), f"the last value disappeared, it was {before}"
    expect(page.locator(".panel > header .error").first).to_be_visible()
    expect(page.locator("#trading-state")).to_have_text("Trading status unknown")
    start_one(platform.home, "api")
    admin.wait_until_live()
    expect(page.locator("#connection-lost")).to_have_count(0)
    expect(page.locator(".panel > header .error")).to_have_count(0, timeout=30_000)
    expect(page.locator("#trading-state")).to_have_text("Trading active")
    page.reload()
    admin.wait_until_live()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    assert admin.errors == [], "script errors or blocked by the Content-Security-Policy"

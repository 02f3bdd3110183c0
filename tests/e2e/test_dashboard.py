"""The dashboard in a browser, on a platform that `start` has started: what a person sees, does, and is refused."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from deploy.control import start_one, stop_one
from deploy.service import DATAFLOW_NAMES
from tests.e2e.browser import PASSWORD, VIEWS, Person, browser
from tests.e2e.started import Started

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
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Started]:
    """With a browser first: where there is none, nothing needs to be started."""
    folder = tmp_path_factory.mktemp("dashboard")
    (folder / "settings.yaml").write_text(SETTINGS)
    running = Started(folder / "home")
    running.environment["PLATFORM_DASHBOARD"] = "on"
    try:
        said = running.says("start", "--settings", str(folder / "settings.yaml"))
        assert address_of(running) in said
        yield running
    finally:
        running.cli("stop")


def address_of(platform: Started) -> str:
    return f"http://localhost:{platform.ports.dashboard}"


@pytest.fixture(scope="module")
def admin(platform: Started, chromium: Browser) -> Iterator[Person]:
    """Logged in with the one-time password of the first start, which had to be changed."""
    one_time = (platform.home.secrets / "admin-password").read_text().strip()
    person = Person(chromium, address_of(platform))
    person.log_in("admin", "not the password")
    expect(person.page.get_by_role("alert")).to_contain_text("wrong")
    person.log_in("admin", one_time)
    person.change_password(one_time)
    person.is_live()
    yield person
    person.close()


def test_every_view_shows_figures_and_reads_well_at_any_width(admin: Person) -> None:
    page = admin.page
    shown = {
        "Portfolio": "Total value",
        "Performance": "Max drawdown",
        "Risk": "Exposure against limits",
        "Trades": "New order",
        "System": "market_data",
    }
    assert set(shown) == set(VIEWS)
    for view, text in shown.items():
        admin.look_at(view)
        expect(page.get_by_text(text, exact=True).first).to_be_visible()
        expect(page.get_by_text("Loading…")).to_have_count(0)
        for width in (390, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{view} is wider than {width}"
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("input, select, button, [role=img]")].filter(
                one => !(one.labels?.length || one.ariaLabel || one.textContent.trim())).map(one => one.outerHTML)"""
        )
        assert nameless == [], f"{view}: a screen reader finds no name"
    expect(page.locator(".flows tbody tr")).to_have_count(len(DATAFLOW_NAMES))
    expect(page.locator(".flows .badge.bad")).to_have_count(0)


def test_an_order_is_filled_and_the_fill_arrives_everywhere_without_a_reload(admin: Person) -> None:
    page = admin.page
    page.evaluate("window.loadedOnce = true")
    admin.look_at("Trades")
    order_id = admin.order("BUY", "7", "AAPL")
    sent = page.locator(f'[data-order="{order_id}"]')
    expect(sent).to_have_attribute("data-status", "FILLED")
    row = page.locator("tr", has_text=order_id)
    expect(row).to_contain_text("FILLED")
    page.get_by_role("button", name="Executions").click()
    expect(page.locator("tr", has_text=order_id).filter(has_text="Fill")).to_be_visible()
    admin.look_at("Portfolio")
    page.get_by_label("Symbol of the chart").select_option("AAPL")
    expect(page.locator(".canvas")).not_to_have_attribute("data-fills", "0")
    positions = page.get_by_role("region", name="Positions", exact=True)
    expect(positions.get_by_role("row").filter(has_text="AAPL")).to_be_visible()
    assert page.evaluate("window.loadedOnce"), "nothing was loaded anew"


def test_a_resting_order_is_changed_and_then_cancelled(admin: Person) -> None:
    page = admin.page
    admin.look_at("Trades")
    first = admin.order("BUY", "5", "MSFT", "LIMIT", prices={"Limit price": "1.25"})
    expect(page.locator(f'[data-order="{first}"]')).to_have_attribute("data-status", "ACCEPTED")
    row = page.locator("tr", has_text=first)
    row.get_by_role("button", name=f"Change {first}").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Change the order").click()
    expect(dialog.get_by_role("alert")).to_have_text("Nothing is changed yet.")
    dialog.get_by_label("Limit price").fill("1.30")
    dialog.get_by_role("button", name="Change the order").click()
    expect(dialog).to_have_count(0)
    expect(page.locator(f'[data-order="{first}"]')).to_have_attribute("data-status", "REPLACED")
    second = page.locator("[data-order]").first.get_attribute("data-order")
    assert second is not None and second != first
    changed = page.locator(f'[data-order="{second}"]')
    expect(changed).to_have_attribute("data-status", "ACCEPTED")
    row = page.locator("tr").filter(has=page.get_by_role("button", name=f"Why {second}"))
    expect(row).to_contain_text(f"replaces {first}")
    expect(row).to_contain_text("1.30")
    row.get_by_role("button", name=f"Cancel {second}").click()
    expect(changed).to_have_attribute("data-status", "CANCELLED")
    expect(row).to_contain_text("CANCELLED")
    expect(row.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(row.get_by_role("button", name="Change")).to_have_count(0)


def test_a_trailing_stop_asks_for_its_distance_and_rests(admin: Person) -> None:
    page = admin.page
    admin.look_at("Trades")
    form = page.get_by_role("region", name="New order")
    form.get_by_label("Type").select_option("TRAILING_STOP")
    expect(form.get_by_label("Limit price")).to_have_count(0)
    expect(form.get_by_label("Stop price")).to_have_count(0)
    assert form.get_by_label("In force").locator("option").evaluate_all("all => all.map(one => one.value)") == [
        "DAY",
        "GTC",
        "GTD",
    ]
    order_id = admin.order("SELL", "2", "AAPL", "TRAILING_STOP", prices={"Distance": "30"})
    sent = page.locator(f'[data-order="{order_id}"]')
    expect(sent).to_have_attribute("data-status", "ACCEPTED")
    expect(sent).to_contain_text("trail 30 %")
    sent.get_by_role("button", name=f"Cancel {order_id}").click()
    expect(sent).to_have_attribute("data-status", "CANCELLED")


def test_the_exits_of_a_bracket_work_once_it_is_filled(admin: Person) -> None:
    page = admin.page
    admin.look_at("Trades")
    form = page.get_by_role("region", name="New order")
    form.get_by_text("Bracket: exits after the fill").click()
    entry = admin.order("BUY", "2", "AAPL", prices={"Take profit at": "9999", "Stop loss at": "0.5"})
    expect(page.locator(f'[data-order="{entry}"]')).to_have_attribute("data-status", "FILLED")
    target, stop = (
        page.locator("tr").filter(has=page.get_by_role("button", name=f"Why {entry}-{leg}")) for leg in ("tp", "sl")
    )
    for leg, price in ((target, "9,999.00"), (stop, "stop 0.5000")):
        expect(leg).to_contain_text("ACCEPTED")
        expect(leg).to_contain_text(price)
        expect(leg).to_contain_text("reduce only")
    for leg in (target, stop):
        leg.get_by_role("button", name="Cancel").click()
        expect(leg).to_contain_text("CANCELLED")
    for label in ("Take profit at", "Stop loss at"):
        form.get_by_label(label).fill("")


def test_the_strategies_rows_sum_to_the_ledgers_profit_and_loss(admin: Person) -> None:
    page = admin.page
    admin.look_at("Performance")
    panel = page.get_by_role("region", name="By strategy", exact=True)
    expect(panel.locator("tbody tr", has_text="by hand")).to_be_visible()
    expect(panel.locator("#ledger-pnl b")).not_to_have_text("–")
    # One look at everything: a moment later it may be split anew.
    rows, (total,), ledger = page.evaluate(
        """() => {
            const panel = document.querySelector(".strategies");
            const rows = of => [...panel.querySelectorAll(of)].map(row => [...row.cells].map(one => one.textContent));
            return [rows("tbody tr"), rows("tfoot tr"), panel.querySelector("#ledger-pnl b").textContent];
        }"""
    )
    assert total[0] == "all" and len(rows) >= 1
    titles = panel.locator("thead th").all_inner_texts()
    for title in ("Realized", "Unrealized", "Fees", "Cash flows", "Total"):
        column = titles.index(title)
        parts = sum(figure(row[column]) for row in rows)
        assert abs(parts - figure(total[column])) <= 0.005 * (len(rows) + 1), f"{title}: {rows} are not {total}"
    assert abs(figure(total[titles.index("Total")]) - figure(ledger)) < 0.015
    expect(panel.locator(".failing")).to_have_count(0)


def figure(shown: str) -> float:
    """As it stands on the screen; what is not known adds nothing."""
    return 0.0 if shown == "–" else float(shown.replace(",", "").replace("−", "-"))


def test_a_refused_order_says_why_and_its_lineage_leads_to_who_asked(admin: Person) -> None:
    page = admin.page
    admin.look_at("Trades")
    form = page.get_by_role("region", name="New order")
    form.get_by_label("Symbol").fill("AAPL")
    form.get_by_label("Quantity").fill("many")
    form.get_by_role("button", name="Ask risk").click()
    expect(form.get_by_role("alert")).to_have_text("The quantity must be a number above 0.")
    order_id = admin.order("BUY", "9000", "AAPL", nevertheless=True)
    sent = page.locator(f'[data-order="{order_id}"]')
    expect(sent).to_have_attribute("data-status", "REFUSED")
    expect(sent).to_contain_text("max_order_notional")
    form.get_by_role("button", name="Ask risk").click()
    expect(form.locator(".forecast")).to_contain_text("Risk would refuse it: max_order_notional")
    # What the form itself would take and the API does not: its sentence stands beside the form.
    form.get_by_label("Type").select_option("LIMIT")
    form.get_by_label("Limit price").fill("9999999999")
    form.get_by_role("button", name="Ask risk").click()
    expect(form.get_by_role("alert")).to_contain_text("limit_price: Input should be less than or equal to 1000000000")
    page.get_by_role("button", name="Refused", exact=True).click()
    refused = page.locator("tr", has_text="max_order_notional").first
    expect(refused).to_contain_text("9,000")
    refused.get_by_role("button", name="Why").click()
    why = page.get_by_role("dialog")
    expect(why).to_contain_text("admin asked for SUBMIT_ORDER")
    page.keyboard.press("Escape")
    expect(why).to_have_count(0)


def test_a_breaker_and_the_kill_switch_are_tripped_and_released(admin: Person) -> None:
    page = admin.page
    admin.look_at("Risk")
    breaker = page.get_by_role("region", name="Circuit breakers").first.locator("tbody tr", has_text="Day fall")
    expect(breaker).to_contain_text("ACTIVE")
    breaker.get_by_role("button", name="Halt").click()
    confirm = page.get_by_role("dialog")
    expect(confirm.get_by_role("button", name="Halt the breaker")).to_be_disabled()
    confirm.get_by_label("Reason").fill("a drill")
    confirm.get_by_role("button", name="Halt the breaker").click()
    expect(breaker).to_contain_text("HALTED")
    expect(breaker).to_contain_text("a drill")
    admin.look_at("Trades")
    order_id = admin.order("BUY", "1", "SPY", nevertheless=True)
    sent = page.locator(f'[data-order="{order_id}"]')
    expect(sent).to_contain_text("circuit_breaker")
    admin.look_at("Risk")
    breaker.get_by_role("button", name="Release").click()
    confirm.get_by_label("Reason").fill("the drill is over")
    confirm.get_by_role("button", name="Release the breaker").click()
    expect(breaker).to_contain_text("ACTIVE")

    state = page.locator("#trading-state")
    for action, becomes in (("Halt all trading", "Trading HALTED"), ("Release", "Trading active")):
        page.get_by_role("region", name="Kill switch").get_by_role("button", name=action).click()
        confirm.get_by_label("Reason").fill("a drill")
        confirm.get_by_role("button", name=f"{action.split()[0]} all trading").click()
        expect(state).to_have_text(becomes)
    commands = page.get_by_role("region", name="Commands", exact=True)
    expect(commands).to_contain_text("the drill is over")


def spoken_of(platform: Started) -> str:
    """A symbol that a strategy has given a signal of; waits for the first."""
    found = httpx.post(f"{platform.api}/api/v1/auth/login", json={"username": "admin", "password": PASSWORD}).json()
    with httpx.Client(base_url=platform.api, headers={"Authorization": f"Bearer {found['access_token']}"}) as api:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            for price in api.get("/api/v1/market/prices").json():
                if api.get(f"/api/v1/signals/{price['symbol']}").json():
                    return str(price["symbol"])
            time.sleep(1)
    raise AssertionError("no strategy spoke within two minutes")


def test_a_symbols_views_are_shown_or_why_there_are_none(admin: Person, platform: Started) -> None:
    page = admin.page
    symbol = spoken_of(platform)
    admin.look_at("Portfolio")
    page.get_by_label("Symbol of the chart").select_option(symbol)
    views = page.get_by_role("region", name=f"Views on {symbol}")
    expect(views.get_by_role("region", name="Forecast")).to_contain_text("No model is registered")
    strategies = views.get_by_role("region", name="Strategies").get_by_role("listitem")
    # What each strategy gave it stands there only while it is not out.
    expect(strategies.filter(has_text="ensemble")).to_contain_text("confidence")
    expect(strategies.filter(has_text="ema_12")).to_contain_text("confidence")
    # The simulator's headlines come one by one, each of some symbol: one of this may not have come yet.
    expect(views.get_by_role("region", name="Sentiment")).to_contain_text(
        re.compile("confidence|No news of it has come")
    )


def test_a_viewer_sees_everything_and_no_button_that_would_be_refused(
    admin: Person, platform: Started, chromium: Browser
) -> None:
    access = httpx.post(f"{platform.api}/api/v1/auth/login", json={"username": "admin", "password": PASSWORD}).json()
    made = httpx.post(
        f"{platform.api}/api/v1/users",
        json={"username": "watcher", "role": "viewer"},
        headers={"Authorization": f"Bearer {access['access_token']}"},
    ).json()
    viewer = Person(chromium, address_of(platform))
    viewer.log_in("watcher", made["one_time_password"])
    viewer.change_password(made["one_time_password"])
    viewer.is_live()
    page = viewer.page
    viewer.look_at("Trades")
    expect(page.locator("tbody tr").first).to_be_visible()
    expect(page.get_by_role("region", name="New order")).to_have_count(0)
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    viewer.look_at("Risk")
    expect(page.get_by_role("region", name="Kill switch")).to_contain_text("The roles risk and admin can set it.")
    expect(page.get_by_role("button", name="Halt")).to_have_count(0)
    expect(page.get_by_role("region", name="Commands", exact=True)).to_have_count(0)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    assert viewer.complaints == []
    viewer.close()


def test_an_api_that_restarts_is_waited_for_and_nobody_is_logged_out(admin: Person, platform: Started) -> None:
    page = admin.page
    admin.look_at("Portfolio")
    admin.is_live()
    value = page.locator(".figures dd").first
    before = value.inner_text()
    stop_one(platform.home, "api")
    expect(page.locator("#connection-lost")).to_contain_text("Connection lost")
    expect(page.locator("main")).to_have_class("stale")
    assert value.inner_text() not in ("", "–"), f"what was known stays on the screen, {before} was"
    expect(page.get_by_text("The API does not answer.").first).to_be_visible()
    start_one(platform.home, "api")
    admin.is_live()
    expect(page.locator("#connection-lost")).to_have_count(0)
    expect(page.get_by_text("The API does not answer.")).to_have_count(0, timeout=30_000)
    page.reload()
    admin.is_live()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    assert admin.complaints == [], "no script failed and the page's own policy forbade nothing"

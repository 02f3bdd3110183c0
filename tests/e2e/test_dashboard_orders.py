"""Orders in the dashboard, in a browser on a running platform: sent, filled, changed, cancelled and rejected."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Dashboard

pytestmark = pytest.mark.timeout(600)


def test_a_fill_appears_in_every_view_without_a_reload(dashboard: Dashboard) -> None:
    admin = dashboard.admin
    page = admin.page
    page.evaluate("window.sameDocument = true")
    admin.open_view("Trades")
    order_id = admin.order("BUY", "7", "AAPL")
    sent = page.locator(f'[data-order="{order_id}"]')
    expect(sent).to_have_attribute("data-status", "FILLED")
    row = admin.row(order_id)
    expect(row).to_contain_text("FILLED")
    page.get_by_role("button", name="Executions").click()
    expect(page.locator("tr", has_text="Fill").filter(has_text=order_id)).to_be_visible()
    admin.open_view("Portfolio")
    page.get_by_label("Chart symbol").select_option("AAPL")
    expect(page.locator(".canvas")).not_to_have_attribute("data-fills", "0")
    positions = page.get_by_role("region", name="Positions", exact=True)
    expect(positions.get_by_role("row").filter(has_text="AAPL")).to_be_visible()
    assert page.evaluate("window.sameDocument"), "the page was reloaded"


def test_a_working_order_is_changed_and_cancelled(dashboard: Dashboard) -> None:
    admin = dashboard.admin
    page = admin.page
    admin.open_view("Trades")
    first = admin.order("BUY", "5", "MSFT", "LIMIT", prices={"Limit price": "1.25"})
    expect(page.locator(f'[data-order="{first}"]')).to_have_attribute("data-status", "ACCEPTED")
    row = admin.row(first)
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
    row = admin.row(second)
    expect(row).to_contain_text(f"replaces {first}")
    expect(row).to_contain_text("1.30")
    row.get_by_role("button", name=f"Cancel {second}").click()
    expect(changed).to_have_attribute("data-status", "CANCELLED")
    expect(row).to_contain_text("CANCELLED")
    expect(row.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(row.get_by_role("button", name="Change")).to_have_count(0)


def test_a_trailing_stop_needs_a_distance_and_is_accepted(dashboard: Dashboard) -> None:
    admin = dashboard.admin
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


def test_bracket_exits_become_active_after_the_fill(dashboard: Dashboard) -> None:
    admin = dashboard.admin
    page = admin.page
    admin.open_view("Trades")
    form = page.get_by_role("region", name="New order")
    form.get_by_text("Take profit and stop loss (bracket)").click()
    entry = admin.order("BUY", "2", "AAPL", prices={"Take-profit price": "9999", "Stop-loss price": "0.5"})
    expect(page.locator(f'[data-order="{entry}"]')).to_have_attribute("data-status", "FILLED")
    target, stop = (admin.row(f"{entry}-{leg}") for leg in ("tp", "sl"))
    for leg, price in ((target, "9,999.00"), (stop, "stop 0.5000")):
        expect(leg).to_contain_text("ACCEPTED")
        expect(leg).to_contain_text(price)
        expect(leg).to_contain_text("reduce-only")
    for leg in (target, stop):
        leg.get_by_role("button", name="Cancel").click()
        expect(leg).to_contain_text("CANCELLED")
    for label in ("Take-profit price", "Stop-loss price"):
        form.get_by_label(label).fill("")


def test_a_rejected_order_shows_its_reason_and_who_requested_it(dashboard: Dashboard) -> None:
    admin = dashboard.admin
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


def test_cancel_all_lists_its_orders_and_is_left_with_escape(dashboard: Dashboard) -> None:
    admin = dashboard.admin
    page = admin.page
    admin.open_view("Trades")
    page.get_by_role("button", name="Orders", exact=True).click()
    resting = admin.order("BUY", "4", "MSFT", "LIMIT", prices={"Limit price": "1.25"})
    expect(admin.row(resting)).to_contain_text("ACCEPTED")
    button = page.get_by_role("button", name="Cancel all orders")
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Cancel all orders")
    expect(dialog.locator(f'[data-row="{resting}"]')).to_contain_text("MSFT")
    expect(dialog).to_contain_text("Positions stay open.")
    expect(dialog.get_by_role("button", name="Back")).to_be_focused()
    for _ in range(8):
        page.keyboard.press("Tab")
        focus_is_inside = (
            "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        )
        assert page.evaluate(focus_is_inside), "the focus left the dialog for the page behind it"
    assert admin.layout_faults() == []
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    expect(admin.row(resting)).to_contain_text("ACCEPTED")
    button.click()
    dialog.get_by_role("button", name="Cancel all orders: cancel").click()
    expect(dialog).to_have_count(0)
    expect(admin.row(resting)).to_contain_text("CANCELLED")


def test_close_shows_the_order_its_value_and_the_risk_checks_before_it_is_sent(dashboard: Dashboard) -> None:
    admin = dashboard.admin
    page = admin.page
    admin.open_view("Trades")
    bought = admin.order("BUY", "2", "SPY")
    expect(page.locator(f'[data-order="{bought}"]')).to_have_attribute("data-status", "FILLED")
    admin.open_view("Portfolio")
    expect(page.get_by_role("button", name="Flatten all")).to_be_enabled()
    page.get_by_role("button", name="Close SPY").click()
    dialog = page.get_by_role("dialog", name="Close SPY")
    order = dialog.get_by_role("region", name="Orders to send").locator("tbody tr").first
    expect(order).to_contain_text("SPY")
    expect(order).to_contain_text("pass")
    assert [number for number in dialog.locator("tbody td.number").all_inner_texts() if number != "–"]
    dialog.get_by_role("button", name="Close SPY: send 1 order").click()
    expect(dialog).to_have_count(0)
    admin.open_view("Trades")
    # The strategies trade SPY too. If they have closed the position first, nothing is left for this order.
    ended = re.compile("FILLED|reduce-only: no position to close")
    closed = page.locator("tr", has_text="SPY").filter(has_text="reduce-only").filter(has_text=ended)
    expect(closed.first).to_be_visible()

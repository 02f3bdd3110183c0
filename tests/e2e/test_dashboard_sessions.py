"""Users, roles, changes of settings and reconnection of the dashboard, in a browser on a running platform."""

from __future__ import annotations

import base64
import time

import pytest
from playwright.sync_api import Route, expect

from api.second_factor import STEP_S, totp
from deploy.supervisor.control import start_one, stop_one
from tests import http
from tests.e2e.browser import PASSWORD, DashboardTab
from tests.e2e.conftest import Dashboard

PREVIEW_MS = 240_000
"""How long a preview may take on a busy machine: it starts a process and replays the recording."""

pytestmark = pytest.mark.timeout(600)


def test_a_viewer_sees_all_views_but_no_trading_controls(dashboard: Dashboard) -> None:
    platform, chromium = dashboard.platform, dashboard.chromium
    tokens = http.post(f"{platform.api_url}/api/v1/auth/login", json={"username": "admin", "password": PASSWORD}).json()
    created = http.post(
        f"{platform.api_url}/api/v1/users",
        json={"username": "watcher", "role": "viewer"},
        headers={"Authorization": f"Bearer {tokens['access_token']}"},
    ).json()
    viewer = DashboardTab(chromium, dashboard.url)
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


def test_a_user_with_a_second_factor_logs_in_with_a_code(dashboard: Dashboard) -> None:
    """The user is created on the host. After the reset on the host, the log-in needs no code."""
    platform, chromium = dashboard.platform, dashboard.chromium
    created = platform.run("users", "create", "careful", "viewer")
    one_time_password = created.split("careful: ")[1].split()[0]
    tab = DashboardTab(chromium, dashboard.url)
    tab.log_in("careful", one_time_password)
    tab.change_password(one_time_password)
    tab.wait_until_live()
    with http.client(base_url=f"{platform.api_url}/api/v1/auth") as api:
        access = api.post("/login", json={"username": "careful", "password": PASSWORD}).json()["access_token"]
        api.headers["Authorization"] = f"Bearer {access}"
        secret = base64.b32decode(api.post("/totp", json={"current_password": PASSWORD}).json()["secret"])
        code = totp(secret, int(time.time()) // STEP_S)
        recovery_codes = api.post("/totp/confirm", json={"code": code}).json()["recovery_codes"]
    tab.page.get_by_role("button", name="Log out").click()
    expect(tab.page.get_by_label("Code of the authenticator")).to_have_count(0)
    tab.log_in("careful", PASSWORD)
    tab.page.get_by_label("Code of the authenticator").fill("000000")
    tab.page.get_by_role("button", name="Log in").click()
    expect(tab.page.get_by_role("alert")).to_contain_text("The code is wrong")
    tab.page.get_by_label("Code of the authenticator").fill(recovery_codes[0])
    tab.page.get_by_role("button", name="Log in").click()
    tab.wait_until_live()
    tab.page.get_by_role("button", name="Log out").click()
    platform.run("users", "reset-totp", "careful")
    tab.log_in("careful", PASSWORD)
    tab.wait_until_live()
    assert tab.errors == []
    tab.close()


def test_the_dashboard_reconnects_after_an_api_restart(dashboard: Dashboard) -> None:
    admin, platform = dashboard.admin, dashboard.platform
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
    expect(page.locator(".panel > header .error")).to_have_count(0)
    expect(page.locator("#trading-state")).to_have_text("Trading active")
    page.reload()
    admin.wait_until_live()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    assert admin.errors == [], "script errors or blocked by the Content-Security-Policy"


def test_a_limit_is_previewed_changed_and_reset(dashboard: Dashboard) -> None:
    admin = dashboard.admin
    page = admin.page
    admin.open_view("Risk")
    row = admin.row("max_order_notional")
    expect(row).to_contain_text("Settings file")
    row.get_by_role("button", name="Change Max order notional").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("New value").fill("much")
    dialog.get_by_label("Reason").fill("earnings this evening")
    dialog.get_by_role("button", name="Change limit").click()
    expect(dialog.get_by_role("alert")).to_contain_text("max_order_notional")
    dialog.get_by_label("New value").fill("123456")
    dialog.get_by_role("button", name="Preview").click()
    expect(dialog.get_by_role("region", name="Preview")).to_contain_text("time slices from", timeout=PREVIEW_MS)
    assert admin.layout_faults() == []
    widen = "dialog => { dialog.firstElementChild.style.minWidth = '3000px' }"
    dialog.evaluate(widen)
    assert ["scrolls sideways" in fault for fault in admin.layout_faults()] == [True], "or the check would find nothing"
    dialog.evaluate(widen.replace("3000px", ""))
    expect(row).to_contain_text("Settings file")
    dialog.get_by_role("button", name="Change limit").click()
    expect(row).to_contain_text("123,456")
    expect(row).to_contain_text("Changed at run time")
    history = page.get_by_role("region", name="Changes of settings")
    expect(history).to_contain_text("Max order notional: 123456")
    expect(history).to_contain_text("earnings this evening")
    row.get_by_role("button", name="Reset Max order notional").click()
    dialog.get_by_label("Reason").fill("over")
    dialog.get_by_role("button", name="Reset limit").click()
    expect(row).to_contain_text("Settings file")
    expect(history).to_contain_text("back to the settings file")
    assert admin.errors == []


def test_a_requested_change_is_approved_by_another_person(dashboard: Dashboard) -> None:
    """The API's responses are replaced, because this platform needs no second person."""
    admin = dashboard.admin
    page = admin.page
    change = {
        "requested_at": "2024-01-15T10:00:00Z",
        "reason": "earnings",
        "set": {"risk_manager.max_order_notional": 5000},
        "unset": [],
        "before": {"risk_manager.max_order_notional": "unlimited"},
    }
    requests = [{**change, "request_id": f"cmd-{name}", "requested_by": name} for name in ("ann", "admin")]
    sent: list[tuple[str, object]] = []

    def answer(route: Route) -> None:
        sent.append((route.request.url.partition("/requests/")[2], route.request.post_data_json))
        route.fulfill(status=202, json={})

    page.route("**/api/v1/config/requests", lambda route: route.fulfill(json=requests))
    page.route("**/api/v1/config/requests/**", answer)
    try:
        admin.open_view("Risk")
        panel = page.get_by_role("region", name="Changes waiting for approval", exact=True)
        expect(panel).to_contain_text("Max order notional: unlimited → 5000")
        expect(admin.row("cmd-admin").get_by_role("button", name="Another person must approve")).to_be_disabled()
        admin.row("cmd-ann").get_by_role("button", name="Approve").click()
        expect(page.get_by_text("Change approved")).to_be_visible()
        admin.row("cmd-ann").get_by_role("button", name="Reject").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Reason").fill("too risky")
        dialog.get_by_role("button", name="Reject change").click()
        expect(dialog).to_have_count(0)
        assert sent == [("cmd-ann/approve", {}), ("cmd-ann/reject", {"reason": "too risky"})]
    finally:
        page.unroute("**/api/v1/config/requests")
        page.unroute("**/api/v1/config/requests/**")

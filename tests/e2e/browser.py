"""Drives the dashboard in Debian's Chromium with Playwright."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect, sync_playwright

PASSWORD = "correct horse battery"
APT = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
VIEWS = ("Portfolio", "Performance", "Risk", "Trades", "System", "Strategies")
_LAYOUT_FAULTS = """() => {
    const root = document.documentElement, faults = [];
    if (root.scrollWidth > root.clientWidth) {
        faults.push(`the page is ${root.scrollWidth} px wide, the window ${root.clientWidth} px`);
    }
    for (const box of document.querySelectorAll("dialog[open], dialog[open] :not(input)")) {
        const hidden = box.clientWidth <= 1 || getComputedStyle(box).overflowX === "visible";
        if (hidden || box.scrollWidth <= box.clientWidth + 1) continue;
        const name = `${box.closest("dialog").ariaLabel}: ${box.localName}.${box.className}`;
        if (getComputedStyle(box).textOverflow !== "ellipsis") {
            faults.push(`${name} scrolls sideways: ${box.scrollWidth} px in ${box.clientWidth} px`);
        } else if (box.title === "") {
            faults.push(`${name} is shortened, and no title shows the whole text`);
        }
    }
    for (const region of document.querySelectorAll(".scroll")) {
        const box = region.getBoundingClientRect();
        for (const cell of region.querySelectorAll("th, td")) {
            const name = `${region.ariaLabel}: "${cell.textContent}"`;
            cell.scrollIntoView({ block: "center" });
            const { left, right, top, bottom } = cell.getBoundingClientRect();
            if (left < box.left - 1 || right > box.right + 1) faults.push(`${name} is cut off`);
            for (const x of [left + 2, (left + right) / 2, right - 2]) {
                const front = document.elementFromPoint(x, (top + bottom) / 2);
                if (front !== null && region.contains(front) && !cell.contains(front) && !front.contains(cell)) {
                    faults.push(`${name} is covered by "${front.textContent}"`);
                    break;
                }
            }
        }
    }
    return faults;
}"""
"""Checks the page and open dialogs for sideways scrolling, shortened texts of dialogs for a title with the whole text,
and the centre and both ends of every cell of a table.
"""
expect.set_options(timeout=60_000)
# The browser logs these errors for each failed request while the API is down.
_NETWORK_ERRORS = ("Failed to load resource", "WebSocket connection to")


def chromium() -> str:
    """Return the path of Chromium. Install Chromium if it is missing; fail the test if the installation fails."""
    path = shutil.which("chromium")
    if path is None and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], APT):
            subprocess.run(command, env=environment, capture_output=True, check=False, timeout=240)
        path = shutil.which("chromium")
    if path is None:
        pytest.fail("this test needs Chromium: apt-get install --no-install-recommends chromium", pytrace=False)
    return path


@contextmanager
def open_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium has no sandbox for root, for example in a container. The browser opens only the platform's pages.
        launched = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield launched
        launched.close()


class DashboardTab:
    """A browser tab with the dashboard. `errors` holds the console errors of the tab, without network errors."""

    def __init__(self, browser: Browser, address: str, *, width: int = 1440, height: int = 900) -> None:
        self.address = address
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.page: Page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.set_default_timeout(60_000)
        self.page.goto(address)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(_NETWORK_ERRORS):
            self.errors.append(message.text)

    def log_in(self, username: str, password: str) -> None:
        self.page.get_by_label("Username").fill(username)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()

    def change_password(self, one_time: str) -> None:
        self.page.get_by_label("One-time password").fill(one_time)
        self.page.get_by_label("New password (at least 12").fill(PASSWORD)
        self.page.get_by_label("Repeat new password").fill(PASSWORD)
        self.page.get_by_role("button", name="Change password").click()

    def open_view(self, view: str) -> None:
        self.page.get_by_role("navigation").get_by_role("link", name=view).click()
        expect(self.page.locator(f"main[data-view={view.lower()}]")).to_be_visible()

    def row(self, key: str) -> Locator:
        """The row of a table of the view for the record with this id, not that of a dialog, which may be closing."""
        return self.page.locator(f'tr[data-row="{key}"]:not(dialog tr)')

    def layout_faults(self) -> list[str]:
        """Return what the view hides at the current width: a sentence for each covered or cut-off cell, and for each
        part of the page or of a dialog that scrolls sideways.
        """
        faults: list[str] = self.page.evaluate(_LAYOUT_FAULTS)
        return faults

    def wait_until_live(self) -> None:
        """Wait until both streams deliver data."""
        expect(self.page.locator('.stream[data-state="live"]')).to_have_count(2)

    def order(
        self,
        side: str,
        quantity: str,
        symbol: str,
        order_type: str = "MARKET",
        *,
        prices: Mapping[str, str] | None = None,
        send_anyway: bool = False,
    ) -> str:
        """Fill in the order form, send the order and return its id.

        `prices` maps field labels to text. With `send_anyway` the order fails the risk checks and the test sends it.
        """
        form = self.page.get_by_role("region", name="New order")
        form.get_by_label("Symbol").fill(symbol)
        form.get_by_role("radio", name=side).check()
        form.get_by_label("Quantity").fill(quantity)
        form.get_by_label("Order type").select_option(order_type)
        for label, text in (prices or {}).items():
            form.get_by_label(label).fill(text)
        sent = form.locator("[data-order]")
        newest = sent.first.get_attribute("data-order") if sent.count() else ""
        form.get_by_role("button", name=f"{side.title()} {symbol}").click()
        if send_anyway:
            expect(form.locator(".check-result")).to_contain_text("Fails the risk checks")
            form.get_by_role("button", name="Send anyway").click()
        expect(sent.first).not_to_have_attribute("data-order", newest or "")
        order_id = sent.first.get_attribute("data-order")
        assert order_id is not None
        return order_id

    def close(self) -> None:
        self.context.close()

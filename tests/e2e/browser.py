"""Debian's Chromium, driven by Playwright, and a person in front of the dashboard."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

PASSWORD = "correct horse battery"
APT = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"]
VIEWS = ("Portfolio", "Performance", "Risk", "Trades", "System")
# While the API is away the browser itself writes each failed request to the console.
_OF_THE_NETWORK = ("Failed to load resource", "WebSocket connection to")


def chromium() -> str:
    """The path of Chromium; installs Debian's where there is none and we may. The test fails where it cannot be had."""
    found = shutil.which("chromium")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get") is not None:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], APT):
            subprocess.run(command, env=quiet, capture_output=True, check=False, timeout=240)
        found = shutil.which("chromium")
    if found is None:
        pytest.fail("this test needs Chromium: apt-get install --no-install-recommends chromium", pytrace=False)
    return found


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Root, as in a container, has no sandbox; the pages are our own.
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        started.close()


class Person:
    """A tab of the dashboard. `complaints` is what the page wrote to the console as errors."""

    def __init__(self, browser: Browser, address: str, *, width: int = 1440, height: int = 900) -> None:
        self.address = address
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.set_default_timeout(20_000)
        self.page.goto(address)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(_OF_THE_NETWORK):
            self.complaints.append(message.text)

    def log_in(self, username: str, password: str) -> None:
        self.page.get_by_label("User").fill(username)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()

    def change_password(self, one_time: str) -> None:
        self.page.get_by_label("One-time password").fill(one_time)
        self.page.get_by_label("New password, 12").fill(PASSWORD)
        self.page.get_by_label("New password again").fill(PASSWORD)
        self.page.get_by_role("button", name="Change password").click()

    def look_at(self, view: str) -> None:
        self.page.get_by_role("navigation").get_by_role("link", name=view).click()
        expect(self.page.locator(f"main[data-view={view.lower()}]")).to_be_visible()

    def is_live(self) -> None:
        """Both streams deliver."""
        expect(self.page.locator('.feed[data-state="live"]')).to_have_count(2, timeout=30_000)

    def order(
        self,
        side: str,
        quantity: str,
        symbol: str,
        kind: str = "MARKET",
        *,
        prices: Mapping[str, str] | None = None,
        nevertheless: bool = False,
    ) -> str:
        """Fill in the form and send it, `nevertheless` once more after risk has said no; the new order's id.

        `prices` are texts by the label of their field.
        """
        form = self.page.get_by_role("region", name="New order")
        form.get_by_label("Symbol").fill(symbol)
        form.get_by_text(side, exact=True).click()
        form.get_by_label("Quantity").fill(quantity)
        form.get_by_label("Type").select_option(kind)
        for label, text in (prices or {}).items():
            form.get_by_label(label).fill(text)
        sent = form.locator("[data-order]")
        newest = sent.first.get_attribute("data-order") if sent.count() else ""
        button = form.get_by_role("button", name=f"{side.title()} {symbol}")
        button.click()
        if nevertheless:
            expect(form.locator(".forecast")).to_contain_text("Risk would refuse it")
            button.click()
        expect(sent.first).not_to_have_attribute("data-order", newest or "")
        order_id = sent.first.get_attribute("data-order")
        assert order_id is not None
        return order_id

    def close(self) -> None:
        self.context.close()

"""The HTML report in Chromium: it fits a phone and a wide screen, and its switch works without a script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from dataflows.research import backtest
from tests.e2e.browser import open_browser
from tests.replay.market import write_market
from tests.replay.runs import SETTINGS_FILE

WIDTHS = (390, 800, 1440)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_market(folder / "bars", symbols=("A", "B"))
    backtest("ema_cross", folder / "bars", settings=SETTINGS_FILE, benchmark="A").report(folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_browser() as browser:
        context = browser.new_context(java_script_enabled=True, offline=True)
        yield context.new_page()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_report_fits_a_phone_and_a_wide_screen(page: Page, report: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    boxes = page.locator("figure svg").evaluate_all("all => all.map(one => [one.clientWidth, one.clientHeight])")
    visible = [box for box in boxes if box[0]]
    assert len(visible) >= 7
    assert all(box[0] > 0.5 * min(width, 560) and box[1] > 100 for box in visible)
    overlaps = page.evaluate(_OVERLAPS)
    assert overlaps == []


def test_a_report_fits_a_printed_page(page: Page, report: Path) -> None:
    page.set_viewport_size({"width": 794, "height": 1123})  # A4 at 96 dpi
    page.emulate_media(media="print")
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 794
    assert page.evaluate(_OVERLAPS) == []
    page.emulate_media(media="screen")


def test_the_axis_switches_between_linear_and_logarithmic(page: Page, report: Path) -> None:
    page.goto(report.as_uri())
    linear, logarithmic = page.locator("#equity .linear"), page.locator("#equity .logarithmic")
    assert (linear.is_visible(), logarithmic.is_visible()) == (True, False)
    page.get_by_label("Logarithmic").check()
    assert (linear.is_visible(), logarithmic.is_visible()) == (False, True)


_OVERLAPS = """() => {
    const faults = [];
    for (const plot of document.querySelectorAll(".plot")) {
        for (const axis of ["x", "y"]) {
            const labels = [...plot.querySelectorAll(`span.${axis}`)].filter(one => one.offsetParent !== null);
            const boxes = labels.map(one => one.getBoundingClientRect());
            boxes.sort((one, other) => axis === "x" ? one.left - other.left : one.top - other.top);
            for (let i = 1; i < boxes.length; i++) {
                const [before, after] = [boxes[i - 1], boxes[i]];
                if (axis === "x" ? after.left < before.right : after.top < before.bottom) {
                    faults.push(`${plot.querySelector("svg").ariaLabel}: labels of ${axis} overlap`);
                }
            }
        }
    }
    return faults;
}"""
"""Names each chart whose axis has labels that overlap."""

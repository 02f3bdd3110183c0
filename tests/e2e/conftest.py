"""The market data and the uninterrupted reference run that the end-to-end tests share."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import time
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, expect

from configs.settings import load_settings
from tests import every_action
from tests.e2e.broker_platform import BrokerPlatform, started_broker_platform
from tests.e2e.browser import DashboardTab, open_browser
from tests.e2e.cli_platform import CliPlatform, started_platform
from tests.e2e.process_platform import ProcessPlatform, Servers, TableRows
from tests.replay.market import MONDAY, write_market
from tests.replay.runs import SETTINGS_FILE, fused_hash, pinned_settings, read_time_slices
from tests.scheduling import shared_platform

MakePlatform = Callable[..., ProcessPlatform]
SLOW = "200"
"""A speed, in multiples of real time, at which the tape of `bars` lasts 54 seconds: a test can act before its end."""


class RunResult(NamedTuple):
    """The result of a run. `counts` holds the number of messages in each topic partition, including duplicates."""

    tables: TableRows
    topics: dict[str, list[str]]
    decision_hash: str
    counts: dict[tuple[str, int], int]


def read_result(platform: ProcessPlatform) -> RunResult:
    logs = platform.logs()
    counts = {name: len(messages) for name, messages in logs.messages.items()}
    return RunResult(platform.tables(), logs.contents(), platform.decision_hash(), counts)


@pytest.fixture(scope="session")
def bars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write bars of five symbols for a Monday, 180 minutes from 09:00."""
    folder = tmp_path_factory.mktemp("bars")
    return write_market(folder, symbols=("A", "B", "C", "D", "E"), days=[MONDAY], open_time=time(9), minutes=180)


TRADING_STRATEGY = {
    "SIGNALS__STRATEGIES": json.dumps(
        [
            *(entry.model_dump(mode="json") for entry in pinned_settings().signals.strategies),
            {"name": f"{every_action.__file__}:EveryAction"},
        ]
    )
}
"""Settings as environment variables: a trading strategy beside the view strategy of the pinned settings."""
_shared_platform = ExitStack()
DASHBOARD_SETTINGS = """
market_data:
  simulator:
    market: choppy  # many trades
risk_manager:
  circuit_breaker_threshold: 0.05
feedback:
  attribution_interval_s: 5
signals:
  ensemble:
    enabled: true
"""


@pytest.fixture(scope="session")
def layout_options(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The layout of the platforms that several modules share.

    In `compact`, a platform at rest takes less than half of the processor time of one process for each service. The
    long form uses these.
    """
    return "--layout", "services" if request.config.getoption("--long") else "compact"


@pytest.fixture(scope="session")
def simulator_platform(tmp_path_factory: pytest.TempPathFactory, layout_options: tuple[str, str]) -> CliPlatform:
    """A platform started by `cli.py start` with the simulator of five symbols.

    Several modules use it, in the order of their names. `test_operations` runs before any user logs in.
    """
    home = tmp_path_factory.mktemp("simulator") / "home"
    return _shared_platform.enter_context(started_platform(home, *layout_options))


@pytest.fixture(scope="session")
def services_platform(tmp_path_factory: pytest.TempPathFactory) -> CliPlatform:
    """A platform with the simulator and a process for each service. `test_state_guards` stops it at its end."""
    return _shared_platform.enter_context(started_platform(tmp_path_factory.mktemp("services") / "home"))


@pytest.fixture(scope="session")
def broker_platform(tmp_path_factory: pytest.TempPathFactory, layout_options: tuple[str, str]) -> BrokerPlatform:
    """A platform on the local broker, on which only the tests trade."""
    home = tmp_path_factory.mktemp("broker") / "home"
    return _shared_platform.enter_context(started_broker_platform(home, *layout_options))


class Dashboard(NamedTuple):
    """A platform with its dashboard, a browser, and a tab of the user admin, who has replaced the one-time password."""

    platform: CliPlatform
    chromium: Browser
    admin: DashboardTab

    @property
    def url(self) -> str:
        return dashboard_url(self.platform)


def dashboard_url(platform: CliPlatform) -> str:
    return f"http://localhost:{platform.ports.dashboard}"


@pytest.fixture
def dashboard(running_dashboard: Dashboard) -> Iterator[Dashboard]:
    """The shared dashboard. A dialog that a failed test leaves open would cover the page for all later tests."""
    yield running_dashboard
    tab = running_dashboard.admin
    if tab.page.locator("dialog[open]").count() > 0:
        tab.page.reload()
        tab.wait_until_live()


@pytest.fixture(scope="session")
def running_dashboard(tmp_path_factory: pytest.TempPathFactory) -> Dashboard:
    """The browser opens first, so that the platform does not start if the browser is missing."""
    chromium = _shared_platform.enter_context(open_browser())
    folder = tmp_path_factory.mktemp("dashboard")
    (folder / "settings.yaml").write_text(DASHBOARD_SETTINGS)
    platform = CliPlatform(folder / "home")
    platform.environment["PLATFORM_DASHBOARD"] = "on"
    _shared_platform.callback(platform.discard)
    # All pages show the same in both layouts; one process for all stages leaves the processors to other tests.
    started = platform.run("start", "--layout", "compact", "--settings", str(folder / "settings.yaml"))
    assert dashboard_url(platform) in started
    one_time_password = (platform.home.secrets / "admin-password").read_text().strip()
    tab = DashboardTab(chromium, dashboard_url(platform))
    _shared_platform.callback(tab.close)
    tab.log_in("admin", "not the password")
    expect(tab.page.get_by_role("alert")).to_contain_text("Wrong username or password")
    tab.log_in("admin", one_time_password)
    tab.change_password(one_time_password)
    tab.wait_until_live()
    return Dashboard(platform, chromium, tab)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop a shared platform after the last test that uses it, so that it takes no CPU time from other tests."""
    if shared_platform(item) != shared_platform(nextitem):
        _shared_platform.close()


def pytest_sessionfinish() -> None:
    """Stop a shared platform also after Ctrl-C, when the tests that would stop it do not run any more."""
    _shared_platform.close()


@pytest.fixture(scope="session")
def fused_decision_hash(bars: list[Path]) -> str:
    """The decision hash of the fused backtest on the files of `bars`."""
    file_feed = {"MARKET_DATA__FEED": "files"}
    settings = load_settings(SETTINGS_FILE, environment=TRADING_STRATEGY | file_feed)
    return fused_hash(read_time_slices(bars), settings=settings)


@pytest.fixture(scope="session")
def make_platform(
    kafka: str,
    redis_url: str,
    make_database: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
    bars: list[Path],
) -> MakePlatform:
    """A function that makes a platform with its own topics, tables and recovery stores.

    It takes the options of `ProcessPlatform`. Without `overrides`, a trading strategy runs beside the view strategy.
    """

    def make(files: list[Path] | None = None, **options: object) -> ProcessPlatform:
        # These runs use their own Redis database, so that other tests do not read or overwrite the latest values.
        servers = Servers(kafka, make_database(), redis_url.rsplit("/", 1)[0] + "/9")
        options.setdefault("overrides", TRADING_STRATEGY)
        return ProcessPlatform(tmp_path_factory.mktemp("platform"), servers, files or bars, **options)  # type: ignore[arg-type]

    return make


def assert_same(actual: RunResult, expected: RunResult) -> None:
    """Compare topics first, then tables. The failure message names the first difference."""
    for topic, records in expected.topics.items():
        assert actual.topics[topic] == records, topic
    assert_same_tables(actual.tables, expected.tables)
    assert actual.decision_hash == expected.decision_hash


def assert_same_tables(actual: TableRows, expected: TableRows, *ignored_tables: str) -> None:
    """Compare the rows of all tables except `ignored_tables`, ignoring their order."""
    for table in expected.keys() - set(ignored_tables):
        missing, extra = (
            Counter(expected[table]) - Counter(actual[table]),
            Counter(actual[table]) - Counter(expected[table]),
        )
        assert not missing and not extra, f"{table}: missing {list(missing)[:3]}, too many {list(extra)[:3]}"


@pytest.fixture(scope="session")
def uninterrupted(make_platform: MakePlatform) -> RunResult:
    with make_platform() as platform:
        platform.start()
        platform.run_to_end()
        return read_result(platform)

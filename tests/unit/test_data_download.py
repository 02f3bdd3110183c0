"""`data download` from local servers that speak the protocols of Alpaca and Polygon."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from configs.settings import LiveFeedSection
from dataflows.research import load_bars
from dataflows.research.download import BarDownload
from dataflows.sources.catalog.bar_catalog import BarCatalog, catalog_folder
from dataflows.sources.market.alpaca import AlpacaHistory, AlpacaOptions
from dataflows.sources.market.bar_history import HistoricalBars, retry_after_s
from dataflows.sources.market.polygon import PolygonHistory, PolygonOptions
from deploy.alpaca_server.market import BarRow
from deploy.cli import app, register_all
from deploy.home import REPOSITORY
from schemas.errors import BadInput, Unavailable
from tests.unit.alpaca_broker import local_broker
from tests.unit.polygon_server import PolygonServer

MINUTE_NS = 60_000_000_000
START, END = "2024-01-30", "2024-03-02"
DAYS = ("2024-01-30", "2024-01-31", "2024-02-01", "2024-02-02", "2024-03-01")


def time_ns(text: str) -> int:
    return int(pd.Timestamp(text, tz="UTC").as_unit("ns").value)


def opens(day: str, count: int = 5) -> list[int]:
    """Return the opens of the first minutes of a regular session."""
    first = int(pd.Timestamp(f"{day} 09:30", tz="America/New_York").as_unit("ns").value)
    return [first + number * MINUTE_NS for number in range(count)]


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BarCatalog:
    monkeypatch.setenv("PLATFORM_HOME", str(tmp_path))
    return BarCatalog(catalog_folder())


@pytest.fixture
def server() -> Iterator[PolygonServer]:
    with PolygonServer() as running:
        for day in DAYS:
            for number, open_ns in enumerate(opens(day)):
                running.add_bar("SPY", open_ns, (10.0, 16.0, 9.0, 11.0 + number), 500)
        yield running


def polygon(server: PolygonServer) -> PolygonHistory:
    return PolygonHistory(PolygonOptions(key=server.key, live=LiveFeedSection(), rest_url=server.rest_url))


def download(catalog: BarCatalog, history: HistoricalBars, **options: Any) -> BarDownload:
    return BarDownload(catalog, history, "polygon", options.pop("interval_s", 60), **options)


def run_command(*arguments: str) -> Result:
    register_all()
    return CliRunner().invoke(app, ["data", "download", *arguments])


def test_a_download_stores_all_pages_and_repeats_no_request(catalog: BarCatalog, server: PolygonServer) -> None:
    server.page_size = 3
    done = download(catalog, polygon(server)).run("SPY", time_ns(START), time_ns(END))
    assert (done.added, done.requests) == ((25, 0, 0), 3)
    assert done.gaps == "18 sessions have no bar, the first one 2024-02-05"
    bars = load_bars("catalog:SPY")
    assert list(bars["close"]) == [11.0, 12.0, 13.0, 14.0, 15.0] * len(DAYS)
    assert bars["time"].iloc[0] == pd.Timestamp("2024-01-30T14:30Z")
    requests = len(server.requests)
    again = download(catalog, polygon(server)).run("SPY", time_ns(START), time_ns(END))
    assert (again.added, again.requests, len(server.requests)) == ((0, 0, 0), 0, requests)
    longer = download(catalog, polygon(server)).run("SPY", time_ns("2024-01-29"), time_ns("2024-03-03"))
    assert longer.requests == 2 and longer.added == (0, 0, 0), "only the days before and after are requested"


def test_a_limit_of_requests_is_respected(catalog: BarCatalog, server: PolygonServer) -> None:
    server.throttles_left = 2
    waits: list[tuple[str, float]] = []
    slept: list[float] = []
    one = download(
        catalog, polygon(server), on_wait=lambda *wait: waits.append(wait), sleep=slept.append, requests_per_minute=30
    )
    assert one.run("SPY", time_ns(START), time_ns(END)).added.new == 25
    reason = "Polygon responded with status 429: You've exceeded the maximum requests per minute"
    assert waits == [(reason, 7.0)] * 2
    assert slept == [7.0, 2.0, 7.0, 2.0, 2.0, 2.0], "Retry-After, and two seconds between requests"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("half_pages_left", "Polygon returned an incomplete page: 5 of 10 bars"),
        ("cut_bodies_left", "Polygon returned an incomplete or malformed response, without a list of bars"),
        ("failures_left", "Polygon responded with status 500"),
        ("throttles_left", "Polygon responded with status 429: You've exceeded the maximum requests per minute"),
    ],
)
def test_a_failure_is_one_sentence_and_the_download_continues_there(
    catalog: BarCatalog, server: PolygonServer, fault: str, message: str
) -> None:
    one = download(catalog, polygon(server), sleep=lambda _: None)
    one.run("SPY", time_ns(START), time_ns("2024-02-01"))
    setattr(server, fault, 100)
    with pytest.raises(Unavailable) as error:
        one.run("SPY", time_ns(START), time_ns(END))
    assert (
        str(error.value)
        == f"{message}; the download stopped at SPY 2024-02, and continues there when you start it again"
    )
    assert [(month.month, month.rows) for month in catalog.months("1m", "SPY")] == [("2024-01", 10)]
    setattr(server, fault, 1)
    assert one.run("SPY", time_ns(START), time_ns(END)).added == (15, 0, 0), "one failure is repaired by a retry"


def test_an_unknown_symbol_and_a_malformed_bar_store_nothing(catalog: BarCatalog, server: PolygonServer) -> None:
    one = download(catalog, polygon(server), sleep=lambda _: None)
    with pytest.raises(BadInput, match=r"^polygon has no bars of 1m of symbol 'SPYY' in this period; check"):
        one.run("SPYY", time_ns(START), time_ns(END))
    server.add_bar("BAD", opens(DAYS[0])[0], (10.0, 9.0, 12.0, 11.0), 500)
    with pytest.raises(Unavailable, match=r"^Polygon returned a malformed bar of BAD: a bar of BAD needs 0 < l"):
        one.run("BAD", time_ns(START), time_ns(END))
    server.add_bar("ODD", opens(DAYS[0])[0] + 1_000_000_000, (10.0, 12.0, 9.0, 11.0), 500)
    with pytest.raises(Unavailable, match=r"^polygon returned bars of ODD in 2024-01 that are not bars of 1m; nothing"):
        one.run("ODD", time_ns(START), time_ns(END))
    assert catalog.series() == []
    with pytest.raises(BadInput, match=r"^--interval must be 1m, 5m, 15m, 30m or 1d, found 1h: hourly bars of prov"):
        download(catalog, polygon(server), interval_s=3600)


def test_retry_after_is_a_number_of_seconds_or_a_date() -> None:
    def wait_s(text: str) -> float | None:
        return retry_after_s({"Retry-After": text}, lambda: datetime(2024, 3, 7, 14, 30, tzinfo=UTC))

    assert (wait_s("7"), wait_s("Thu, 07 Mar 2024 14:30:09 GMT"), wait_s("Thu, 07 Mar 2024 14:29:00 GMT")) == (7, 9, 0)
    assert wait_s("soon") is None and wait_s("99999999999") == 900, "a server cannot stop a download for days"


def test_daily_bars_open_with_their_session(catalog: BarCatalog, server: PolygonServer) -> None:
    for day in DAYS:
        midnight = int(pd.Timestamp(day, tz="America/New_York").as_unit("ns").value)
        server.add_bar("SPY", midnight, (10.0, 12.0, 9.0, 11.0), 500, span="day")
    done = download(catalog, polygon(server), interval_s=86_400).run("SPY", time_ns(START), time_ns(END))
    assert done.added.new == len(DAYS)
    bars = load_bars("catalog:SPY")
    assert list(bars["time"]) == [pd.Timestamp(opens(day)[0], tz="UTC") for day in DAYS]


def test_alpaca_pages_limits_and_errors(catalog: BarCatalog) -> None:
    first = opens("2024-03-07")[0]
    with local_broker("BTC/USD", requests_per_minute=1_000) as broker:
        options = AlpacaOptions(key="local", secret="local", live=LiveFeedSection(), crypto=True, url=broker.url)
        for number in range(10_001):
            row = BarRow(
                symbol="BTC/USD", open_ns=first + number * MINUTE_NS, open=1.0, high=2.0, low=1.0, close=1.5, volume=1.0
            )
            broker.broker.market.record(row)
        one = BarDownload(catalog, AlpacaHistory(options), "alpaca crypto", 60, "24/7", sleep=lambda _: None)
        done = one.run("BTC/USD", time_ns("2024-03-01"), time_ns("2024-04-01"))
        assert done.added == (10_001, 0, 0) and done.gaps == ""
        wrong = AlpacaHistory(AlpacaOptions(key="wrong", secret="local", live=LiveFeedSection(), url=broker.url))
        with pytest.raises(Unavailable, match=r"^Alpaca responded with status 403: forbidden\.; the download stopped"):
            BarDownload(catalog, wrong, "alpaca iex", 60, sleep=lambda _: None).run(
                "AAPL", time_ns(START), time_ns(END)
            )
    waits: list[float] = []
    with local_broker("BTC/USD", requests_per_minute=1) as limited:
        options = AlpacaOptions(key="local", secret="local", live=LiveFeedSection(), crypto=True, url=limited.url)
        one = BarDownload(
            catalog,
            AlpacaHistory(options),
            "alpaca crypto",
            60,
            "24/7",
            on_wait=lambda reason, seconds: waits.append(seconds),
            sleep=lambda _: None,
        )
        with pytest.raises(Unavailable, match=r"^Alpaca responded with status 429: too many requests\.; the download"):
            one.run("BTC/USD", time_ns("2024-03-01"), time_ns("2024-06-01"))
    assert set(waits) == {1.0}, "the server's Retry-After"


def test_the_command_downloads_with_the_keys_of_the_settings(
    catalog: BarCatalog, server: PolygonServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYGON_API_KEY", server.key)
    monkeypatch.setenv("POLYGON__REST_URL", server.rest_url)
    arguments = ("SPY", "--provider", "polygon", "--from", START, "--to", "2024-02-03")
    done = run_command(*arguments)
    assert (done.exit_code, done.output) == (0, "SPY, bars of 1m: 20 new, 0 changed, 0 known\n")
    assert run_command(*arguments).output == "SPY, bars of 1m: 0 new, 0 changed, 0 known\n"
    gaps = run_command("SPY", "--provider", "polygon", "--from", START, "--to", END)
    assert gaps.exit_code == 1 and "warning: SPY: 18 sessions have no bar, the first one 2024-02-05" in gaps.output
    with pytest.raises(BadInput, match=r"^--provider must be alpaca or polygon, found 'alpacca'; did you"):
        CliRunner().invoke(
            app, ["data", "download", "SPY", "--provider", "alpacca", "--from", START], catch_exceptions=False
        )


KILLED = """
import sys
from configs.settings import LiveFeedSection
from dataflows.research.download import BarDownload
from dataflows.sources.catalog.bar_catalog import BarCatalog, catalog_folder
from dataflows.sources.market.polygon import PolygonHistory, PolygonOptions
def report(period):
    print(period.symbol, flush=True)
    sys.stdin.readline()
url, key, start, end = sys.argv[1:]
history = PolygonHistory(PolygonOptions(key=key, live=LiveFeedSection(), rest_url=url))
BarDownload(BarCatalog(catalog_folder()), history, "polygon", 60, on_period=report).run("SPY", int(start), int(end))
"""


def test_a_killed_download_loses_and_repeats_nothing(catalog: BarCatalog, server: PolygonServer) -> None:
    period = (time_ns(START), time_ns(END))
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, server.rest_url, server.key, *map(str, period)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "SPY\n"
        process.kill()
    assert [month.month for month in catalog.months("1m", "SPY")] == ["2024-01"]
    done = download(catalog, polygon(server)).run("SPY", *period)
    assert (done.requests, done.added) == (2, (15, 0, 0))
    assert len(load_bars("catalog:SPY")) == 25

"""Settings of live feeds: valid combinations, the order of the providers, and the update frequency."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from configs.settings import load_settings
from dataflows.runtime import stages
from dataflows.sources.market.alpaca import AlpacaSocketProvider
from dataflows.sources.market.live_feed_setup import live_feed_opener
from dataflows.sources.market.polygon import PolygonSocketProvider
from dataflows.sources.market.provider import RowsBySymbol
from dataflows.sources.market.rest_provider import RestBarsProvider
from dataflows.sources.trading_calendar import TradingCalendar
from schemas.errors import BadInput

MINUTE_NS = 60 * 10**9


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MARKET_DATA__FEED": "yahoo"}, "'simulator', 'files', 'live', 'alpaca' or 'polygon', found 'yahoo'"),
        ({"MARKET_DATA__FEED": "live"}, "feed live requires market_data.providers, found none"),
        ({"MARKET_DATA__PROVIDERS": "[polygon, iex]"}, "'polygon', 'polygon_rest', .* found 'iex'"),
        ({"MARKET_DATA__PROVIDERS": "[polygon, polygon]"}, "providers must be unique, found polygon, polygon"),
        (
            {"MARKET_DATA__FEED": "polygon", "MARKET_DATA__ALPACA__ASSET_CLASS": "crypto"},
            "polygon and polygon_rest have only stocks",
        ),
        (
            {"MARKET_DATA__FEED": "polygon", "MARKET_DATA__LIVE__BAR_INTERVAL_S": "5"},
            "Polygon has only bars of 1 or 60 s, found bar_interval_s 5",
        ),
        ({"MARKET_DATA__UPDATE_FREQUENCY": "often"}, "must be a duration such as .* found 'often'"),
        ({"MARKET_DATA__UPDATE_FREQUENCY": "0s"}, "market_data.update_frequency in .*: .* greater than or equal to 1"),
        ({"POLYGON__REST_URL": "api.massive.com"}, "polygon.rest_url in .*: .* found 'api.massive.com'"),
        (
            {
                "TRADING_MODE": "live",
                "EXECUTION__BROKER": "alpaca",
                "MARKET_DATA__FEED": "polygon",
                "POLYGON__STREAM_URL": "wss://massive.com.elsewhere.invalid/stocks",
            },
            "polygon.stream_url must be an encrypted URL of Polygon",
        ),
        (
            {
                "EXECUTION__BROKER": "alpaca",
                "MARKET_DATA__FEED": "live",
                "MARKET_DATA__PROVIDERS": "[polygon, simulator]",
            },
            "does not allow the simulator's prices",
        ),
        ({"TRADING_MODE": "live"}, "requires execution.broker: alpaca"),
        ({"EXECUTION__BROKER": "alpaca"}, "does not allow the simulator's prices"),
        (
            {"TRADING_MODE": "live", "EXECUTION__BROKER": "alpaca", "MARKET_DATA__FEED": "alpaca"},
            "start --live-account NUMBER",
        ),
        (
            {
                "TRADING_MODE": "live",
                "EXECUTION__BROKER": "alpaca",
                "MARKET_DATA__FEED": "alpaca",
                "ALPACA__URL": "http://127.0.0.1:8090",
            },
            "does not allow alpaca.url",
        ),
        ({"EXECUTION__LIVE_ACCOUNT": "'123'"}, "execution.live_account requires TRADING_MODE=live"),
    ],
)
def test_invalid_combination_gives_a_one_line_error(variables: dict[str, str], message: str) -> None:
    with pytest.raises(BadInput, match=message) as error:
        load_settings(environment=variables)
    assert "\n" not in str(error.value)


def test_brief_providers_and_update_frequency_configure_the_feed(tmp_path: Path) -> None:
    """The settings have the format of the product brief. The live feed uses them."""
    file = tmp_path / "services.yaml"
    file.write_text('market_data:\n  providers:\n    - polygon\n    - alpaca\n  update_frequency: "1s"\n')
    assert load_settings(file, {}).market_data.live_providers() == (), "the simulator sends no request"
    keys = {"POLYGON_API_KEY": "a-key-of-polygon", "ALPACA_API_KEY": "a-key", "ALPACA_SECRET_KEY": "a-secret"}
    settings = load_settings(file, {"MARKET_DATA__FEED": "live", **keys})
    assert settings.market_data.live_providers() == ("polygon", "alpaca")
    assert settings.market_data.update_frequency == 1
    feed = live_feed_opener(settings)()
    assert [type(one) for one in feed._providers] == [PolygonSocketProvider, AlpacaSocketProvider]
    assert "a-key-of-polygon" not in repr(settings)
    expected = {"POLYGON_API_KEY": "Polygon requires POLYGON_API_KEY", "ALPACA_API_KEY": "Alpaca requires"}
    for missing, message in expected.items():
        incomplete_keys = {name: value for name, value in keys.items() if name != missing}
        with pytest.raises(BadInput, match=message):
            live_feed_opener(load_settings(file, {"MARKET_DATA__FEED": "live", **incomplete_keys}))


@pytest.mark.parametrize(
    ("feed", "providers"),
    [
        ("simulator", ()),
        ("files", ()),
        ("alpaca", ("alpaca", "alpaca_rest")),
        ("polygon", ("polygon", "polygon_rest")),
    ],
)
def test_single_provider_feed_uses_its_socket_then_requests(feed: str, providers: tuple[str, ...]) -> None:
    assert load_settings(environment={"MARKET_DATA__FEED": feed}).market_data.live_providers() == providers


def test_request_providers_are_polled_at_the_update_frequency() -> None:
    now_s = 0.0
    request_times: list[float] = []

    def history(first_open_ns: int, end_ns: int) -> dict[int, RowsBySymbol]:
        request_times.append(now_s)
        return {}

    update_interval_s = load_settings(environment={"MARKET_DATA__UPDATE_FREQUENCY": "2s"}).market_data.update_frequency
    provider = RestBarsProvider("test", history, update_interval_s, monotonic_s=lambda: now_s)
    minute = next(TradingCalendar("24/7").minutes(0, MINUTE_NS))
    for step in range(13):
        now_s = step / 2
        provider.rows(minute)
        for thread in threading.enumerate():
            if thread.name == "test-bars":
                thread.join()
    assert request_times == [0.0, 2.0, 4.0, 6.0]


def test_the_live_feed_has_the_symbols_that_trading_strategies_declare() -> None:
    """A strategy with a rule for its universe declares the candidates."""
    settings = load_settings(
        environment={
            "MARKET_DATA__FEED": "live",
            "MARKET_DATA__PROVIDERS": "[simulator]",
            "MARKET_DATA__LIVE__SYMBOLS": "[SPY]",
            "SIGNALS__STRATEGIES": '[{"name": "macd_trend", "parameters": {"symbols": ["SPY", "QQQ", "DIA"]}}]',
        }
    )
    feed = live_feed_opener(settings)()
    assert feed._settings.symbols == ("SPY", "DIA", "QQQ")


def test_the_live_feed_has_the_benchmarks_of_correlations_and_betas(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        "from operators.strategies import TradingStrategy\n\n\n"
        "class Own(TradingStrategy):\n"
        '    symbols, features = ("KO",), {"1m": ("beta_60(SPY)",), "5m": ("sma_3", "correlation_9(DIA)")}\n'
    )
    settings = load_settings(
        environment={
            "MARKET_DATA__FEED": "live",
            "MARKET_DATA__PROVIDERS": "[simulator]",
            "MARKET_DATA__LIVE__SYMBOLS": "[PEP]",
            "SIGNALS__STRATEGIES": f'[{{"name": "{file}:Own"}}]',
        }
    )
    assert live_feed_opener(settings)()._settings.symbols == ("PEP", "DIA", "KO", "SPY")


def test_the_live_feed_has_the_present_and_future_members_of_universe_files(tmp_path: Path) -> None:
    universe = tmp_path / "universe.csv"
    universe.write_text("symbol,from,to\nDIA,,\nGONE,,2020-12-31\nNEXT,2250-01-01,\n")
    strategies = f'[{{"name": "macd_trend", "universe": "{universe}"}}]'
    variables = {
        "MARKET_DATA__FEED": "live",
        "MARKET_DATA__PROVIDERS": "[simulator]",
        "MARKET_DATA__LIVE__SYMBOLS": "[SPY]",
        "SIGNALS__STRATEGIES": strategies,
    }
    feed = live_feed_opener(load_settings(environment=variables))()
    assert feed._settings.symbols == ("SPY", "DIA", "NEXT")


@pytest.mark.parametrize(("parameters", "subscribed"), [('{"bar_source": "trades"}', True), ("{}", False)])
def test_the_live_feed_subscribes_to_trades_if_a_strategy_declares_bars_of_them(
    parameters: str, subscribed: bool, tmp_path: Path
) -> None:
    file = tmp_path / "flow.py"
    file.write_text(
        "from operators.strategies import TradingStrategy\n\n\n"
        "class Flow(TradingStrategy):\n"
        '    symbols, history = ("SPY",), {"1e4v": 5}\n\n'
        '    def __init__(self, *, bar_source="bars"):\n'
        "        self.bar_source = bar_source\n"
    )
    variables = {
        "MARKET_DATA__FEED": "polygon",
        "POLYGON_API_KEY": "not-a-key",
        "SIGNALS__STRATEGIES": f'[{{"name": "{file}:Flow", "parameters": {parameters}}}]',
    }
    settings = load_settings(environment=variables)
    assert live_feed_opener(settings)()._settings.trades is subscribed
    assert ("market-trades" in stages.unread_topics(settings)) is not subscribed
    rest = load_settings(environment={**variables, "MARKET_DATA__PROVIDERS": "[polygon_rest]"})
    if subscribed:
        with pytest.raises(BadInput, match="strategy flow: bars of 1e4v need trades, which this feed does not have"):
            stages.unread_topics(rest)

"""A tape on which every strategy of the platform trades: the sample bars of the tutorials, headlines and filings.

The tape is the end of a session, the night, and the beginning of the next session. The four days before are the history
that warms up indicators and strategies. All strategies run together, each with its own share of the capital. A small
registered model makes the forecasts.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterable
from decimal import Decimal
from math import exp, sin
from pathlib import Path
from runpy import run_path
from typing import Any, NamedTuple

from configs.model_registry import ModelRegistry
from configs.settings import Settings, load_settings
from dataflows.research import training
from dataflows.sources.feed_selection import platform_feed
from deploy.home import REPOSITORY
from operators.features import FeatureStage
from operators.stage import TimeSlice
from operators.strategies import STRATEGIES
from schemas.records import Attribution, FeatureRow, Record
from tests.builders import bar

TUTORIALS = REPOSITORY / "docs" / "tutorials"
SYMBOLS = ("AAPL", "MSFT")
START, END = "2024-03-07T19:30:00Z", "2024-03-08T16:00:00Z"
TREES = 3
"""So few, because every process of `predictions` loads the model, and the tests restart it hundreds of times."""
PARAMETERS: dict[str, dict[str, Any]] = {
    "bollinger_reversion": {"interval": "1m"},
    "buy_and_hold": {},
    "donchian_turtle": {"interval": "1m"},
    "ema_cross": {},
    "fundamental_value": {"pe_max": 15, "pe_exit": 15.1},
    "model": {"cost_bps": 0, "probability_min": 0.5, "drift_max": 1},
    "moving_average_ribbon": {"interval": "1m", "periods": [3, 5, 8, 12]},
    "pairs_reversion": {"symbols": list(SYMBOLS), "period": 60},
    "sentiment": {"half_life_s": 900},
}
"""Parameters with which strategies trade within three hours. Those of the others are the tutorials'."""
SETTINGS: dict[str, Any] = {
    "portfolio_manager": {
        "max_position_percentage": 1,
        "allow_short": True,
        "sizing": {"method": "fixed_fraction", "fraction": 0.5},
    },
    "risk_manager": dict.fromkeys(
        ("max_order_notional", "max_position", "max_position_size", "max_daily_loss", "circuit_breaker_threshold"),
        "unlimited",
    ),
    "feedback": {"attribution_interval_s": 3600},
}


class ShippedStrategiesTape(NamedTuple):
    """The files of the tape, the settings, and the same settings as environment variables."""

    bars: list[Path]
    settings_file: Path
    environment: dict[str, str]

    def settings(self) -> Settings:
        """Return the settings of a backtest of the tape."""
        return load_settings(self.settings_file, environment=self.environment).for_backtest()


def parameters() -> dict[str, dict[str, Any]]:
    """Return the parameters of each strategy by name. A new strategy without parameters here fails the test."""
    found = run_path(str(TUTORIALS / "run_strategies.py"))["PARAMETERS"] | PARAMETERS
    missing = STRATEGIES.keys() - found.keys()
    assert not missing, f"without parameters in PARAMETERS or docs/tutorials/run_strategies.py: {sorted(missing)}"
    return {name: found[name] for name in STRATEGIES}


def write_tape(folder: Path) -> ShippedStrategiesTape:
    """Write the files of the tape, the settings and a registered model. Equal calls result in equal bytes."""
    command = [sys.executable, str(TUTORIALS / "make_bars.py")]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    bars = [folder / "bars" / f"{symbol}.csv" for symbol in SYMBOLS]
    news, filings, settings_file = folder / "news.jsonl", folder / "filings.csv", folder / "settings.yaml"
    news.write_text("".join(json.dumps(row) + "\n" for row in _headlines()))
    filings.write_text(_filings(bars))
    capital = round(Decimal("0.99") / len(STRATEGIES), 3)
    entries = [{"name": name, "parameters": values, "capital": str(capital)} for name, values in parameters().items()]
    settings_file.write_text(json.dumps({**SETTINGS, "signals": {"strategies": entries}}))  # JSON is YAML
    files = {"start": START, "end": END, "news": [str(news)], "fundamentals": [str(filings)]}
    environment = {
        "MARKET_DATA__FEED": "files",
        "MARKET_DATA__FILES__PATHS": json.dumps([str(path) for path in bars]),
        **{f"MARKET_DATA__FILES__{name.upper()}": json.dumps(value) for name, value in files.items()},
        "PREDICTIONS__REGISTRY": str(_register_model(folder / "models")),
    }
    return ShippedStrategiesTape(bars, settings_file, environment)


def read_time_slices(settings: Settings) -> list[TimeSlice]:
    """Return the time slices that `market_data` writes for the tape, the first one with the history."""
    feed = platform_feed(settings).open_feed()
    time_slices: list[TimeSlice] = []
    while not feed.finished:
        time_slices += feed.take(64)
    return time_slices


def trade_counts(records: Iterable[Record]) -> dict[str, int]:
    """Return the number of trades of each strategy by the last attribution."""
    return {record.strategy: record.trades for record in records if type(record) is Attribution}


def _headlines() -> list[dict[str, Any]]:
    """Return a clearly good or bad headline every ten minutes, for the symbols in turn."""
    texts = ("Great growth, strong profit", "Terrible loss, weak outlook", "Excellent results beat all estimates")
    times = [f"{START[:11]}19:{minute}:30Z" for minute in (31, 41, 51)]
    times += [f"{END[:11]}{hour}:{minute}:30Z" for hour in (14, 15) for minute in (31, 41, 51)]
    return [
        {"time": time, "headline": f"{texts[number % 3]} ({number})", "symbols": [SYMBOLS[number % 2]]}
        for number, time in enumerate(times)
    ]


def _filings(bars: list[Path]) -> str:
    """Return a filing for each symbol: a sound company whose price at the start is 15 times its earnings."""
    rows = ["symbol,filed,period_end,net_income,eps,shares,equity"]
    for path in bars:
        closes = [line.split(",") for line in path.read_text().splitlines() if line.startswith(START[:10])]
        price = float(closes[0][4])
        rows.append(f"{path.stem},20240306,20231231,{price / 15 * 1000},{price / 15},1000,{price * 500}")
    return "\n".join(rows) + "\n"


def _register_model(folder: Path) -> Path:
    """Train a small model on oscillating prices of another market, register and activate it. Return the registry."""
    rng, features, minute_ns = random.Random(1), ("ema_5", "rsi_5", "roc_3"), 60 * 10**9
    stage, rows = FeatureStage(features), list[FeatureRow]()
    for seq in range(1, 601):
        close = round(100 * exp(0.01 * sin(seq / 6) + rng.gauss(0, 0.001)), 2)
        records = stage.on_slice(seq * minute_ns, [bar("MODEL", seq, seq * minute_ns, close, volume=9.0)])
        rows += [row for row in records if type(row) is FeatureRow]
    result = training.train(rows, features, horizon_bars=3, folds=2, trees=TREES)
    registry = ModelRegistry(folder)
    registry.activate(registry.register(result.model_bytes, result.card).sha256, force=True)
    return folder

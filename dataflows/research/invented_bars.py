"""Invented daily bars to learn and to test with: a market with an edge in it, and one without."""

from __future__ import annotations

import random
from pathlib import Path

import pandas as pd

from dataflows.research.loaded_bars import BAR_COLUMNS
from dataflows.sources.trading_calendar import TradingCalendar
from schemas.errors import BadInput
from schemas.suggestions import did_you_mean

SAMPLE_MARKETS = {"pullback": 0.2, "noise": 0.0}
"""The part of a day's move that the next day takes back, by market."""
SAMPLE_SYMBOLS = ("AMBER", "BIRCH", "CEDAR", "DELTA", "EMBER", "FJORD")
_START, _END = pd.Timestamp("2021-01-01", tz="UTC"), pd.Timestamp("2024-01-01", tz="UTC")
_SEED = 5
_DAILY_MOVE = 0.012


def sample_bars(market: str = "pullback") -> pd.DataFrame:
    """Return three years of invented daily bars of six symbols, with the columns of `load_bars`. Needs no network.

    In the market "pullback", each day takes back a fifth of the move of the day before, so that buying after a fall
    has an edge. In the market "noise", prices are random walks: no strategy can have an edge. The bars are the same on
    each call. Raises BadInput for another market.

        from dataflows.research import backtest, sample_bars
        backtest("ema_cross", sample_bars("noise"))
    """
    if market not in SAMPLE_MARKETS:
        known = ", ".join(SAMPLE_MARKETS)
        raise BadInput(f"market must be one of {known}, found {market!r}{did_you_mean(market, SAMPLE_MARKETS)}")
    generator = random.Random(f"{_SEED} {market}")  # noqa: S311 - invented data, not a secret
    sessions = TradingCalendar("XNYS").regular_sessions(_START.value, _END.value)
    rows = []
    for symbol in SAMPLE_SYMBOLS:
        price, move = 100.0, 0.0
        for session in sessions:
            move = generator.gauss(0, _DAILY_MOVE) - SAMPLE_MARKETS[market] * move
            last_price, price = price, price * (1 + move)
            prices = (last_price, max(last_price, price) * 1.002, min(last_price, price) * 0.998, price)
            volume = float(generator.randint(500, 1500) * 1000)
            rows.append((session.start_ns, symbol, *(round(value, 2) for value in prices), volume))
    frame = pd.DataFrame.from_records(rows, columns=list(BAR_COLUMNS))
    frame["time"] = pd.to_datetime(frame["time"], unit="ns", utc=True)
    return frame.sort_values(["time", "symbol"], ignore_index=True)


def write_sample_files(folder: Path) -> list[str]:
    """Write the bars of each market into a folder of its own, one CSV file per symbol. Return a line for each market.

    Existing files of these names are replaced. Raises BadInput if a file cannot be written.
    """
    lines = []
    for market in SAMPLE_MARKETS:
        frame = sample_bars(market)
        try:
            (folder / market).mkdir(parents=True, exist_ok=True)
            for symbol, bars in frame.groupby("symbol"):
                days = bars["time"].dt.strftime("%Y-%m-%d")
                dated = bars.assign(date=days, volume=bars["volume"].astype("int64"))
                columns = ["date", *BAR_COLUMNS[2:]]
                dated[columns].to_csv(folder / market / f"{symbol}.csv", index=False, float_format="%.2f")
        except OSError as error:
            raise BadInput(f"cannot write the sample bars into {folder / market}: {error.strerror or error}") from error
        count = frame["time"].nunique()
        lines.append(f"{folder / market}: {len(frame):,} daily bars of {len(SAMPLE_SYMBOLS)} symbols on {count} days")
    return lines

"""Write the fixed tape: bar files of a seeded market, on a Monday of the New York exchange from the open."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from dataflows.sources.simulator import CHOPPY, Simulator
from schemas.records import Bar

SYMBOLS = ("AAPL", "AMZN", "GOOG", "META", "MSFT", "NVDA", "SPY", "TSLA")
OPENING = datetime(2024, 3, 11, 13, 30, tzinfo=UTC)
MINUTES_MAX = 390
_HEADER = "ts_open_utc,symbol,open,high,low,close,volume"


def write_tape(folder: Path, seed: int, minutes: int) -> list[Path]:
    """Write one CSV file per symbol. Equal arguments result in equal bytes. Minutes without a trade have no row."""
    assert 0 < minutes <= MINUTES_MAX, f"minutes must be within one trading day (1 to {MINUTES_MAX}), found {minutes}"
    folder.mkdir(parents=True)
    start_ns = int(OPENING.timestamp()) * 1_000_000_000
    simulator = Simulator(
        SYMBOLS, seed, interval_s=60, waves=CHOPPY, start_ns=start_ns, end_after_slices=minutes, fast=True
    )
    rows: dict[str, list[str]] = {symbol: [] for symbol in SYMBOLS}
    for time_slice in simulator.take(minutes):
        for bar in time_slice.records:
            if type(bar) is Bar and bar.traded:
                rows[bar.symbol].append(_row(bar))
    files = []
    for symbol in SYMBOLS:
        files.append(folder / f"{symbol}.csv")
        files[-1].write_text("\n".join([_HEADER, *rows[symbol]]) + "\n")
    return files


def _row(bar: Bar) -> str:
    time_text = datetime.fromtimestamp(bar.open_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{time_text},{bar.symbol},{bar.open},{bar.high},{bar.low},{bar.close},{bar.volume:.0f}"

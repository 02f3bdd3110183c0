"""Writes a seeded random walk as files of one-minute bars, one per symbol, without gaps."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

START = datetime(2024, 1, 1, tzinfo=UTC)
HEADER = "timestamp,open,high,low,close,volume\n"


def write_bars(folder: Path, symbol_count: int, bar_count: int, seed: int = 7) -> Path:
    """Write `folder`/S00.csv and so on with `bar_count` rows. A longer market starts with the rows of a shorter one."""
    folder.mkdir()
    times = [(START + timedelta(minutes=i)).strftime("%Y-%m-%dT%H:%M:%SZ") for i in range(bar_count)]
    for number in range(symbol_count):
        rng = random.Random(seed * 1000 + number)
        rows, close = [HEADER], 100.0
        for time in times:
            open_price = close
            close = round(max(1.0, open_price * (1 + rng.gauss(0, 0.001))), 2)
            high = round(max(open_price, close) + rng.random() * 0.05, 2)
            low = round(min(open_price, close) - rng.random() * 0.05, 2)
            volume = max(1, rng.randint(0, 1000))  # a row without volume is no trade
            rows.append(f"{time},{open_price},{high},{low},{close},{volume}\n")
        (folder / f"S{number:02d}.csv").write_text("".join(rows))
    return folder

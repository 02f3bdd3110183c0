"""A seeded market as CSV files: extended hours, missing minutes, a halt, a late listing, a daylight saving change."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
FRIDAY, MONDAY = date(2024, 3, 8), date(2024, 3, 11)  # daylight saving time begins in between
HEADER = "ts_open_utc,symbol,open,high,low,close,volume"


def write_market(
    folder: Path,
    *,
    symbols: Sequence[str] = ("AAA", "BBB", "CCC", "DDD"),
    days: Sequence[date] = (FRIDAY, MONDAY),
    open_time: time = time(4),
    minutes: int = 16 * 60,
    seed: int = 1,
) -> list[Path]:
    """Write one file per symbol: `minutes` from `open_time` in New York each day. Equal arguments write equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, symbol in enumerate(symbols):
        rows = _rows(symbol, number, days, open_time, minutes, random.Random(f"{seed}/{symbol}"))
        files.append(folder / f"{symbol}.csv")
        files[-1].write_text("\n".join([HEADER, *rows]) + "\n")
    return files


def _rows(
    symbol: str, number: int, days: Sequence[date], open_time: time, minutes: int, rng: random.Random
) -> list[str]:
    price, rows = 20.0 * (number + 1), []
    for day_number, day in enumerate(days):
        start = datetime.combine(day, open_time, NEW_YORK)
        halted = range(minutes // 2, minutes // 2 + minutes // 8)
        for minute in range(minutes):
            bar_time = start + timedelta(minutes=minute)
            regular = time(9, 30) <= bar_time.time() < time(16)
            if number == 1 and minute in halted:
                continue
            if number == 2 and day_number == 0 and minute < minutes // 4:
                continue
            if rng.random() > (0.95 if regular else 0.3):
                continue
            open_price = price
            price = max(1.0, price * (1 + rng.gauss(0, 0.002)))
            high, low = max(open_price, price) * (1 + 0.001 * rng.random()), min(open_price, price) * 0.9995
            timestamp = bar_time.astimezone(ZoneInfo("UTC")).strftime("%Y-%m-%dT%H:%M:%SZ")
            volume = 100 * rng.randint(1, 50)
            # Round the low down and the high up, so that all prices lie between them.
            rows.append(
                f"{timestamp},{symbol},{open_price:.2f},{high + 0.005:.2f},{low - 0.005:.2f},{price:.2f},{volume}"
            )
    return rows

"""A seeded market as CSV files: pre- and post-market, missing minutes, a halt, a late listing, a change of clocks."""

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
    opens: time = time(4),
    minutes: int = 16 * 60,
    seed: int = 1,
) -> list[Path]:
    """One file a symbol with `minutes` from `opens` (New York) of each day. Equal arguments give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, symbol in enumerate(symbols):
        rows = _rows(symbol, number, days, opens, minutes, random.Random(f"{seed}/{symbol}"))
        files.append(folder / f"{symbol}.csv")
        files[-1].write_text("\n".join([HEADER, *rows]) + "\n")
    return files


def _rows(
    symbol: str, number: int, days: Sequence[date], opens: time, minutes: int, market: random.Random
) -> list[str]:
    price, rows = 20.0 * (number + 1), []
    for day_number, day in enumerate(days):
        start = datetime.combine(day, opens, NEW_YORK)
        halted = range(minutes // 2, minutes // 2 + minutes // 8)
        for minute in range(minutes):
            at = start + timedelta(minutes=minute)
            regular = time(9, 30) <= at.time() < time(16)
            if number == 1 and minute in halted:
                continue
            if number == 2 and day_number == 0 and minute < minutes // 4:
                continue
            if market.random() > (0.95 if regular else 0.3):
                continue
            first = price
            price = max(1.0, price * (1 + market.gauss(0, 0.002)))
            high, low = max(first, price) * (1 + 0.001 * market.random()), min(first, price) * 0.9995
            when = at.astimezone(ZoneInfo("UTC")).strftime("%Y-%m-%dT%H:%M:%SZ")
            volume = 100 * market.randint(1, 50)
            # The low is rounded down and the high up, so that no price lies outside of them.
            rows.append(f"{when},{symbol},{first:.2f},{high + 0.005:.2f},{low - 0.005:.2f},{price:.2f},{volume}")
    return rows

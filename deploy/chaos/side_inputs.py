"""Write the inputs besides bars: quotes, headlines (some of them twice), filings, a dividend, exchange rates, a halt,
trading hours and rows of a user's data.

Also the watched files of the services `news` and `fundamentals`, which grow while the platform runs.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from deploy.chaos.pinned_settings import pinned_settings
from deploy.chaos.tape import OPENING, SYMBOLS
from schemas.records import CASH_DIVIDEND, EXCHANGE_RATE, TRADING_HALT, TRADING_RESUMED

KINDS = ("quotes", "reference_data", "data", "news", "fundamentals")
_SUBJECTS = ("Profit", "Revenue", "The outlook", "Demand", "The chief executive", "A rival", "The regulator")
_POSITIVE_PHRASES = ("beats estimates", "surges", "is strong", "rallies", "wins approval")
_NEGATIVE_PHRASES = ("misses estimates", "plunges", "is weak", "faces a lawsuit", "announces layoffs")
_MINUTE_NS = 60 * 10**9
_START_NS = int(OPENING.timestamp()) * 10**9


def write_side_inputs(folder: Path, seed: int, bars: Sequence[Path], minutes: int) -> dict[str, Path]:
    """Write one file of each kind, with the prices of the bar files. Equal arguments result in equal bytes."""
    rng = random.Random(f"chaos/others/{seed}")  # noqa: S311  (a tape must be reproducible, not secret)
    prices = {file.stem: [line.split(",") for line in file.read_text().splitlines()[1:]] for file in bars}
    files = {kind: folder / f"{kind}.{'csv' if kind == 'quotes' else 'jsonl'}" for kind in KINDS}
    files["quotes"].write_text(_quotes(prices, rng))
    times = sorted(_START_NS + rng.randrange(minutes * _MINUTE_NS) for _ in range(minutes // 5))
    headlines = [{"time": ns, **random_headline(rng)} for ns in times]
    _write(
        files["news"],
        [*headlines, *({**repeated, "time": repeated["time"] + _MINUTE_NS} for repeated in headlines[::6])],
    )
    filings = [
        {
            "time": _START_NS + number * minutes * _MINUTE_NS // 20,
            **random_filing(rng, number, _random_close(prices, rng)),
        }
        for number in range(20)
    ]
    _write(files["fundamentals"], filings)
    dividend = {"kind": CASH_DIVIDEND, "symbol": "MSFT", "amount": 0.25, "time": times[len(times) // 2]}
    rates = [
        {"kind": EXCHANGE_RATE, "base": "EUR", "quote": "USD", "rate": 1.09 + number / 1000, "time": ns}
        for number, ns in enumerate(times[::10])
    ]
    halt_ns = times[len(times) // 3]
    halts = [
        {"kind": TRADING_HALT, "symbol": "MSFT", "time": halt_ns, "code": "LUDP", "reason": "volatility pause"},
        {"kind": TRADING_RESUMED, "symbol": "MSFT", "time": halt_ns + 2 * _MINUTE_NS},
    ]
    # The first row has the hours of the calendar. The second one replaces it.
    hours = {"kind": "TRADING_SESSION", "day": 20240311, "open": "2024-03-11T09:30:00-04:00"}
    sessions = [
        {**hours, "close": f"2024-03-11T{close}:00-04:00", "time": ns}
        for close, ns in (("16:00", times[0]), ("15:59", times[1]))
    ]
    _write(files["reference_data"], [*rates, {**dividend, "ex_date": 20240311}, *halts, *sessions])
    _write(
        files["data"],
        [{"name": "vix", "available_at": ns, "close": 14 + number / 10} for number, ns in enumerate(times[::3])],
    )
    return files


def random_headline(rng: random.Random) -> dict[str, Any]:
    """Return a headline about one to three symbols."""
    predicate = rng.choice(_POSITIVE_PHRASES if rng.random() < 0.6 else _NEGATIVE_PHRASES)
    symbols = rng.sample(SYMBOLS, rng.randint(1, 3))
    return {"headline": f"{rng.choice(_SUBJECTS)} {predicate}, says {rng.randrange(10**6)}", "symbols": symbols}


def random_filing(rng: random.Random, number: int, close: tuple[str, float]) -> dict[str, Any]:
    """Return a filing of a company that is cheap or expensive at the price."""
    symbol, price = close
    eps = price / rng.choice((8, 10, 40))
    facts = {"eps": eps, "shares": 2e7, "equity": 1e7 * price, "net_income": 2e6 * price, "debt": 1e6 * price}
    return {"symbol": symbol, "filed": 20240311, "period_end": 20231231, "form": f"10-K/{number}", **facts}


class WireFiles:
    """Two files that grow: `append_rows` adds a headline and a filing. Equal seeds result in equal rows."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._rng = random.Random(f"chaos/wire/{seed}")  # noqa: S311  (must be reproducible, not secret)
        self.news, self.fundamentals = folder / "wire-news.jsonl", folder / "wire-fundamentals.jsonl"
        self.row_count = 0
        for _ in range(2):
            self.append_rows()

    def append_rows(self) -> None:
        """Append a row to each file. Each row is one write, so a reader sees it completely or not at all."""
        self.row_count += 1
        price = 50.0 + self._rng.randrange(200)
        rows = {
            self.news: {"time": _START_NS + self.row_count, **random_headline(self._rng)},
            self.fundamentals: {
                "time": _START_NS + self.row_count,
                **random_filing(self._rng, 100 + self.row_count, (self._rng.choice(SYMBOLS), price)),
            },
        }
        for path, row in rows.items():
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")


def write_settings(path: Path, side_inputs: dict[str, Path], wire: WireFiles, model_url: str) -> None:
    """Write the settings of all runs, extended by the files and the language model of this run."""
    tree = pinned_settings()
    tree["market_data"] = {"files": {kind: [str(file)] for kind, file in side_inputs.items()}}
    tree["news"] = {"feed": "files", "poll_interval_s": 0.3, "files": {"paths": [str(wire.news)]}}
    tree["fundamentals"] = {"feed": "files", "poll_interval_s": 0.3, "files": {"paths": [str(wire.fundamentals)]}}
    tree["sentiment"]["llm"] |= {"enabled": True, "base_url": model_url}
    path.write_text(yaml.safe_dump(tree))


def _quotes(prices: dict[str, list[list[str]]], rng: random.Random) -> str:
    """Return quotes as CSV: one per symbol for every fifth bar, at a random time within its minute."""
    rows = []
    for symbol, bars in prices.items():
        for number, row in enumerate(bars[::5]):
            ts_ns = int(_minute_ns(row[0])) + rng.randrange(_MINUTE_NS)
            bid = float(row[2])
            rows.append((ts_ns, f"{ts_ns},{symbol},{bid},{bid + 0.02:.2f},{1 + number % 7},{1 + number % 9}"))
    return "\n".join(["time,symbol,bid,ask,bid_size,ask_size", *(row for _, row in sorted(rows))]) + "\n"


def _minute_ns(time_text: str) -> int:
    return int(datetime.fromisoformat(time_text).timestamp()) * 10**9


def _random_close(prices: dict[str, list[list[str]]], rng: random.Random) -> tuple[str, float]:
    symbol = rng.choice(SYMBOLS)
    return symbol, float(prices[symbol][0][5])


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

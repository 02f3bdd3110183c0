"""The strategy of the backtest measurement as a bare loop over floats: a speed limit for Python, and a second result.

Rules: exponential averages over 12 and 26 closes, Wilder's RSI over 14. Go long when the fast average crosses above the
slow one while the RSI is below 70. Close when it is no longer above. Trade 100 units at the next open with 1 bp of
slippage and a fee of 1 per order. Lots close first in, first out.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

Row = tuple[str, float, float]  # symbol, open, close
QUANTITY, SLIPPAGE, FEE = 100.0, 0.0001, 1.0
FAST, SLOW, RSI, RSI_MAX = 12, 26, 14, 70.0


class LoopResult(NamedTuple):
    fills: int
    cash: float
    realized: float
    gross: float  # exposure at the end of the tape, at the last closes


def read_rows(folder: Path) -> list[Row]:
    """Return the bars of all files, ordered by minute, then by symbol."""
    columns: list[list[Row]] = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="") as file:
            columns.append([(path.stem, float(row["open"]), float(row["close"])) for row in csv.DictReader(file)])
    return [row for minute in zip(*columns, strict=True) for row in minute]


class LoopSymbol:
    __slots__ = ("close", "fast", "gain", "loss", "lots", "pending_quantity", "seen", "slow", "state")

    def __init__(self) -> None:
        self.seen = 0
        self.close = self.fast = self.slow = self.gain = self.loss = 0.0
        self.state = -1  # -1: warming up; 0: fast not above slow; 1: fast above slow, no position; 2: long
        self.pending_quantity = 0.0
        self.lots: deque[float] = deque()

    def signal(self, close: float) -> float:
        """Return the units to trade at the next open."""
        seen = self.seen = self.seen + 1
        if seen == 1:
            self.fast = self.slow = self.close = close
            return 0.0
        self.fast += (close - self.fast) * 2.0 / (FAST + 1)
        self.slow += (close - self.slow) * 2.0 / (SLOW + 1)
        change, self.close = close - self.close, close
        up, down = (change, 0.0) if change > 0.0 else (0.0, -change)
        if seen <= RSI + 1:
            self.gain += up / RSI
            self.loss += down / RSI
        else:
            self.gain += (up - self.gain) / RSI
            self.loss += (down - self.loss) / RSI
        if seen < SLOW:
            return 0.0
        if self.fast > self.slow:
            if self.state != 0:
                self.state = self.state if self.state > 0 else 1
                return 0.0
            total = self.gain + self.loss
            overbought = not total or 100.0 * self.gain / total >= RSI_MAX
            self.state = 1 if overbought else 2
            return 0.0 if overbought else QUANTITY
        previous_state, self.state = self.state, 0
        return -QUANTITY if previous_state == 2 else 0.0


def trade(rows: Sequence[Row] | Iterable[Row], cash: float) -> LoopResult:
    symbols: dict[str, LoopSymbol] = {}
    fills, realized = 0, 0.0
    for name, open_price, close in rows:
        symbol = symbols.get(name)
        if symbol is None:
            symbol = symbols[name] = LoopSymbol()
        pending_quantity = symbol.pending_quantity
        if pending_quantity > 0.0:
            price = open_price * (1 + SLIPPAGE)
            symbol.lots.append(price)
            cash -= pending_quantity * price + FEE
            fills += 1
        elif pending_quantity < 0.0:
            price = open_price * (1 - SLIPPAGE)
            realized += -pending_quantity * (price - symbol.lots.popleft())
            cash -= pending_quantity * price + FEE
            fills += 1
        symbol.pending_quantity = symbol.signal(close)
    gross = sum(len(symbol.lots) * QUANTITY * symbol.close for symbol in symbols.values())
    return LoopResult(fills, cash, realized, gross)

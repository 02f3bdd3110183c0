"""Random-entry benchmark: are the entries of a strategy better than entries at random times?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from schemas.errors import BadInput
from schemas.records import LONG, SHORT
from schemas.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import NDArray

TRADE_COLUMNS = ("symbol", "side", "quantity", "entry_time", "entry_price", "exit_time", "exit_price")
BAR_COLUMNS = ("time", "symbol", "close")


@dataclass(frozen=True, kw_only=True, eq=False)
class RandomEntries:
    """Profits before fees, in the currency of the prices.

    profit         of the trades
    random_profit  of the same trades with random entries; one element per sample
    p_value        share of samples with at least this profit, the trades themselves counted as one sample
    """

    profit: float
    trades: int
    p_value: float
    random_profit: NDArray[np.float64] = field(repr=False)


def compare_random_entries(
    trades: pd.DataFrame,
    bars: pd.DataFrame,
    *,
    generator: np.random.Generator,
    samples: int = 1000,
    multipliers: Mapping[str, float] | None = None,
) -> RandomEntries:
    """Compare trades with the same trades at random entries: symbol, side, quantity and number of bars are the same.

    `trades` has the columns of the table `trades` of a backtest, `bars` has the columns time, symbol and close, with
    prices adjusted for splits. A random trade enters and exits at closes; one that is shorter than a bar lasts one bar.
    Fees are left out on both sides, and random trades do not pay the spread. `multipliers` are those of futures, by
    symbol. Raises BadInput for missing columns, and for trades without bars or longer than the bars.
    """
    _require_columns("trades", trades, TRADE_COLUMNS)
    _require_columns("bars", bars, BAR_COLUMNS)
    if trades.empty:
        raise BadInput("no trades to compare with random entries")
    if samples < 1:
        raise BadInput(f"samples must be at least 1, found {samples}")
    markets = {
        str(symbol): (_times_ns(group["time"]), group["close"].to_numpy(dtype=np.float64))
        for symbol, group in bars.sort_values("time", kind="stable").groupby("symbol", sort=False)
    }
    entries, exits = _times_ns(trades["entry_time"]), _times_ns(trades["exit_time"])
    entry_prices, exit_prices = (trades[name].to_numpy(dtype=np.float64) for name in ("entry_price", "exit_price"))
    sizes = _signed_sizes(trades, multipliers or {})
    random_profit = np.zeros(samples)
    for symbol, entry, end, size in zip(trades["symbol"], entries, exits, sizes, strict=True):
        if symbol not in markets:
            raise BadInput(f"no bars of {symbol}, which was traded{did_you_mean(str(symbol), markets)}")
        times, closes = markets[symbol]
        held = max(1, int(np.searchsorted(times, end) - np.searchsorted(times, entry)))
        if held >= len(closes):
            raise BadInput(f"a trade of {symbol} lasts {held} bars, but there are only {len(closes)} bars of it")
        starts = generator.integers(0, len(closes) - held, size=samples)
        random_profit += size * (closes[starts + held] - closes[starts])
    profit = float((sizes * (exit_prices - entry_prices)).sum())
    at_least = int((random_profit >= profit).sum())
    return RandomEntries(
        profit=profit, trades=len(trades), p_value=(at_least + 1) / (samples + 1), random_profit=random_profit
    )


def _require_columns(name: str, frame: pd.DataFrame, columns: tuple[str, ...]) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        found = ", ".join(str(column) for column in frame.columns) or "none"
        raise BadInput(
            f"{name} must have the columns {', '.join(columns)}; missing {', '.join(missing)}, found {found}"
        )


def _times_ns(values: pd.Series[pd.Timestamp]) -> NDArray[np.int64]:
    """Return times, or nanoseconds since 1970, as nanoseconds."""
    import pandas as pd

    return pd.DatetimeIndex(pd.to_datetime(values, utc=True)).as_unit("ns").asi8


def _signed_sizes(trades: pd.DataFrame, multipliers: Mapping[str, float]) -> NDArray[np.float64]:
    unknown = sorted({str(side) for side in trades["side"]} - {LONG, SHORT})
    if unknown:
        raise BadInput(f"the side of a trade must be {LONG} or {SHORT}, found {unknown[0]!r}")
    signs = np.where(trades["side"] == LONG, 1.0, -1.0)
    factors = np.array([multipliers.get(str(symbol), 1.0) for symbol in trades["symbol"]])
    return np.asarray(signs * trades["quantity"].to_numpy(dtype=np.float64) * factors)

"""Trade the spread of two symbols that move together, if it has returned to its mean fast enough."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log, sqrt
from typing import TYPE_CHECKING, NamedTuple

from operators.strategies.parameters import check_bars, check_positive, check_share
from operators.strategies.trading_strategy import TradingStrategy
from schemas.errors import BadInput

if TYPE_CHECKING:
    from operators.trading.context import TradingContext
    from operators.trading.order_updates import OrderUpdate


class Spread(NamedTuple):
    """The spread log(first) - hedge * log(second) over a window.

    `hedge` is the slope of a linear regression, `z_score` the last value in standard deviations from the mean, and
    `half_life` the number of bars in which half of a deviation is lost; None if deviations do not shrink.
    """

    hedge: float
    z_score: float
    half_life: float | None


def regression_slope(inputs: Sequence[float], outputs: Sequence[float]) -> float | None:
    """Return the slope of the least-squares line; None if all inputs are equal."""
    input_mean, output_mean = sum(inputs) / len(inputs), sum(outputs) / len(outputs)
    variance = sum((one - input_mean) ** 2 for one in inputs)
    if variance <= 0:
        return None
    pairs = zip(inputs, outputs, strict=True)
    return sum((one - input_mean) * (other - output_mean) for one, other in pairs) / variance


def spread_of(first: Sequence[float], second: Sequence[float]) -> Spread | None:
    """Return the spread of two series of positive prices; None if one of them or the spread does not change."""
    first_logs, second_logs = [log(price) for price in first], [log(price) for price in second]
    hedge = regression_slope(second_logs, first_logs)
    if hedge is None:
        return None
    spread = [one - hedge * other for one, other in zip(first_logs, second_logs, strict=True)]
    mean = sum(spread) / len(spread)
    deviation = sqrt(sum((one - mean) ** 2 for one in spread) / len(spread))
    if deviation < 1e-12:
        return None
    changes = [after - before for before, after in pairwise(spread)]
    speed = regression_slope(spread[:-1], changes)
    half_life = log(0.5) / log(1 + speed) if speed is not None and -1 < speed < 0 else None
    return Spread(hedge, (spread[-1] - mean) / deviation, half_life)


class PairsReversion(TradingStrategy):
    """Sell the spread when it is `entry` standard deviations above its mean, buy it below; close it at its mean.

    An entry requires a positive hedge ratio and a half-life of at most `half_life_max`. A position that has not
    returned to the mean after three half-lives is closed, too. Both symbols together have the share `weight` of the
    equity, in the ratio 1 to the hedge ratio. After a rejected entry, the next one waits until the spread has been
    within `entry`: the same order would be rejected again at every bar. The state has `side` (1 long the spread, -1
    short), `bars` (those left until the position is closed) and `rejected`.
    Sources: E. Gatev, W. Goetzmann and K. Rouwenhorst, Pairs Trading (2006); E. Chan, Algorithmic Trading (2013).
    """

    def __init__(
        self,
        *,
        symbols: Sequence[str] = ("KO", "PEP"),
        period: int = 120,
        entry: float = 2.0,
        half_life_max: float = 30.0,
        weight: float = 0.8,
        interval: str = "1m",
        name: str = "pairs_reversion",
    ) -> None:
        """`period` and `half_life_max` in bars of `interval`, `entry` in standard deviations, `weight` in (0, 1].

        Raises BadInput for another value.
        """
        check_bars(name, period=period)
        check_positive(name, entry=entry, half_life_max=half_life_max)
        check_share(name, weight=weight)
        if not isinstance(symbols, list | tuple) or len(set(symbols)) != 2 or len(symbols) != 2:
            raise BadInput(f"strategy {name}: symbols must be two different symbols, found {symbols!r}")
        self.name, self.symbols, self.interval = name, tuple(symbols), interval
        self.period, self.entry, self.half_life_max, self.weight = period, entry, half_life_max, weight
        self.history = {interval: period}
        self.warm_up = period

    def on_slice(self, ctx: TradingContext) -> None:
        if len(ctx.symbols) < 2 and ctx.state.get("side"):
            self._leave(ctx)  # the other symbol was delisted, or merged into this one
        if len(ctx.symbols) < 2 or len(ctx.closed(self.interval)) < 2:
            return
        closes = [ctx.history(symbol, self.interval)["close"].tolist() for symbol in ctx.symbols]
        first, second = closes
        if min(len(first), len(second)) < self.period:
            return
        spread, side = spread_of(first, second), ctx.state.get("side", 0)
        if spread is None:
            return
        if side:
            ctx.state["bars"] -= 1
            if side * spread.z_score >= 0 or ctx.state["bars"] <= 0:
                self._leave(ctx)
        elif abs(spread.z_score) < self.entry:
            ctx.state["rejected"] = False
        elif not ctx.state.get("rejected"):
            self._enter(ctx, spread)

    def _enter(self, ctx: TradingContext, spread: Spread) -> None:
        if spread.hedge <= 0 or spread.half_life is None or spread.half_life > self.half_life_max:
            return
        side = -1 if spread.z_score > 0 else 1
        ctx.state.update(side=side, bars=int(3 * spread.half_life) + 1)
        first = self.weight / (1 + spread.hedge)
        first_symbol, second_symbol = ctx.symbols
        ctx.target_weight(first_symbol, side * first)
        ctx.target_weight(second_symbol, -side * first * spread.hedge)

    def _leave(self, ctx: TradingContext) -> None:
        ctx.state["side"] = 0
        for symbol in ctx.symbols:
            ctx.close(symbol)

    def on_order(self, ctx: TradingContext, update: OrderUpdate) -> None:
        if update.request == "target" and update.status == "rejected" and ctx.state.get("side"):
            self._leave(ctx)  # one symbol alone is not a pair
            ctx.state["rejected"] = True

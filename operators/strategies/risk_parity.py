"""Weight symbols by the inverse of their volatility, and scale the portfolio to a target volatility."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING

from operators.strategies.parameters import check_bars, check_positive, check_share, universe_of
from operators.strategies.trading_strategy import TradingStrategy, at

if TYPE_CHECKING:
    from operators.trading.context import TradingContext

DAYS_PER_YEAR = 252


def annual_volatility(returns: Sequence[float]) -> float:
    """Return the sample standard deviation of daily returns, times the square root of 252. At least two returns."""
    mean = sum(returns) / len(returns)
    return sqrt(sum((one - mean) ** 2 for one in returns) / (len(returns) - 1) * DAYS_PER_YEAR)


class RiskParity(TradingStrategy):
    """Trade to weights in proportion to 1 / volatility once a month, scaled to the volatility `target`.

    The volatilities are those of the daily returns of the last `period` days. The sum of the weights is reduced until
    the portfolio of these days would have had the volatility `target`, and is at most `weight`. The trades are five
    minutes after the open of the first session of a month; the first ones, as soon as there are enough days. The state
    is the month. The weights are those of equal risk contributions if all correlations are equal.
    Sources: S. Maillard, T. Roncalli and J. Teiletche, The Properties of Equally Weighted Risk Contribution Portfolios
    (2010); A. Moreira and T. Muir, Volatility-Managed Portfolios (2017).
    """

    def __init__(
        self,
        *,
        period: int = 60,
        target: float = 0.1,
        weight: float = 0.95,
        symbols: Sequence[str] | None = None,
        name: str = "risk_parity",
    ) -> None:
        """`period` in days, `target` as a share a year (0.1 is 10 percent), `weight` in (0, 1]. Raises BadInput."""
        check_bars(name, period=period)
        check_positive(name, target=target)
        check_share(name, weight=weight)
        self.name, self.symbols = name, universe_of(symbols)
        self.period, self.target, self.weight = period, target, weight
        self.history = {"1d": period + 1}
        self.warm_up = period + 1

    @at(minutes_after_open=5)
    def rebalance(self, ctx: TradingContext) -> None:
        session = ctx.session
        if session is None or session.day // 100 == ctx.state.get("month"):
            return
        returns = {}
        for symbol in ctx.universe:
            closes = ctx.history(symbol, "1d")["close"].tolist()
            if len(closes) <= self.period:
                return  # in warm-up
            returns[symbol] = [after / before - 1 for before, after in pairwise(closes)]
        ctx.state["month"] = session.day // 100
        for symbol, weight in self._weights(returns).items():
            ctx.target_weight(symbol, weight)

    def _weights(self, returns: Mapping[str, Sequence[float]]) -> dict[str, float]:
        """Return the weight of each symbol whose price has changed."""
        volatilities = {symbol: annual_volatility(one) for symbol, one in returns.items()}
        inverses = {symbol: 1 / one for symbol, one in volatilities.items() if one > 0}
        shares = {symbol: one / sum(inverses.values()) for symbol, one in inverses.items()}
        days = range(self.period)
        volatility = annual_volatility([sum(shares[one] * returns[one][day] for one in shares) for day in days])
        total = min(self.weight, self.target / volatility) if volatility > 0 else self.weight
        return {symbol: share * total for symbol, share in shares.items()}

"""A trading strategy on statistics of pairs, ranks and z-scores, for tests of replays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.strategies import TradingStrategy

if TYPE_CHECKING:
    from operators.trading.context import TradingContext


class PairStrategy(TradingStrategy):
    """Note all values in each time slice, and hold the symbols whose beta is above that of the others."""

    symbols = ("AAA", "BBB", "CCC")
    features = {"1m": ("beta_20(DDD)", "correlation_20(DDD)", "roc_5"), "5m": ("beta_5(DDD)",)}  # noqa: RUF012

    def __init__(self, name: str = "pairs") -> None:
        self.name = name

    def on_slice(self, ctx: TradingContext) -> None:
        for symbol in ctx.universe:
            values = [ctx.feature(symbol, name) for name in ("beta_20(DDD)", "correlation_20(DDD)", "roc_5")]
            ctx.note(f"{symbol} {values} {ctx.feature(symbol, 'beta_5(DDD)', '5m')}")
        ranks = ctx.rank("beta_20(DDD)")
        ctx.note(f"{ranks} {ctx.z_score('roc_5')} {ctx.rank('beta_5(DDD)', '5m')}")
        for symbol, rank in ranks.items():
            if rank is not None:
                ctx.target_weight(symbol, 0.03 if rank == len(ranks) else 0.0)

"""Statistics of a strategy's closed trades for the Kelly formula."""

from __future__ import annotations

from typing import NamedTuple


class TradeRecord(NamedTuple):
    """Returns of closed trades, net of fees, relative to the entry cost. `won` and `lost` are sums, both >= 0."""

    trades: int = 0
    wins: int = 0
    won: float = 0.0
    lost: float = 0.0

    def with_trade(self, trade_return: float) -> TradeRecord:
        """Return the record with one more trade.

        >>> TradeRecord().with_trade(0.02).with_trade(-0.01)
        TradeRecord(trades=2, wins=1, won=0.02, lost=0.01)
        """
        if trade_return > 0:
            return TradeRecord(self.trades + 1, self.wins + 1, self.won + trade_return, self.lost)
        return TradeRecord(self.trades + 1, self.wins, self.won, self.lost - trade_return)

    def kelly_share(self, shrinkage_trades: int) -> float:
        """Return the full Kelly share after shrinkage: at most 1, and at most 0 without an edge.

        Kelly's p - q/b for a win rate p = 1 - q and a payoff ratio b (mean win over mean loss) equals
        p x (1 - lost / won). Shrinking p towards 1/(1 + b), the win rate without an edge, with the weight of
        `shrinkage_trades` additional trades multiplies that by trades / (trades + shrinkage_trades). The formula
        assumes that a loss is the whole stake. For partial losses, the growth-optimal share is higher by the factor
        1 / mean loss, but that estimate is ruinous if the mean loss is underestimated. Source: J. L. Kelly (1956);
        E. O. Thorp (2006).

        >>> TradeRecord(trades=80, wins=48, won=0.48, lost=0.24).kelly_share(20)
        0.24
        """
        if not self.won:
            return 0.0
        shrinkage = self.trades / (self.trades + shrinkage_trades)
        return shrinkage * (self.wins / self.trades) * (1.0 - self.lost / self.won)

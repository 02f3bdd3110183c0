"""What a strategy's closed trades brought, as far as Kelly's formula asks."""

from __future__ import annotations

from typing import NamedTuple


class TradeRecord(NamedTuple):
    """Returns of closed trades, net of fees, on what was paid at entry. `won` and `lost` are sums, both >= 0."""

    trades: int = 0
    wins: int = 0
    won: float = 0.0
    lost: float = 0.0

    def with_trade(self, trade_return: float) -> TradeRecord:
        """With one more trade.

        >>> TradeRecord().after(0.02).after(-0.01)
        TradeRecord(trades=2, wins=1, won=0.02, lost=0.01)
        """
        if trade_return > 0:
            return TradeRecord(self.trades + 1, self.wins + 1, self.won + trade_return, self.lost)
        return TradeRecord(self.trades + 1, self.wins, self.won, self.lost - trade_return)

    def kelly_share(self, shrinkage_trades: int) -> float:
        """The full Kelly share, shrunk; at most 1, not above 0 where there is no edge.

        Kelly's p - q/b for a win rate p = 1 - q and a payoff ratio b (mean win over mean loss) equals
        p x (1 - lost / won). Drawing p towards 1/(1 + b), where there is no edge, with the weight of `shrinkage_trades`
        more multiplies that by trades / (trades + shrinkage_trades). It takes a loss to be the whole stake, so it
        stays below what maximises growth when losses are partial: 1 / mean loss times as much, an estimate that is
        ruinous when the mean loss is small and wrong. Source: J. L. Kelly (1956); E. O. Thorp (2006).

        >>> TradeRecord(trades=80, wins=48, won=0.48, lost=0.24).kelly(20)
        0.24
        """
        if not self.won:
            return 0.0
        shrinkage = self.trades / (self.trades + shrinkage_trades)
        return shrinkage * (self.wins / self.trades) * (1.0 - self.lost / self.won)

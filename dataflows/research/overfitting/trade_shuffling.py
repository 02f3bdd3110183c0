"""Shuffle the order of closed trades: how much of the largest drawdown is the luck of their order?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dataflows.research.overfitting.drawdowns import largest_drawdowns
from dataflows.research.overfitting.return_arrays import as_series
from schemas.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_CELLS_MAX = 1_000_000
"""Shuffles × trades that are in memory at the same time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TradeShuffling:
    """Largest drawdowns of the same trades in random order, as positive fractions of the peak.

    drawdown    in the order in which the trades were closed
    drawdowns   one element per shuffle
    """

    drawdown: float
    trades: int
    drawdowns: NDArray[np.float64] = field(repr=False)

    def probability_of_drawdown(self, limit: float) -> float:
        """Return the share of shuffles with a drawdown of at least `limit`, a positive fraction."""
        return float((self.drawdowns >= limit).mean())

    @property
    def share_below(self) -> float:
        """Share of shuffles with a smaller drawdown. Near 0, the order of the trades was lucky."""
        return float((self.drawdowns < self.drawdown).mean())


def shuffle_trades(
    profits: ArrayLike, initial_equity: float, *, generator: np.random.Generator, shuffles: int = 1000
) -> TradeShuffling:
    """Compute the drawdowns of closed trades in random order.

    `profits` is the profit of each trade after fees, in the currency of `initial_equity`, in the order of their exits.
    The final equity does not depend on the order. Drawdowns within a trade are not visible here. Raises BadInput.
    """
    series = as_series(profits, name="profits", length_min=1)
    if not initial_equity > 0:
        raise BadInput(f"the initial equity must be above 0, found {initial_equity}")
    if shuffles < 1:
        raise BadInput(f"shuffles must be at least 1, found {shuffles}")
    rows = max(1, _CELLS_MAX // len(series))
    drawdowns = []
    for start in range(0, shuffles, rows):
        orders = np.tile(series, (min(rows, shuffles - start), 1))
        drawdowns.append(_drawdowns(generator.permuted(orders, axis=1), initial_equity))
    return TradeShuffling(
        drawdown=float(_drawdowns(series[None, :], initial_equity)[0]),
        trades=len(series),
        drawdowns=np.concatenate(drawdowns),
    )


def _drawdowns(profits: NDArray[np.float64], initial_equity: float) -> NDArray[np.float64]:
    initial = np.full((len(profits), 1), initial_equity)
    return largest_drawdowns(np.concatenate([initial, initial_equity + profits.cumsum(axis=1)], axis=1))

"""Returns net of external flows: time-weighted and money-weighted.

A deposit or withdrawal changes the capital and is not a return. Fees and interest are part of the return. Within a time
slice a flow comes last: money that moves in a time slice was not invested during it, so the equity before the flow is
the equity of the slice minus the flow.

The time-weighted return is the product of the returns between flows. It measures the trading, whatever the flows. The
money-weighted return is the rate at which the flows grow to the final equity. It measures the investor's result, which
also depends on when the money came. Without flows both are equal. Source: CFA Institute, Global Investment Performance
Standards (GIPS) 2020, provisions 2.A.21 to 2.A.29; periods below a year are not annualized (2.A.12).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_LOG_GROWTH_MAX = 64.0
"""Bound of the search for a money-weighted return: growth by a factor of e^64, or its inverse."""


class DatedFlow(NamedTuple):
    """An external flow into the account, negative for a withdrawal."""

    ts_ns: int
    amount: float


class NetOfFlows:
    """Converts equity to equity net of flows: what the initial capital would be worth without any flow.

    Its ratio to the initial capital is the time-weighted growth, so that return, drawdown and daily returns of this
    series are net of flows. Without a flow, the series is the equity itself.

    After a withdrawal of everything, the series keeps its value until the next deposit. A total loss is final.

    >>> series = NetOfFlows()
    >>> [series.add(100.0, 0.0), series.add(90.0, 0.0), series.add(190.0, 100.0), series.add(209.0, 100.0)]
    [100.0, 90.0, 90.0, 99.0]
    """

    def __init__(self, factor: float = 1.0, base: float = 0.0, net_flows: float = 0.0) -> None:
        self.factor, self.base, self.net_flows = factor, base, net_flows

    def add(self, equity: float, net_flows: float) -> float:
        """Add the equity after a time slice and the cumulative net flows. Return the equity net of flows."""
        flow = net_flows - self.net_flows
        if flow:
            self.net_flows = net_flows
            value = self.adjust(equity - flow)
            has_capital = equity > 0 and value > 0
            self.factor, self.base = (value / equity, 0.0) if has_capital else (0.0, value)
        return self.adjust(equity)

    def adjust(self, equity: float) -> float:
        """Return the equity net of flows for an equity since the last flow."""
        return equity * self.factor + self.base

    def snapshot(self) -> tuple[float, float, float]:
        return (self.factor, self.base, self.net_flows)


def money_weighted_return(
    initial: float, start_ns: int, flows: Sequence[DatedFlow], final: float, end_ns: int
) -> float | None:
    """Return the rate of the whole period, not annualized, as a fraction; None if there is no unique sensible rate.

    The rate R solves initial * (1 + R) + sum(flow * (1 + R) ** w) = final, where w is the part of the period that
    remained at the flow. It is the internal rate of return (XIRR) of the period. With flows of both signs there can be
    several solutions; the one nearest to 0 is returned.

    >>> round(money_weighted_return(100.0, 0, [DatedFlow(50, 100.0)], 220.0, 100), 6)
    0.134752
    """
    if not flows:
        return final / initial - 1 if initial > 0 else None
    span_ns = end_ns - start_ns
    if span_ns <= 0:
        return None
    # Imported here because it is slow to import and a run without flows does not use it.
    from scipy.optimize import brentq

    terms = [(1.0, initial), *(((end_ns - flow.ts_ns) / span_ns, flow.amount) for flow in flows)]

    def excess(log_growth: float) -> float:
        return math.fsum(amount * math.exp(weight * log_growth) for weight, amount in terms) - final

    at_zero = excess(0.0)
    if at_zero == 0.0:
        return 0.0
    bound = 1 / 64
    while bound <= _LOG_GROWTH_MAX:
        for end in (bound, -bound):
            if (excess(end) > 0) != (at_zero > 0):
                return math.expm1(brentq(excess, min(0.0, end), max(0.0, end), xtol=1e-14))
        bound *= 2
    return None

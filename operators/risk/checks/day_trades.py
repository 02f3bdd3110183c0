"""With little equity, at most so many round trips within five trading days (FINRA rule 4210(f)(8)(B))."""

from decimal import Decimal

from operators.money import ZERO
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, passed, price_unknown, within
from operators.risk.view import View
from schemas.records import BUY, OrderProposal

NAME = "day_trades"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    opened = view.history.today[order.symbol].opened if order.symbol in view.history.today else ZERO
    closes = opened < 0 if order.side == BUY else opened > 0
    if not closes:
        return passed(NAME, "no round trip", "any")
    if view.unpriced is not None:
        return price_unknown(NAME, view.unpriced)
    if view.measure(lambda exposure: view.equity(exposure) - limits.day_trade_equity_min) >= 0:
        return passed(NAME, "equity is enough", "any")
    count = Decimal(view.history.round_trips() + 1)
    return within(NAME, order.symbol, "order would be day trade number {}", count, limits.max_day_trades)

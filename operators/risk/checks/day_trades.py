"""Limit the day trades within five trading days while equity is low (FINRA rule 4210(f)(8)(B))."""

from decimal import Decimal

from operators.money import ZERO
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, check_limit, passed, refuse_unpriced
from schemas.records import BUY, OrderTerms

NAME = "day_trades"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    opened = context.history.intraday[order.symbol].opened if order.symbol in context.history.intraday else ZERO
    closes = opened < 0 if order.side == BUY else opened > 0
    if not closes:
        return passed(NAME, "no day trade", "any")
    if context.unpriced_symbol is not None:
        return refuse_unpriced(NAME, context.unpriced_symbol)
    if context.evaluate(lambda exposure: context.equity(exposure) - limits.day_trade_equity_min) >= 0:
        return passed(NAME, "sufficient equity", "any")
    count = Decimal(context.history.day_trade_count() + 1)
    template = "order would be day trade number {} in 5 trading days"
    return check_limit(NAME, order.symbol, template, count, limits.max_day_trades)

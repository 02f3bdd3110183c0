"""Require buying power for an order that opens a position.

Buying power = multiple x equity - gross value of the positions. With a multiple of 1 and no short positions, this is
the cash. Dividends payable are deducted; dividends receivable do not count before they are paid. The cash that open
orders reserve is deducted. An order that only reduces a position needs no buying power.
"""

from decimal import Decimal

from operators.money import ONE, ZERO, multiply
from operators.risk.exposure import Exposure
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import PassedLimit, Refusal, Verdict, check_limit, money_text, passed, refuse_unpriced
from schemas.records import OrderTerms

NAME = "cash"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    multiple = limits.buying_power_multiple
    if not context.required_cash:
        return passed(NAME, "reduces", "any")
    if multiple is None or isinstance(multiple, str):  # UNLIMITED
        return check_limit(NAME, order.symbol, "", context.required_cash, multiple, money=True)
    if context.unpriced_symbol is not None:
        return refuse_unpriced(NAME, context.unpriced_symbol)

    def headroom(exposure: Exposure) -> Decimal:
        buying_power = context.book.cash + min(context.book.accrued, ZERO)
        if multiple != ONE:
            buying_power = multiply(multiple, buying_power) + multiply(multiple - 1, exposure.long)
        if exposure.short:
            buying_power -= multiply(multiple + 1, exposure.short)
        return buying_power - context.book.reserved - context.required_cash

    remaining = context.evaluate(headroom)
    available_cash = max(ZERO, remaining + context.required_cash)
    if remaining >= 0:
        return PassedLimit(NAME, context.required_cash, available_cash, money=True)
    required, available = money_text(context.required_cash), money_text(available_cash)
    message = f"{NAME}: {order.symbol} order needs {required} {limits.account_currency}, available {available}"
    return Refusal(NAME, required, available, message)

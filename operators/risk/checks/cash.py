"""What opens a position must be paid for, after all open orders are.

Buying power = multiple x equity - gross value of the positions; with a multiple of 1 and no shorts that is the cash.
What open orders may still cost is taken off it. An order that only reduces needs none.
"""

from decimal import Decimal

from operators.money import ZERO, multiply
from operators.risk.book import Exposure
from operators.risk.settings import UNLIMITED, RiskSettings
from operators.risk.verdict import Refusal, Verdict, amount, passed, price_unknown, within
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "cash"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    multiple = limits.buying_power_multiple
    if not view.needed:
        return passed(NAME, "reduces", "any")
    if multiple is None or multiple == UNLIMITED:
        return within(NAME, order.symbol, "", view.needed, multiple, money=True)
    if view.unpriced is not None:
        return price_unknown(NAME, view.unpriced)

    def left(exposure: Exposure) -> Decimal:
        power = multiply(multiple, view.book.cash) + multiply(multiple - 1, exposure.long)
        return power - multiply(multiple + 1, exposure.short) - view.book.reserved - view.needed

    remains = view.measure(left)
    needed, free = amount(view.needed), amount(max(ZERO, remains + view.needed))
    if remains >= 0:
        return passed(NAME, needed, free)
    return Refusal(NAME, needed, free, f"{NAME}: {order.symbol} order needs {needed}, limit {free}")

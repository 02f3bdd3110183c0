"""At most so much money in one symbol at its last price, long or short, with every open order of that side filled."""

from operators.money import ZERO
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, within
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "max_position_size"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    size = view.last_value(max(view.reached, ZERO))
    return within(NAME, order.symbol, "would be worth {}", size, limits.max_position_size, money=True)

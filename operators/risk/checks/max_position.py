"""At most so many units of one symbol, long or short, with every open order of that side filled."""

from operators.money import ZERO
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, within
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "max_position"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    return within(NAME, order.symbol, "would be {} shares", max(view.reached, ZERO), limits.max_position)

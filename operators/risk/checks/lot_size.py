"""The quantity is a multiple of the lot, or exactly what closes the position: a split can leave fractions."""

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, number, passed
from operators.risk.view import View
from schemas.records import BUY, OrderProposal

NAME = "lot_size"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    assert view.instrument is not None
    lot, quantity = view.instrument.lot_size, order.quantity
    closes = view.holding.quantity == (-quantity if order.side == BUY else quantity)
    if closes or not quantity % lot:
        return passed(NAME, number(quantity), number(lot))
    message = f"{NAME}: {order.symbol} quantity {number(quantity)} is no multiple of {number(lot)}"
    return Refusal(NAME, number(quantity), number(lot), message)

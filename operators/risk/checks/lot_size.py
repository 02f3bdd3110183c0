"""Require a quantity that is a multiple of the lot size.

A quantity that closes the position exactly also passes, because a split can leave a fraction of a lot.
"""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, number_text, passed
from schemas.records import BUY, OrderProposal

NAME = "lot_size"


def check(order: OrderProposal, context: OrderContext, limits: RiskSettings) -> Verdict:
    assert context.instrument is not None
    lot, quantity = context.instrument.lot_size, order.quantity
    closes_position = context.position.quantity == (-quantity if order.side == BUY else quantity)
    if closes_position or not quantity % lot:
        return passed(NAME, number_text(quantity), number_text(lot))
    message = (
        f"{NAME}: {order.symbol} quantity {number_text(quantity)} is not a multiple of lot size {number_text(lot)}"
    )
    return Refusal(NAME, number_text(quantity), number_text(lot), message)

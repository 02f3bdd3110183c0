"""The symbol is a known instrument that may be ordered at all, in a currency whose value is known."""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from schemas.records import OrderProposal

NAME = "instrument"


def check(order: OrderProposal, context: OrderContext, limits: RiskSettings) -> Verdict:
    instrument = context.instrument
    if instrument is None:
        return _refused(order, "unknown", "a defined instrument")
    if not instrument.tradable:
        return _refused(order, "not tradable", "tradable")
    if instrument.currency != limits.account_currency and instrument.currency not in context.book.rates:
        expected = f"in {limits.account_currency} or a currency whose rate is known"
        return _refused(order, f"in {instrument.currency}", expected)
    return passed(NAME, instrument.asset_class, "tradable")


def _refused(order: OrderProposal, value: str, expected: str) -> Refusal:
    return Refusal(NAME, value, expected, f"{NAME}: {order.symbol} is {value}, must be {expected}")

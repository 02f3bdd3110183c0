"""The symbol is a known instrument that may be ordered at all, in a currency whose value is known."""

from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "instrument"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    one = view.instrument
    if one is None:
        return _refused(order, "unknown", "a defined instrument")
    if not one.tradable:
        return _refused(order, "not tradable", "tradable")
    if one.currency != limits.account_currency and one.currency not in view.book.rates:
        wanted = f"in {limits.account_currency} or a currency whose rate is known"
        return _refused(order, f"in {one.currency}", wanted)
    return passed(NAME, one.asset_class, "tradable")


def _refused(order: OrderProposal, found: str, limit: str) -> Refusal:
    return Refusal(NAME, found, limit, f"{NAME}: {order.symbol} is {found}, must be {limit}")

"""Require a defined, tradable instrument whose currency has an exchange rate."""

from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, Verdict, passed
from schemas.records import OrderTerms

NAME = "instrument"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    instrument = context.instrument
    if instrument is None:
        message = f"{NAME}: {order.symbol} is not a defined instrument. Check the symbol"
        return Refusal(NAME, "unknown", "defined instrument", message)
    if not instrument.tradable:
        message = f"{NAME}: {order.symbol} is set to tradable: false in its instrument definition"
        return Refusal(NAME, "not tradable", "tradable", message)
    currency, account_currency = instrument.currency, limits.account_currency
    if currency != account_currency and currency not in context.book.rates:
        message = f"{NAME}: {order.symbol} trades in {currency}, but no {currency}/{account_currency} rate was received"
        return Refusal(NAME, currency, f"{account_currency} or a currency with an exchange rate", message)
    return passed(NAME, instrument.asset_class, "tradable")

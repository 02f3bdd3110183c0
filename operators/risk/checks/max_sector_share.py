"""Limit the gross value of all instruments of one sector as a share of equity."""

from operators.risk.equity_share import check_equity_share, gross_value
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, passed
from schemas.records import OrderTerms

NAME = "max_sector_share"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    sector = "" if context.instrument is None else context.instrument.sector
    if not sector:
        return passed(NAME, "no sector", "any")
    value = context.added_exposure + gross_value(context, limits.instruments.in_group("sector", sector))
    template = f"order would raise sector {sector} to {{}} of equity"
    return check_equity_share(NAME, context, template, value, limits.max_sector_share)

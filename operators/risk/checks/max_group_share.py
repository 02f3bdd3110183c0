"""Limit the gross value of all instruments of one group as a share of equity."""

from operators.risk.equity_share import check_equity_share, gross_value
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Verdict, passed
from schemas.records import OrderTerms

NAME = "max_group_share"


def check(order: OrderTerms, context: OrderContext, limits: RiskSettings) -> Verdict:
    group = "" if context.instrument is None else context.instrument.group
    if not group:
        return passed(NAME, "no group", "any")
    value = context.added_exposure + gross_value(context, limits.instruments.in_group("group", group))
    template = f"order would raise group {group} to {{}} of equity"
    return check_equity_share(NAME, context, template, value, limits.max_group_share)

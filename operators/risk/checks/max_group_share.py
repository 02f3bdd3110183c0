"""The instruments of one group together are worth at most such a part of the equity, longs and shorts added up."""

from operators.risk.settings import RiskSettings
from operators.risk.shares import gross_of, share_of_equity
from operators.risk.verdict import Verdict, passed
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "max_group_share"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    group = "" if view.instrument is None else view.instrument.group
    if not group:
        return passed(NAME, "no group", "any")
    value = view.added + gross_of(view, limits.instruments.in_group("group", group))
    what = f"order would bring group {group} to {{}} of equity"
    return share_of_equity(NAME, view, what, value, limits.max_group_share)

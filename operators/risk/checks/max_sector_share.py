"""The instruments of one sector together are worth at most such a part of the equity, longs and shorts added up."""

from operators.risk.settings import RiskSettings
from operators.risk.shares import gross_of, share_of_equity
from operators.risk.verdict import Verdict, passed
from operators.risk.view import View
from schemas.records import OrderProposal

NAME = "max_sector_share"


def check(order: OrderProposal, view: View, limits: RiskSettings) -> Verdict:
    sector = "" if view.instrument is None else view.instrument.sector
    if not sector:
        return passed(NAME, "no sector", "any")
    value = view.added + gross_of(view, limits.instruments.in_group("sector", sector))
    what = f"order would bring sector {sector} to {{}} of equity"
    return share_of_equity(NAME, view, what, value, limits.max_sector_share)

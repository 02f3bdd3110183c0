"""Ratios of one filing's figures. Strategies compute the ratios that require a price (P/E, P/B ...).

Flows (revenue, income, cash flows) cover twelve months. Balances (assets, debt ...) are those at the period's end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite

FACTS = (
    *("revenue", "gross_profit", "operating_income", "net_income", "interest_expense"),
    *("operating_cash_flow", "capital_expenditure", "eps", "dividends"),
    *("assets", "current_assets", "current_liabilities", "equity", "debt", "shares"),
)
"""Names of the figures. Money is in the filing's currency, `eps` in money per share, `shares` is a count."""
Facts = Mapping[str, float]


def _quotient(numerator: str, denominator: str) -> Callable[[Facts], float | None]:
    def ratio(facts: Facts) -> float | None:
        top, bottom = facts.get(numerator), facts.get(denominator)
        # A ratio with a denominator of 0 or less, such as negative equity, is meaningless.
        return top / bottom if top is not None and bottom is not None and bottom > 0 else None

    return ratio


def _free_cash_flow_margin(facts: Facts) -> float | None:
    flow, spent, revenue = (facts.get(name) for name in ("operating_cash_flow", "capital_expenditure", "revenue"))
    return (flow - spent) / revenue if flow is not None and spent is not None and revenue and revenue > 0 else None


RATIOS: dict[str, Callable[[Facts], float | None]] = {
    "gross_margin": _quotient("gross_profit", "revenue"),
    "operating_margin": _quotient("operating_income", "revenue"),
    "net_margin": _quotient("net_income", "revenue"),
    "free_cash_flow_margin": _free_cash_flow_margin,
    "return_on_equity": _quotient("net_income", "equity"),
    "return_on_assets": _quotient("net_income", "assets"),
    "asset_turnover": _quotient("revenue", "assets"),
    "current_ratio": _quotient("current_assets", "current_liabilities"),
    "debt_to_equity": _quotient("debt", "equity"),
    "interest_coverage": _quotient("operating_income", "interest_expense"),
}
"""The ratios by name. A ratio is None if a figure is missing or the denominator is not above 0."""


def ratios(facts: Facts) -> dict[str, float]:
    """Return the ratios that can be computed from `facts`, in the order of `RATIOS`.

    >>> ratios({"revenue": 200.0, "net_income": 30.0, "equity": -5.0})
    {'net_margin': 0.15}
    """
    values = ((name, ratio(facts)) for name, ratio in RATIOS.items())
    return {name: value for name, value in values if value is not None and isfinite(value)}

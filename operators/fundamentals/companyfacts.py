"""The SEC's companyfacts of one company as what was known at each filing: as first reported, never restated backwards.

Source: https://www.sec.gov/search-filings/edgar-application-programming-interfaces ("companyfacts"): per concept and
unit a list of observations with `start` (flows only), `end`, `val`, `accn`, `form`, `filed`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any, NamedTuple

from operators.fundamentals.ratios import ratios
from schemas.errors import InvalidField
from schemas.records import Fundamentals

FORMS = ("10-K", "10-KT", "10-Q", "20-F", "40-F")
"""Filings that make a record. An amendment (10-K/A ...) makes none; what it reports for the first time counts later."""
SOURCE = "sec"
YEAR_DAYS, QUARTER_DAYS = range(350, 381), range(80, 101)
NEIGHBOURS = timedelta(days=6)  # quarters of a 52/53-week year need not meet on the day
_REVENUE = "RevenueFromContractWithCustomer"
FLOWS: dict[str, tuple[str, ...]] = {
    "revenue": (f"{_REVENUE}ExcludingAssessedTax", "Revenues", "SalesRevenueNet", f"{_REVENUE}IncludingAssessedTax"),
    "gross_profit": ("GrossProfit",),
    "operating_income": ("OperatingIncomeLoss",),
    "net_income": ("NetIncomeLoss", "ProfitLoss"),
    "interest_expense": ("InterestExpense", "InterestExpenseNonoperating", "InterestExpenseDebt"),
    "operating_cash_flow": ("NetCashProvidedByUsedInOperatingActivities",),
    "capital_expenditure": ("PaymentsToAcquirePropertyPlantAndEquipment", "PaymentsToAcquireProductiveAssets"),
    "eps": ("EarningsPerShareDiluted", "EarningsPerShareBasic"),
    "dividends": ("PaymentsOfDividends", "PaymentsOfDividendsCommonStock"),
}
STOCKS: dict[str, tuple[tuple[str, ...], ...]] = {
    "assets": (("Assets",),),
    "current_assets": (("AssetsCurrent",),),
    "current_liabilities": (("LiabilitiesCurrent",),),
    "equity": (("StockholdersEquity",), ("StockholdersEquityIncludingPortionAttributableToNoncontrollingInterest",)),
    "debt": (("LongTermDebt",), ("LongTermDebtNoncurrent", "LongTermDebtCurrent"), ("LongTermDebtNoncurrent",)),
}
"""The first choice that is reported counts; the concepts of one choice are added up."""
SHARES = (("dei", "EntityCommonStockSharesOutstanding"), ("us-gaap", "CommonStockSharesOutstanding"))


class Observation(NamedTuple):
    """One value of a concept as one filing reports it. `start` is None for what stands at `end`."""

    filed: date
    accn: str
    form: str
    start: date | None
    end: date
    value: float


def filings(companyfacts: Any, symbol: str) -> list[Fundamentals]:
    """One record a filing, oldest first; `ts_ns` is 0: the edge knows when it learnt it.

    Flows are those of the twelve months to the period's end: as reported, or the sum of four quarters, where a quarter
    that is not reported by itself is the difference of what is (the fourth is the year less nine months). Raises
    InvalidField where this is no companyfacts object; an observation without its fields is left out.
    """
    concepts = _concepts(companyfacts)
    currency = _currency(concepts)
    known = {name: sorted(observed) for name, observed in _observed(concepts, currency).items()}
    filed: dict[tuple[date, str], tuple[str, date]] = {}
    for (taxonomy, _), observed in known.items():
        for one in observed:
            if taxonomy == "us-gaap" and one.form in FORMS and one.end <= one.filed:
                _, end = filed.get((one.filed, one.accn), ("", one.end))
                filed[one.filed, one.accn] = (one.form, max(end, one.end))
    out = []
    for (day, accn), (form, end) in sorted(filed.items()):
        facts = _facts(known, day, end)
        if facts:
            figures = (facts, ratios(facts), currency)
            name = f"fund-{symbol}-{accn}"
            out.append(Fundamentals(name, 0, symbol, _number(end), _number(day), form, SOURCE, *figures))
    return out


Known = Mapping[tuple[str, str], list[Observation]]


def _facts(known: Known, day: date, end: date) -> dict[str, float]:
    """What the company had reported by a day, of the period that ends then."""
    out: dict[str, float] = {}
    for name, concepts in FLOWS.items():
        found = (_twelve_months(_first_values(known.get(("us-gaap", c), []), day), end) for c in concepts)
        _put(out, name, next((value for value in found if value is not None), None))
    for name, choices in STOCKS.items():
        _put(out, name, next((s for c in choices if (s := _sum_at(known, c, day, end)) is not None), None))
    for concept in SHARES:
        instants = [one for one in known.get(concept, []) if one.filed <= day and one.value > 0]
        if instants and "shares" not in out:
            latest = max(one.end for one in instants)
            out["shares"] = next(one.value for one in instants if one.end == latest)
    return out


def _put(facts: dict[str, float], name: str, value: float | None) -> None:
    if value is not None:
        facts[name] = value


def _first_values(observed: list[Observation], day: date) -> dict[tuple[date | None, date], float]:
    """Of each period the value that was filed first, by a day. `observed` is in order of filing."""
    out: dict[tuple[date | None, date], float] = {}
    for one in observed:
        if one.filed > day:
            break
        out.setdefault((one.start, one.end), one.value)
    return out


def _sum_at(known: Known, concepts: tuple[str, ...], day: date, end: date) -> float | None:
    found = [_first_values(known.get(("us-gaap", concept), []), day).get((None, end)) for concept in concepts]
    return None if None in found else sum(value for value in found if value is not None)


def _twelve_months(values: dict[tuple[date | None, date], float], end: date) -> float | None:
    flows = {(start, until): value for (start, until), value in values.items() if start is not None}
    for (start, until), value in flows.items():
        if until == end and (until - start).days + 1 in YEAR_DAYS:
            return value
    quarters = _quarters(flows)
    total, at = 0.0, end
    for number in range(4):
        near = timedelta(0) if number == 0 else NEIGHBOURS
        found = [
            (abs(until - at), start, value) for (start, until), value in quarters.items() if abs(until - at) <= near
        ]
        if not found:
            return None
        _, start, value = min(found)
        total, at = total + value, start - timedelta(days=1)
    return total


def _quarters(flows: Mapping[tuple[date, date], float]) -> dict[tuple[date, date], float]:
    """Quarters as reported, and those that follow: a longer period less the shorter one with the same beginning, or
    less the quarters at its beginning.
    """
    quarters = {period: value for period, value in flows.items() if _days(period) in QUARTER_DAYS}
    periods = sorted(flows)
    for start, end in periods:
        for begun, until in periods:
            rest = (until + timedelta(days=1), end)
            if begun == start and until < end and _days(rest) in QUARTER_DAYS:
                quarters.setdefault(rest, flows[start, end] - flows[start, until])
    for start, end in periods:
        total, at = 0.0, start
        while (following := next((p for p in sorted(quarters) if p[0] == at and p[1] < end), None)) is not None:
            total, at = total + quarters[following], following[1] + timedelta(days=1)
        if at != start and _days((at, end)) in QUARTER_DAYS:
            quarters.setdefault((at, end), flows[start, end] - total)
    return quarters


def _days(period: tuple[date, date]) -> int:
    return (period[1] - period[0]).days + 1


# -- reading -----------------------------------------------------------------------------------------------------------

Units = Mapping[str, list[Any]]


def _concepts(companyfacts: Any) -> dict[tuple[str, str], Units]:
    facts = companyfacts.get("facts") if isinstance(companyfacts, Mapping) else None
    if not isinstance(facts, Mapping):
        raise InvalidField(f"field facts must be an object of taxonomies, found {type(facts).__name__}")
    wanted = [("us-gaap", c) for concepts in FLOWS.values() for c in concepts]
    wanted += [("us-gaap", c) for choices in STOCKS.values() for choice in choices for c in choice]
    out: dict[tuple[str, str], Units] = {}
    for taxonomy, name in dict.fromkeys([*wanted, *SHARES]):
        concept = facts.get(taxonomy, {}).get(name) if isinstance(facts.get(taxonomy, {}), Mapping) else None
        units = concept.get("units") if isinstance(concept, Mapping) else None
        if isinstance(units, Mapping):
            out[taxonomy, name] = {unit: rows for unit, rows in units.items() if isinstance(rows, list)}
    return out


def _currency(concepts: Mapping[tuple[str, str], Units]) -> str:
    """The dollar where anything is reported in it, else the first currency by name."""
    found = {unit for units in concepts.values() for unit in units if len(unit) == 3 and unit.isupper()}
    return "USD" if "USD" in found or not found else min(found)


def _observed(concepts: Mapping[tuple[str, str], Units], currency: str) -> dict[tuple[str, str], list[Observation]]:
    """What is in the one currency, money a share of it, or shares: other units cannot be compared."""
    units = {currency, f"{currency}/shares", "shares"}
    return {
        name: [one for unit, rows in given.items() if unit in units for one in _read(rows)]
        for name, given in concepts.items()
    }


def _read(rows: list[Any]) -> Iterator[Observation]:
    for row in rows:
        try:
            start = date.fromisoformat(row["start"]) if row.get("start") else None
            end, filed = date.fromisoformat(row["end"]), date.fromisoformat(row["filed"])
            value = float(row["val"])
            accn, form = str(row["accn"]), str(row["form"])
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        if math.isfinite(value) and (start is None or start < end):
            yield Observation(filed, accn, form, start, end, value)


def _number(day: date) -> int:
    return day.year * 10_000 + day.month * 100 + day.day
